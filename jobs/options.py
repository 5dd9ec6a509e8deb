"""What a job may ask for: one vocabulary for API, command line and manifest.

Names, defaults and ranges are design.md's option table; ``pipeline.options`` speaks the same words
(a test compares the two) but the packages do not import each other.
"""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.errors import InvalidOption
from jobs.faces import FaceChoice, checked_choice, choice_words

MODELS = ("gfpgan-1.4", "gfpgan-1.3", "gfpgan-1.2", "gfpgan-1", "restoreformer", "preview")
BACKGROUNDS = ("auto", "realesrgan-x2plus", "realesrgan-x4plus", "realesr-general-x4v3", "preview-x2", "none")
GRAY = ("keep", "allow-color")
FORMATS = ("auto", "jpeg", "png", "tiff", "webp")
BIT_DEPTHS = ("auto", "8", "16")
METADATA_POLICIES = ("keep", "strip")
PRECISIONS = ("auto", "exact")
OUTPUTS = ("image", "faces", "comparison", "mask", "provenance")

#: Models that no seed can do anything to.
WITHOUT_NOISE = ("restoreformer", "preview")
#: Formats without 16 bits a sample.
EIGHT_BIT_FORMATS = ("jpeg", "webp")

#: Longest suffix that a result's name may get.
MAX_SUFFIX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """The submitter's wishes about the picture, checked. Field meanings: README, "Options"."""

    #: None = not named: gfpgan-1.4, or the preview pack where an installation allows that.
    model: str | None = None
    scale: float = 2.0  #: final size / input size, 1 to 4
    background: str = "auto"
    denoise: float = 0.5  #: realesr-general-x4v3 only, 0 to 1
    tile_px: int = 0  #: 0 = by memory, else 128 to 2048
    strength: float = 1.0  #: 0 = the original face's pixels exactly
    faces: FaceChoice = "all"
    min_face_px: int = 0
    max_face_px: int | None = None
    max_faces: int | None = None
    min_score: float = 0.5
    rotate: bool = False
    passes: int = 1
    aligned: bool = False
    page: int = 1  #: of a multi-page TIFF or an animation; 1 = first
    gray: str = "keep"
    format: str = "auto"
    quality: int = 95
    bit_depth: str = "auto"
    suffix: str = ""
    outputs: tuple[str, ...] = ("image", "provenance")
    metadata_policy: str = "keep"
    precision: str = "auto"
    seed: int | None = None

    def __post_init__(self) -> None:
        checked_choice(self.faces)
        _check_choices(self)
        _check_numbers(self)
        if len(self.suffix) > MAX_SUFFIX or not all(c.isalnum() or c in "-_." for c in self.suffix):
            raise InvalidOption(
                f"suffix may hold up to {MAX_SUFFIX} letters, digits, '-', '_', '.'", pointer="/options/suffix"
            )
        _check_model(self)
        if self.denoise != _default("denoise") and self.background not in {"auto", "realesr-general-x4v3"}:
            raise InvalidOption(
                f"denoise is honoured by realesr-general-x4v3 only, not by {self.background}",
                pointer="/options/denoise",
            )

    @classmethod
    def from_mapping(cls, wishes: Mapping[str, Any]) -> JobOptions:
        """Options from JSON words; what is not said has its default.

        Raises:
            InvalidOption: an unknown name, a value of the wrong type, or one out of range.
        """
        fields = {f.name: f for f in dataclasses.fields(cls)}
        unknown = sorted(set(wishes) - set(fields))
        if unknown:
            name = unknown[0].replace("~", "~0").replace("/", "~1")
            raise InvalidOption(
                f"unknown option {_shown(unknown[0])}; known: {', '.join(fields)}", pointer=f"/options/{name}"
            )
        return cls(**{name: _coerce(name, value) for name, value in wishes.items()})

    def to_mapping(self) -> dict[str, Any]:
        """The options as JSON words, every one of them, so that a record says what was really used."""
        words = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return words | {"faces": choice_words(self.faces), "outputs": list(self.outputs)}


def _default(name: str) -> Any:
    return next(f.default for f in dataclasses.fields(JobOptions) if f.name == name)


INTS = frozenset({"tile_px", "min_face_px", "max_face_px", "max_faces", "passes", "page", "quality", "seed"})
FLOATS = frozenset({"scale", "denoise", "strength", "min_score"})
BOOLS = frozenset({"rotate", "aligned"})
OPTIONAL = frozenset({"model", "max_face_px", "max_faces", "seed"})


def _coerce(name: str, value: Any) -> Any:
    """The value with JSON's number and list types made ours; wrong types are refused, never guessed at."""
    if value is None and name in OPTIONAL:
        return None
    if name == "faces":
        return checked_choice(value)
    if (name in INTS or name == "bit_depth") and isinstance(value, float) and value.is_integer():
        # 2.0 is an integer in JSON Schema, and some languages write every number so.
        value = int(value)
    if name == "bit_depth" and type(value) is int:
        value = str(value)
    if not _is_of_type(name, value):
        raise InvalidOption(f"{name} has a value of the wrong type: {_shown(value)}", pointer=f"/options/{name}")
    if name == "outputs":
        return tuple(value)
    if name in FLOATS:
        try:
            return float(value)
        except OverflowError as err:
            raise InvalidOption(f"{name} is far too large", pointer=f"/options/{name}") from err
    return value


#: A stranger's value, cut to what fits a sentence.
_shown = reprlib.repr


def _is_of_type(name: str, value: Any) -> bool:
    if name in BOOLS:
        return isinstance(value, bool)
    if name in INTS:
        return isinstance(value, int) and not isinstance(value, bool)
    if name in FLOATS:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if name == "outputs":
        return isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)
    return isinstance(value, str)


CHOICES: dict[str, tuple[str, ...]] = {
    "model": MODELS,
    "background": BACKGROUNDS,
    "gray": GRAY,
    "format": FORMATS,
    "bit_depth": BIT_DEPTHS,
    "metadata_policy": METADATA_POLICIES,
    "precision": PRECISIONS,
}

#: Shortest and longest side of a background tile that is not 0.
TILE_PX = (128, 2048)
#: Inclusive ranges of the other numbers.
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


def _check_choices(options: JobOptions) -> None:
    for name, choices in CHOICES.items():
        value = getattr(options, name)
        if value is None and name in OPTIONAL:
            continue
        if value not in choices:
            raise InvalidOption(
                f"{name} must be one of {', '.join(choices)}, not {_shown(value)}", pointer=f"/options/{name}"
            )
    wrong = [part for part in options.outputs if part not in OUTPUTS]
    if wrong or not options.outputs or len(set(options.outputs)) < len(options.outputs):
        raise InvalidOption(
            f"outputs must name one or more of {', '.join(OUTPUTS)}, each once", pointer="/options/outputs"
        )


def _check_model(options: JobOptions) -> None:
    """What no installation can honour: the worker knows the rest when it knows which weights it has."""
    if options.seed is not None and options.model in WITHOUT_NOISE:
        raise InvalidOption(
            f"seed cannot be honoured by {options.model}: it draws no noise; leave seed out", pointer="/options/seed"
        )
    if options.bit_depth == "16" and options.format in EIGHT_BIT_FORMATS:
        raise InvalidOption(
            f"{options.format} holds 8 bits a sample, not 16; png and tiff hold 16", pointer="/options/bit_depth"
        )


def _check_numbers(options: JobOptions) -> None:
    for name, (low, high) in RANGES.items():
        value = getattr(options, name)
        # "not (low <= v <= high)" also refuses NaN.
        if value is not None and not low <= value <= high:
            raise InvalidOption(
                f"{name} must be between {low:g} and {high:g}, not {_shown(value)}", pointer=f"/options/{name}"
            )
    shortest, longest = TILE_PX
    if options.tile_px != 0 and not shortest <= options.tile_px <= longest:
        raise InvalidOption(f"tile_px must be 0 or between {shortest} and {longest}", pointer="/options/tile_px")
