"""What becomes of a job when an attempt ends in an error: a pure table.

Three ways: the picture or the request is at fault, and the job fails with a public code; the surroundings are, and the
job goes back uncharged to be tried again; or this worker may be, and it goes back charged, a few times.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from jobs.errors import DeadlineExceeded, InputUnreachable, JobsError, ObjectError, StorageUnavailable, StoreUnavailable
from jobs.model import Failure
from pipeline.errors import (
    DecoderLost,
    FaceNotFound,
    ImageTooLarge,
    OutOfMemory,
    PipelineError,
    ScratchFull,
    UnsupportedImage,
    UnsupportedOption,
    WeightsCorrupt,
    WeightsMissing,
)

#: How often a job is tried whose error may be this worker's own (memory, disk, a damaged weights file, a lost decoder).
TRIES_ELSEWHERE = 3

INTERNAL = "internal"
INTERNAL_TITLE = "Something went wrong on our side."
DEADLINE_EXCEEDED = Failure(
    code=DeadlineExceeded.code,
    title=DeadlineExceeded.public,
    detail="The deadline passed while the job was running; what it had done was discarded.",
)

#: What a message about missing weights says to do.
_COMMAND = re.compile(r"`photomend models fetch [\w.\-]+`")

#: Errors whose own words name only values and limits, never paths, hosts or keys.
_SPEAKABLE = (UnsupportedOption, UnsupportedImage, ImageTooLarge, FaceNotFound)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """The job ends here."""

    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The job goes back to the head of its backlog."""

    charge: bool  #: whether this attempt counts
    pause: bool  #: whether this worker should take nothing new for a while, since the next job would fare the same


Verdict = Fail | Release


def classify(error: BaseException, attempt: int) -> Verdict:
    """What to do after ``error`` ended the job's ``attempt``-th attempt (from 1)."""
    if isinstance(error, StorageUnavailable | StoreUnavailable):
        return Release(charge=False, pause=True)
    may_be_ours = MemoryError | OutOfMemory | ScratchFull | DecoderLost | WeightsCorrupt
    if isinstance(error, may_be_ours) and attempt < TRIES_ELSEWHERE:
        return Release(charge=True, pause=False)
    if isinstance(error, MemoryError):
        error = OutOfMemory(str(error))
    if isinstance(error, PipelineError):
        return Fail(failure=Failure(code=error.code, title=error.public, detail=_detail(error)))
    if isinstance(error, ObjectError):
        detail = error.detail if isinstance(error, InputUnreachable) else None
        return Fail(failure=Failure(code=error.code, title=error.public, detail=detail or error.public))
    # Our own bug, or a JobsError that a running job should never meet: said plainly, logged by the caller.
    title = error.public if isinstance(error, JobsError) else INTERNAL_TITLE
    return Fail(failure=Failure(code=INTERNAL, title=title, detail=f"Unexpected {type(error).__name__}."))


def _detail(error: PipelineError) -> str:
    if isinstance(error, WeightsMissing):
        # The rest of the message names a folder.
        command = _COMMAND.search(str(error))
        return f"{error.public} The operator can install them: {command[0] if command else '`photomend models fetch`'}."
    return str(error) if isinstance(error, _SPEAKABLE) and str(error) else error.public
