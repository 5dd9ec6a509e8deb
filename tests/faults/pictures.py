"""Pictures for fault tests: bytes that say what working on them does, and the engine that obeys.

No codec and no network: what is proved is the life of a job, and every job's result can be told from every other's.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import mmap
import os
import resource
import time
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import structlog

from jobs.model import Kind
from jobs.options import JobOptions
from pipeline.errors import TruncatedImage
from pipeline.types import Compute, OnProgress, Stage
from tests.faults.history import Event, History
from worker.engine import Outcome, Product

#: Pieces of device work of one picture; between them a job may be stopped.
STEPS = 5
#: What a picture that eats memory asks for at a time (bytes).
BITE_BYTES = 64 << 20


#: What a process that meets such pictures may take: many times what it needs, little for the machine.
ADDRESS_SPACE_BYTES = 4 << 30


class Does(StrEnum):
    """What working on a picture does to the process."""

    MENDS = "mends"
    SEGFAULT = "segfault"
    ABORT = "abort"
    MEMORY = "memory"  #: grows until the process may not grow any more (RLIMIT_AS), and aborts
    LOOP = "loop"  #: device work that never ends
    DAMAGED = "damaged"  #: an honest failure: the job fails with a code


#: What every picture begins with, so that the API takes it for one.
MAGIC = b"\x89PNG\r\n\x1a\n"
#: Those that take the process with them.
POISONS = (Does.SEGFAULT, Does.ABORT, Does.MEMORY, Does.LOOP)


def limit_process() -> None:
    """Keep this process from what a poisoned picture might do to the machine; it dies often, and nobody reads cores."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def picture(name: str, *, work_s: float = 0.0, does: Does = Does.MENDS) -> bytes:
    """The bytes of a picture; ``name`` makes it unlike all others."""
    return MAGIC + json.dumps({"name": name, "work_s": work_s, "does": does}).encode()


def mended(data: bytes) -> bytes:
    """What becomes of a picture."""
    return b"mended:" + hashlib.sha256(data).hexdigest().encode() + b":" + data


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class PictureEngine:
    """The ``Engine`` that does what a picture says."""

    name = "pictures"

    def __init__(self, history: History) -> None:
        self._history = history

    def warm_up(self, compute: Compute) -> None: ...

    def models(self) -> Sequence[dict[str, Any]]:
        return ({"name": "pictures", "kind": "restorer"},)

    def require(self, kind: Kind, options: JobOptions) -> None: ...

    def run(
        self, kind: Kind, data: bytes, options: JobOptions, *, on_progress: OnProgress, compute: Compute
    ) -> Outcome:
        words = json.loads(data.removeprefix(MAGIC))
        job = structlog.contextvars.get_contextvars().get("job_id")
        self._history.note(Event.BEGAN, job, does=words["does"])
        for step in range(STEPS):
            on_progress(Stage.RESTORE, step / STEPS)
            compute(lambda: work(Does(words["does"]), words["work_s"] / STEPS), stage=Stage.RESTORE, megapixels=1.0)
        on_progress(Stage.ENCODE, 0.0)
        self._history.note(Event.ENDED, job)
        image = Product(part="image", data=mended(data), content_type="image/png", extension="png")
        words_of_it = Product(
            part="provenance", data=sha256(data).encode(), content_type="application/json", extension="json"
        )
        return Outcome(products=(image, words_of_it), width=1, height=1, megapixels=1.0)


def work(does: Does, seconds: float) -> None:
    """One piece of device work."""
    time.sleep(seconds)
    if does is Does.SEGFAULT:
        ctypes.string_at(0)
    elif does is Does.ABORT:
        os.abort()
    elif does is Does.MEMORY:
        _eat()
    elif does is Does.LOOP:
        while True:
            time.sleep(0.01)
    elif does is Does.DAMAGED:
        raise TruncatedImage("it ends at byte 9")


def _eat() -> None:
    """Take address space until there is none, and die of it, as C++ does. No page is touched."""
    eaten = []
    try:
        while True:
            eaten.append(mmap.mmap(-1, BITE_BYTES))
    except (OSError, MemoryError):
        os.abort()
