"""The values that flow through the pipeline; conventions are stated here once.

Convention: coordinates are (x, y) in pixels, pixel centres at integers, origin at the top-left centre.
Working pictures are (H, W, 3) float32 sRGB RGB in [0, 1], C-contiguous. Transforms are (2, 3) float64 matrices
named by their direction (``crop_to_source``). Arrays inside these values are never written to after construction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.choice import Box

FloatImage = NDArray[np.float32]  #: (H, W, 3) sRGB RGB in [0, 1]
Mask = NDArray[np.float32]  #: (H, W) in [0, 1]
Affine = NDArray[np.float64]  #: (2, 3)

T = TypeVar("T")


class Stage(StrEnum):
    """The steps of one restoration, in order; progress and timings are told by these names."""

    DECODE = "decode"
    DETECT = "detect"
    ALIGN = "align"
    RESTORE = "restore"
    PARSE = "parse"
    IDENTIFY = "identify"
    UPSAMPLE = "upsample"
    BLEND = "blend"
    ENCODE = "encode"


class FaceStatus(StrEnum):
    """What became of a face."""

    RESTORED = "restored"
    FOUND = "found"  #: would be restored; of a detection only, which restores nothing
    SKIPPED = "skipped"  #: by the options, or too small or large; its pixels are the background's
    REJECTED = "rejected"  #: a detection that is no face
    FAILED = "failed"  #: the network's output was refused; original pixels kept


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Face:
    """One detected face in source pixels."""

    box: Box
    #: (5, 2): left eye, right eye, nose, left and right mouth corner; left and right as in the face held upright.
    landmarks: NDArray[np.float32]
    score: float  #: 0 to 1

    @property
    def size_px(self) -> float:
        """The longer side of the box."""
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewFlag:
    """Why a person should look at a face; see pipeline.review."""

    code: str  #: identity, non_frontal, tiny, colour
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceRecord:
    """What a caller learns about one face; JSON-ready through ``dataclasses.asdict``."""

    id: str  #: names the face in ``faces``, in this run and others; see pipeline.choice
    index: int  #: from left to right; of this run only
    box: Box
    landmarks: tuple[tuple[float, float], ...]
    score: float
    size_px: float
    status: FaceStatus
    reason: str | None = None  #: why not restored
    yaw_deg: float | None = None  #: about how far it is turned to the side; see pipeline.pose
    identity: float | None = None  #: similarity of the restored face to the original, -1 to 1; None = not compared
    review: tuple[ReviewFlag, ...] = ()
    seconds: float | None = None  #: of the device's time that restoring took; None = not restored


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FaceCrop:
    """An aligned face before and after, for review."""

    index: int  #: of the face record
    before: FloatImage  #: (512, 512, 3)
    after: FloatImage  #: (512, 512, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something the caller should know though the picture was processed."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Band:
    """Some rows of a restored picture at its final size, whole or in part."""

    plain: FloatImage  #: the source's, resampled and nothing else; Lanczos leaves [0, 1] by a little
    image: FloatImage  #: what became of them; the same array where nothing was done
    changed: Mask  #: where a face's pixels were blended in (0 = background only)


class Canvas(Protocol):
    """A restored picture, painted where it is looked at."""

    @property
    def width(self) -> int: ...  #: px, final

    @property
    def height(self) -> int: ...  #: px, final

    def band(self, rows: slice, columns: slice | None = None) -> Band:
        """These rows, or of them one of the parts that ``touched`` names. From any thread.

        A row has the same bytes whatever rows are asked for with it.

        Raises:
            ValueError: rows that the picture does not have.
        """
        ...

    def touched(self, rows: slice) -> tuple[slice, ...]:
        """The columns, from the left, outside of which these rows are the plainly resampled source."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Restoration:
    """One restored picture."""

    canvas: Canvas
    faces: tuple[FaceRecord, ...]
    crops: tuple[FaceCrop, ...]  #: filled when asked for
    warnings: tuple[Notice, ...]
    seconds: dict[Stage, float] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)  #: name, sha256, background, engine, precision, tile_px


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """The faces of a picture that was only looked at."""

    faces: tuple[FaceRecord, ...]
    warnings: tuple[Notice, ...]
    seconds: dict[Stage, float]
    model: dict[str, Any]  #: of the detector: name, sha256, engine, precision


class OnProgress(Protocol):
    """Told before and during each stage; may raise ``Cancelled``."""

    def __call__(self, stage: Stage, fraction: float) -> None: ...


class Compute(Protocol):
    """Runs device work: at once, or on the worker's lane. ``megapixels`` is network input, the measure of work."""

    def __call__(self, work: Callable[[], T], *, stage: Stage, megapixels: float) -> T: ...


def compute_here(work: Callable[[], T], *, stage: Stage, megapixels: float) -> T:
    """The simplest ``Compute``: on the calling thread."""
    return work()
