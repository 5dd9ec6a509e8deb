"""Every knob of one restoration, checked. Speaks the same words as ``jobs.options`` (a test compares the two)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from pipeline import choice
from pipeline.choice import Box
from pipeline.errors import UnsupportedOption

FaceWord = Literal["all", "center", "largest"]
#: A word, or the chosen faces: ids (see pipeline.choice) and boxes in source px.
FaceChoice = FaceWord | tuple[str | Box, ...]
GrayChoice = Literal["keep", "allow-color"]
Precision = Literal["auto", "exact"]
FormatChoice = Literal["auto", "jpeg", "png", "tiff", "webp"]
DepthChoice = Literal["auto", "8", "16"]
MetadataPolicy = Literal["keep", "strip"]
OutputName = Literal["image", "faces", "comparison", "mask", "provenance"]

#: Inclusive ranges of the numbers.
RANGES: dict[str, tuple[float, float]] = {
    "scale": (1, 4),
    "denoise": (0, 1),
    "strength": (0, 1),
    "min_face_px": (0, 100_000),
    "max_face_px": (1, 100_000),
    "max_faces": (1, 10_000),
    "min_score": (0, 1),
    "passes": (1, 2),
    "page": (1, 100_000),
    "quality": (1, 100),
    "seed": (0, 2**63 - 1),
}
#: The options that decide which faces a detection finds, and what it tells of them.
DETECTION = ("faces", "min_face_px", "max_face_px", "max_faces", "min_score", "rotate", "page")
#: Shortest and longest side of a background tile that is not 0: below, its margins are most of the work.
TILE_PX = (128, 2048)


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
    rotate: bool = False  #: faces that lie on their side or upside down are looked for as well
    passes: int = 1  #: 2 = restored again
    aligned: bool = False  #: the input is itself an aligned face crop
    page: int = 1  #: of a multi-page TIFF or an animation; 1 = first
    gray: GrayChoice = "keep"
    precision: Precision = "auto"
    seed: int | None = None  #: feeds the noise; None = the stored noise
    keep_crops: bool = False  #: fill ``Restoration.crops``

    def __post_init__(self) -> None:
        _check(self, {"gray": GrayChoice, "precision": Precision})
        _check_faces(self.faces)
        shortest, longest = TILE_PX
        if self.tile_px != 0 and not shortest <= self.tile_px <= longest:
            raise UnsupportedOption(f"tile_px must be 0 or between {shortest} and {longest}, not {self.tile_px!r}")


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
        words = {
            "format": FormatChoice,
            "bit_depth": DepthChoice,
            "metadata_policy": MetadataPolicy,
            "gray": GrayChoice,
        }
        _check(self, words)
        if not self.outputs or not set(self.outputs) <= set(get_args(OutputName)):
            raise UnsupportedOption(f"outputs must be some of {', '.join(get_args(OutputName))}, not {self.outputs!r}")


def _check_faces(faces: FaceChoice) -> None:
    if isinstance(faces, str):
        if faces not in get_args(FaceWord):
            raise UnsupportedOption(f"faces must be one of {', '.join(get_args(FaceWord))}, not {faces!r}")
        return
    if not faces:
        raise UnsupportedOption("faces names no face")
    for one in faces:
        if not choice.is_id(one) if isinstance(one, str) else not choice.area(one) > 0:
            raise UnsupportedOption(f"faces must hold ids and boxes x0, y0, x1, y1, not {one!r}")


def _check(options: RestoreOptions | OutputOptions, words: Mapping[str, Any]) -> None:
    """Refuse what no model can honour.

    Raises:
        UnsupportedOption: a number out of range, or a word that is none of the known ones.
    """
    for name, known in words.items():
        value = getattr(options, name)
        if value not in get_args(known):
            raise UnsupportedOption(f"{name} must be one of {', '.join(get_args(known))}, not {value!r}")
    for name in (field.name for field in fields(options) if field.name in RANGES):
        (low, high), value = RANGES[name], getattr(options, name)
        # "not (low <= value <= high)" also refuses NaN.
        if value is not None and not low <= value <= high:
            raise UnsupportedOption(f"{name} must be between {low:g} and {high:g}, not {value!r}")
