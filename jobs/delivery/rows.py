"""One row of the completion report: what became of one line of the manifest. Pure values and their JSON words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

from jobs.delivery.errors import RowUnreadable


class Status(StrEnum):
    """How a manifest line ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  #: ``error_code`` and ``error`` say why
    SKIPPED = "skipped"  #: its result was there already, of the same source, recipe and weights, and was verified
    CANCELED = "canceled"  #: the batch ended before it was worked on


#: Of these there are results.
DONE = frozenset({Status.SUCCEEDED, Status.SKIPPED})


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFile:
    """One file that was made for the line."""

    part: str  #: image, mask, comparison, provenance, faces/0 …
    key: str  #: object key, or path below the output folder with ``/``
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceNote:
    """A face that was found and left as it was."""

    face: str  #: id
    status: str  #: skipped, failed
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewNote:
    """Why a person should look at the result."""

    face: str  #: id
    code: str  #: identity, non_frontal, tiny, colour
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionNote:
    """What a person decided about the result."""

    decision: str  #: accepted, rejected
    at: str  #: UTC, ISO 8601
    by: str  #: who, as they call themselves
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What became of one line of the manifest."""

    number: int  #: of the manifest's line or entry, from 1
    source: str  #: object key, or path below the source folder with ``/``
    status: Status
    version: str | None = None  #: of the source object, where its bucket has versions
    source_sha256: str | None = None  #: None = it could not be read
    recipe_sha256: str | None = None  #: see ``recipe``; with ``source_sha256`` it identifies the result
    outputs: tuple[OutputFile, ...] = ()
    error_code: str | None = None
    error: str | None = None  #: a sentence
    faces_found: int | None = None  #: None = nobody looked
    faces_restored: int | None = None
    faces_skipped: int | None = None
    face_notes: tuple[FaceNote, ...] = ()
    review: tuple[ReviewNote, ...] = ()
    warnings: tuple[str, ...] = ()  #: codes
    model: str | None = None
    weights: Mapping[str, str] = field(default_factory=dict)  #: network → SHA-256
    engine: str | None = None  #: such as torch-cuda
    device: str | None = None  #: the GPU, or the machine
    seconds: float | None = None  #: of work on it
    completed_at: str | None = None  #: UTC, ISO 8601
    decisions: tuple[DecisionNote, ...] = ()  #: the latest last

    @property
    def image(self) -> OutputFile | None:
        """The restored picture."""
        return next((output for output in self.outputs if output.part == "image"), None)


COLUMNS = tuple(f.name for f in fields(Row))
_LISTS: dict[str, type[OutputFile | FaceNote | ReviewNote | DecisionNote]] = {
    "outputs": OutputFile,
    "face_notes": FaceNote,
    "review": ReviewNote,
    "decisions": DecisionNote,
}
_COUNTS = ("faces_found", "faces_restored", "faces_skipped")
_TEXTS = (
    "version",
    "source_sha256",
    "recipe_sha256",
    "error_code",
    "error",
    "model",
    "engine",
    "device",
    "completed_at",
)


def to_words(row: Row) -> dict[str, Any]:
    """The row as JSON words, in the order of the columns."""
    words = {name: getattr(row, name) for name in COLUMNS}
    for name in _LISTS:
        words[name] = [asdict(one) for one in words[name]]
    return words | {"status": str(row.status), "warnings": list(row.warnings), "weights": dict(row.weights)}


def from_words(words: Mapping[str, Any]) -> Row:
    """The inverse of ``to_words``; members that this version does not know are left out.

    Raises:
        RowUnreadable: a member is missing or of the wrong type.
    """
    try:
        _check(words)
        lists = {name: tuple(_one(kind, each) for each in words.get(name) or ()) for name, kind in _LISTS.items()}
        plain = {name: words[name] for name in COLUMNS if name in words and name not in lists}
        return Row(
            **plain
            | lists
            | {
                "status": Status(words["status"]),
                "warnings": tuple(words.get("warnings") or ()),
                "weights": dict(words.get("weights") or {}),
            }
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RowUnreadable(f"not a row of a report: {type(error).__name__}: {error}") from error


def _one(kind: type[Any], words: Mapping[str, Any]) -> Any:
    return kind(**{f.name: words[f.name] for f in fields(kind)})


def _check(words: Mapping[str, Any]) -> None:
    number = words["number"]
    if type(number) is not int or number < 1:
        raise ValueError(f"number is {number!r}")
    if not isinstance(words["source"], str):
        raise TypeError("source is no text")
    for name in _COUNTS:
        if type(words.get(name)) not in {int, type(None)}:
            raise TypeError(f"{name} is no number")
    for name in _TEXTS:
        if not isinstance(words.get(name), str | None):
            raise TypeError(f"{name} is no text")
    if type(words.get("seconds")) not in {int, float, type(None)}:
        raise TypeError("seconds is no number")


def of_faces(faces: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """A row's members about faces, from the face records that a job or a provenance file has.

    Candidates that the detector itself took back (rejected) are no faces.
    """
    found = [face for face in faces if face["status"] != "rejected"]
    restored = [face for face in found if face["status"] == "restored"]
    left = [face for face in found if face["status"] in {"skipped", "failed"}]
    return {
        "faces_found": len(found),
        "faces_restored": len(restored),
        "faces_skipped": len(left),
        "face_notes": tuple(
            FaceNote(face=face["id"], status=str(face["status"]), reason=face.get("reason") or "") for face in left
        ),
        "review": tuple(
            ReviewNote(face=face["id"], code=flag["code"], reason=flag["reason"])
            for face in found
            for flag in face.get("review") or ()
        ),
    }


def of_model(model: Mapping[str, Any]) -> dict[str, Any]:
    """A row's members about what computed it, from the ``model`` that a job or a provenance file has."""
    return {"model": model.get("name"), "engine": model.get("engine"), "weights": weights_of(model)}


def weights_of(model: Mapping[str, Any]) -> dict[str, str]:
    """Network → SHA-256 of every file of weights that a ``model`` record names, sorted by name."""
    found: dict[str, str] = {}
    for part in (model, *(value for value in model.values() if isinstance(value, Mapping))):
        if isinstance(part.get("name"), str) and isinstance(part.get("sha256"), str):
            found[part["name"]] = part["sha256"]
    return dict(sorted(found.items()))
