"""Every knob of one restoration, checked. Speaks the same words as ``jobs.options`` (a test compares the two)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.errors import UnsupportedOption

FaceChoice = Literal["all", "center", "largest"]
GrayChoice = Literal["keep", "allow-color"]
Precision = Literal["auto", "exact"]
FormatChoice = Literal["auto", "jpeg", "png", "tiff", "webp"]
DepthChoice = Literal["auto", "8", "16"]
MetadataPolicy = Literal["keep", "strip"]
OutputName = Literal["image", "faces", "comparison", "mask", "provenance"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreOptions:
    """How to restore; defaults are design.md's."""

    #: The face restorer's name in weights.toml; None = not named: gfpgan-1.4, or the preview pack where allowed.
    model: str | None = None
    scale: float = 2.0  #: final size / input size, 1 to 4
    background: str = "auto"  #: an upsampler's name in weights.toml, ``none`` (Lanczos) or ``auto``
    denoise: float = 0.5  #: realesr-general-x4v3 only; 1 = it alone, 0 = its twin that keeps noise
    tile_px: int = 0  #: 0 = by memory
    strength: float = 1.0  #: 0 = the original face's pixels exactly, 1 = the network's
    faces: FaceChoice = "all"
    min_face_px: int = 0  #: longer side of the box, source px; smaller faces are skipped
    max_face_px: int | None = None
    max_faces: int | None = None
    min_score: float = 0.5
    passes: int = 1  #: 2 = restored again
    aligned: bool = False  #: the input is itself an aligned face crop
    gray: GrayChoice = "keep"
    precision: Precision = "auto"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """What to hand out and how to write it; defaults are design.md's."""

    format: FormatChoice = "auto"  #: auto = the input's
    quality: int = 95  #: of lossy formats, 1 to 100
    bit_depth: DepthChoice = "auto"  #: auto = the input's
    metadata_policy: MetadataPolicy = (
        "keep"  #: EXIF, XMP and IPTC; a profile that gives the pixels meaning always stays
    )
    gray: GrayChoice = "keep"  #: allow-color: a gray source may be written in colour
    outputs: tuple[OutputName, ...] = ("image", "provenance")

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise UnsupportedOption(f"quality must be between 1 and 100, not {self.quality!r}")
        if not self.outputs:
            raise UnsupportedOption("outputs must name at least one")
