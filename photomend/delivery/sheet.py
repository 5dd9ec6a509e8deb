"""Pictures for the contact sheet: small copies of a source and its result, as every browser shows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.delivery.html import MOST_SAMPLES, Sample
from jobs.delivery.rows import DONE, Row

if TYPE_CHECKING:
    from pipeline.codec import Limits

#: Longest side of one half, px: sharp at twice the size that the page shows it in.
SIDE_PX = 400
_QUALITY = 82
#: The share of the sheet that flagged pictures may take.
_MOST_FLAGGED = MOST_SAMPLES // 2


class Sampler:
    """Chooses rows for the sheet while they go by: flagged ones first, the rest spread evenly over the report."""

    def __init__(self) -> None:
        self._flagged: list[Row] = []
        self._spread: list[Row] = []
        self._stride = 1
        self._seen = 0

    def add(self, row: Row) -> None:
        """Look at one row."""
        if row.status not in DONE or row.image is None:
            return
        if row.review and len(self._flagged) < _MOST_FLAGGED:
            self._flagged.append(row)
            return
        if self._seen % self._stride == 0:
            self._spread.append(row)
        self._seen += 1
        if len(self._spread) == 2 * MOST_SAMPLES:
            # Every second one goes, and from here on only every second one comes.
            del self._spread[1::2]
            self._stride *= 2

    def chosen(self) -> list[Row]:
        """At most as many as the sheet has room for."""
        room = MOST_SAMPLES - len(self._flagged)
        step = max(1.0, len(self._spread) / max(1, room))
        even = [self._spread[int(place * step)] for place in range(min(room, len(self._spread)))]
        return [*self._flagged, *even]


def samples(rows: Iterable[Row], *, folder: Path, out: Path, limits: Limits, page: int) -> Iterator[Sample]:
    """The pairs; a picture that is not there any more, or cannot be read, is left out.

    Args:
        rows: of results.
        folder: of the sources.
        out: of the results.
        limits: of a picture.
        page: that was restored of each source.
    """
    from pipeline.errors import PipelineError

    for row in rows:
        if row.image is None:
            continue
        try:
            before = small_copy(folder / row.source, limits=limits, page=page)
            after = small_copy(out / row.image.key, limits=limits)
        except (OSError, PipelineError):
            continue
        yield Sample(row=row, before=before, after=after)


def small_copy(path: Path, *, limits: Limits, page: int = 1) -> bytes:
    """A JPEG of at most ``SIDE_PX``, sRGB, upright, transparency over white.

    Raises:
        OSError, PipelineError: the file cannot be read.
    """
    from pipeline import vips
    from pipeline.codec import read
    from pipeline.comparison import OverWhite
    from pipeline.picture import resized
    from pipeline.render import quantised

    source = read(path.read_bytes(), limits=limits, page=page)
    shrink = min(1.0, SIDE_PX / max(source.width, source.height))
    size = max(1, round(source.width * shrink)), max(1, round(source.height * shrink))
    shown = source.picture if source.alpha is None else OverWhite(source.picture, source.alpha)
    return bytes(vips.save(vips.picture(quantised(resized(shown, *size), 8), "srgb"), "jpeg", Q=_QUALITY))
