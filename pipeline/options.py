"""Every knob of one restoration, checked. Speaks the same words as ``jobs.options`` (a test compares the two)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.errors import UnsupportedOption

FaceChoice = Literal["all", "center", "largest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreOptions:
    """How to restore; defaults are design.md's."""

    #: The face restorer's name in weights.toml; None = not named: gfpgan-1.4, or the preview pack where allowed.
    model: str | None = None
    scale: float = 2.0  #: final size / input size, 1 to 4
    background: str = "auto"  #: an upsampler's name in weights.toml, ``none`` (Lanczos) or ``auto``
    denoise: float = 0.5  #: realesr-general-x4v3 only; 1 = the denoising twin, 0 = the other
    tile_px: int = 0  #: 0 = by memory
    strength: float = 1.0  #: 0 = the original face's pixels exactly, 1 = the network's
    faces: FaceChoice = "all"
    min_face_px: int = 0  #: longer side of the box, source px; smaller faces are skipped
    max_face_px: int | None = None
    max_faces: int | None = None
    min_score: float = 0.5
    passes: int = 1  #: 2 = restored again
    aligned: bool = False  #: the input is itself an aligned face crop
    gray: Literal["keep", "allow-color"] = "keep"
    precision: Literal["auto", "exact"] = "auto"
    seed: int | None = None  #: feeds the noise; None = the stored noise
    keep_crops: bool = False  #: fill ``Restoration.crops``

    def __post_init__(self) -> None:
        if not 1 <= self.scale <= 4:
            raise UnsupportedOption(f"scale must be between 1 and 4, not {self.scale!r}")
        if not 0 <= self.strength <= 1:
            raise UnsupportedOption(f"strength must be between 0 and 1, not {self.strength!r}")
        if not 0 <= self.denoise <= 1:
            raise UnsupportedOption(f"denoise must be between 0 and 1, not {self.denoise!r}")
        if self.passes not in {1, 2}:
            raise UnsupportedOption(f"passes must be 1 or 2, not {self.passes!r}")
