"""Large pictures one at a time: what bounds the megapixels that a process has in flight.

A process works on several pictures at once, and how large one is, only its decoder knows. So each is decoded with a
limit that all threads together can afford; one that needs more takes its turn, and holds it until its job is done.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from pipeline.codec import Decode, Limits
from pipeline.errors import ImageTooLarge
from pipeline.source import SourceImage
from pipeline.types import OnProgress, Stage

#: How often a job that waits for its turn tells that it lives, and hears whether it has to stop (seconds).
LOOK_EVERY_S = 0.1


class Turns:
    """One turn for large pictures; at most ``threads * large_pixels + max_pixels`` are in flight."""

    def __init__(self, decode: Decode, *, large_pixels: int) -> None:
        self._decode = decode
        self._large_pixels = large_pixels
        self._turn = threading.Lock()

    @contextmanager
    def decoder(self, on_progress: OnProgress) -> Iterator[Decode]:
        """How one job decodes; a turn that it took is over at the end of the block."""
        with ExitStack() as held:

            def decode(data: bytes, *, limits: Limits, page: int) -> SourceImage:
                usual = dataclasses.replace(limits, max_pixels=min(limits.max_pixels, self._large_pixels))
                try:
                    return self._decode(data, limits=usual, page=page)
                except ImageTooLarge:
                    # The second look costs a header's reading; it is this one's words that the caller hears.
                    if usual == limits:
                        raise
                self._wait(on_progress)
                held.callback(self._turn.release)
                return self._decode(data, limits=limits, page=page)

            yield decode

    def _wait(self, on_progress: OnProgress) -> None:
        while not self._turn.acquire(timeout=LOOK_EVERY_S):
            on_progress(Stage.DECODE, 0.0)
