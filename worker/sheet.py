"""Small copies of an item's source and result, for the contact sheet of its batch's report."""

from __future__ import annotations

import structlog

from jobs.batches.sheet import PART
from jobs.model import Job
from pipeline.errors import Cancelled, PipelineError
from pipeline.types import OnProgress
from worker.engine import Engine, Product

logger = structlog.get_logger(__name__)


def small_copies(
    job: Job, data: bytes, products: tuple[Product, ...], *, engine: Engine, on_progress: OnProgress
) -> tuple[Product, ...]:
    """Both, or none: a report does without them, and no job fails for their sake.

    Raises:
        Cancelled: ``on_progress`` raised it; and what else it raises.
    """
    image = next((product for product in products if product.part == "image"), None)
    if not job.sheet or image is None:
        return ()
    try:
        before = engine.thumbnail(data, page=job.options.page, on_progress=on_progress)
        after = engine.thumbnail(bytes(image.data), page=1, on_progress=on_progress)
    except Cancelled:
        raise
    except PipelineError as error:
        logger.warning("no small copies for the contact sheet", error=str(error))
        return ()
    return tuple(
        Product(part=f"{PART}{half}", data=copy, content_type="image/jpeg", extension="jpg")
        for half, copy in (("before", before), ("after", after))
    )
