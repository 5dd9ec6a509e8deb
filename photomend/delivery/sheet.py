"""Pictures for the contact sheet: small copies of a source and its result, as every browser shows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.delivery.html import Sample
from jobs.delivery.rows import Row

if TYPE_CHECKING:
    from pipeline.codec import Limits


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
    """A file's thumbnail.

    Raises:
        OSError, PipelineError: the file cannot be read.
    """
    from pipeline.codec import read
    from pipeline.thumbnail import thumbnail

    return thumbnail(read(path.read_bytes(), limits=limits, page=page))
