"""What became of one input in the sandbox."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import DecoderLost, HostileImage, OutOfMemory, PipelineError
from tests.fuzz.walk import LIMITS
from worker.sandbox.client import Sandbox
from worker.sandbox.confine import Bounds, memory_for
from worker.sandbox.verify import DecoderBug

#: A small file that takes longer than this hangs (seconds of computing).
HANG_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How it ended."""

    end: str  #: a code, or "picture"
    kind: str | None = None  #: of the finding, see ``Finding``; None = all is as it should be
    detail: str = ""


def sandbox(module: str = "tests.fuzz.zygote", *, hang_s: float = HANG_S) -> Sandbox:
    """One as workers have it, for small pictures."""
    return Sandbox(Bounds(memory_bytes=memory_for(LIMITS.max_pixels), cpu_s=hang_s), module=module)


def judged(box: Sandbox, data: bytes) -> Verdict:
    """Try one input."""
    try:
        box.decode(data, limits=LIMITS)
    except HostileImage as error:
        return Verdict(end=error.code, kind=_kind(str(error)), detail=str(error))
    except (DecoderLost, OutOfMemory) as error:
        return Verdict(end=error.code, kind="death", detail=str(error))
    except PipelineError as error:
        return Verdict(end=error.code)
    except DecoderBug as error:
        return Verdict(end="internal", kind="exception", detail=str(error))
    return Verdict(end="picture")


def _kind(words: str) -> str:
    if "took more than" in words:
        return "hang"
    return "crash" if "died of" in words else "death"
