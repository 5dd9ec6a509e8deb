"""Parts of a report put together in the manifest's order, each line of the manifest proved to be there once."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

from jobs.delivery.errors import RowRepeated, RowsMissing, RowsOutOfOrder, RowUnknown
from jobs.delivery.rows import Row


def merged(parts: Iterable[Iterable[Row]], *, expected: int, later_wins: bool = False) -> Iterator[Row]:
    """The rows of all parts, from number 1 to ``expected``, each once; holds one row of each part at a time.

    Args:
        parts: each sorted by number.
        expected: lines of the manifest.
        later_wins: of rows with the same number in several parts the last part's is taken, as after a retry of what
            failed; otherwise, and within one part always, a repeated number is an error.

    Raises:
        RowsOutOfOrder, RowRepeated, RowsMissing, RowUnknown: the rows are not the manifest's, each once. RowsMissing
            may come after the last row, so that nothing is complete before the iterator is exhausted.
    """
    tagged = [_tagged(index, part) for index, part in enumerate(parts)]
    last = 0
    # Of equal numbers the last part's comes first.
    for number, _, row in heapq.merge(*tagged, key=lambda one: (one[0], -one[1])):
        if number == last:
            if later_wins:
                continue
            raise RowRepeated(f"line {number} of the manifest has more than one row")
        if number > expected:
            raise RowUnknown(f"there is a row for line {number}, but the manifest has {expected}")
        _require_next(number, last)
        last = number
        yield row
    _require_next(expected + 1, last)


def _tagged(index: int, part: Iterable[Row]) -> Iterator[tuple[int, int, Row]]:
    last = 0
    for row in part:
        if row.number == last:
            raise RowRepeated(f"part {index + 1} has more than one row for line {row.number} of the manifest")
        if row.number < last:
            raise RowsOutOfOrder(f"part {index + 1} has line {row.number} after line {last}")
        last = row.number
        yield row.number, index, row


def _require_next(number: int, last: int) -> None:
    if number == last + 1:
        return
    lines = f"line {last + 1}" if number == last + 2 else f"lines {last + 1} to {number - 1}"
    raise RowsMissing(f"there is no row for {lines} of the manifest")
