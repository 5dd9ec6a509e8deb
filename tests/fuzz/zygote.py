"""The worker's sandbox around the whole walk: what crashes or hangs there does so in a child, and is told of."""

from __future__ import annotations

import warnings

from pipeline.decode import Limits, read
from pipeline.source import SourceImage
from pipeline.vips import Allocate
from tests.fuzz.walk import LIMITS, carriers, walk
from worker.sandbox import zygote


def decode(data: bytes, *, limits: Limits, page: int, allocate: Allocate) -> SourceImage:
    """The walk for an input; what a child warms up with is only read."""
    path = walk if limits == LIMITS else read
    return path(data, limits=limits, page=page, allocate=allocate)


if __name__ == "__main__":
    warnings.simplefilter("error", RuntimeWarning)
    carriers()
    zygote.main(decode)
