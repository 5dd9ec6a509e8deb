"""Rows of a batch, where they lie: in the store while their part is open, else in the parts of the report."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence

from api.service import Service
from jobs.batches import report
from jobs.batches.model import PART_ROWS, Batch
from jobs.delivery.rows import Row, from_words
from jobs.errors import ObjectError, StorageUnavailable

#: Parts that one answer may read.
PARTS_A_PAGE = 20


def part_rows(service: Service, batch: Batch, part: int, generations: Sequence[int]) -> list[Row]:
    """The rows of a part, as far as it has any.

    Raises:
        StorageUnavailable: it cannot be read at the moment.
        StoreUnavailable: Redis did not answer.
    """
    there = service.store.batches.rows(batch.id, part)
    if there:
        return [from_words(json.loads(there[item])) for item in sorted(there)]
    generation = generations[part] if part < len(generations) else 0
    if not generation:
        return []
    try:
        return report.read_part(service.blobs, service.settings.bucket, batch, part, generation)
    except StorageUnavailable:
        raise
    except ObjectError as err:
        raise StorageUnavailable(f"a part of {batch.id} is gone: {err}") from err


def rows_with_status(
    service: Service, batch: Batch, status: str, *, start: int, limit: int
) -> tuple[list[Row], int | None]:
    """Rows from item ``start`` on, and where the next page begins.

    Raises:
        StorageUnavailable, StoreUnavailable: see ``part_rows``.
    """
    generations = service.store.batches.generations(batch.id)
    found: list[Row] = []
    first, parts = start // PART_ROWS, -(-batch.total // PART_ROWS)
    for part in range(first, min(parts, first + PARTS_A_PAGE)):
        for row in part_rows(service, batch, part, generations):
            if row.number > start and row.status == status:
                if len(found) == limit:
                    return found, found[-1].number
                found.append(row)
    following = first + PARTS_A_PAGE
    return found, following * PART_ROWS if following < parts else None


def rows_of(service: Service, batch: Batch, items: Iterable[int]) -> Iterator[Row]:
    """The rows of these items (ascending), as far as they have one; one part at a time is held.

    Raises:
        StorageUnavailable, StoreUnavailable: see ``part_rows``.
    """
    generations = service.store.batches.generations(batch.id)
    for part, group in itertools.groupby(items, lambda item: item // PART_ROWS):
        wanted = {item + 1 for item in group}
        yield from (row for row in part_rows(service, batch, part, generations) if row.number in wanted)
