"""The contact sheet of a batch's report: which items are shown, and where their small copies lie until it is made.

Which ones is known from the beginning, so that their workers make the copies while they have the pixels in hand; they
lie beside the batch's working files in the installation's bucket, never among what is delivered.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from jobs.batches.model import Batch
from jobs.delivery.html import MOST_SAMPLES
from jobs.model import ObjectRef

Half = Literal["before", "after"]
HALVES: tuple[Half, ...] = ("before", "after")
#: Parts of a job's result that are for the sheet alone begin so.
PART = "sheet/"
#: Items whose copies are made: more than are shown, since some will fail or be there already.
DRAWN = 2 * MOST_SAMPLES
#: A small copy has some ten thousand bytes; one that is larger is none of ours.
MAX_BYTES = 300_000


def is_drawn(item: int, total: int) -> bool:
    """Whether the item (from 0) is among ``DRAWN`` of them, evenly spread."""
    return item == 0 or item * DRAWN // total != (item - 1) * DRAWN // total


def drawn(total: int) -> Iterator[int]:
    """All of them, in order."""
    if total <= DRAWN:
        yield from range(total)
        return
    # The first item of each of so many stretches; see ``is_drawn``.
    yield from (-(-stretch * total // DRAWN) for stretch in range(DRAWN))


def copy_ref(bucket: str, batch: Batch, item: int, half: Half) -> ObjectRef:
    """Where an item's small copy lies."""
    return ObjectRef(bucket=bucket, key=f"batches/{batch.tenant}/{batch.id}/sheet/{item:08d}-{half}.jpg")
