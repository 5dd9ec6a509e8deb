"""Which results of earlier runs stay: those that prove to be of this source, these options, these weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.delivery.recipe import recipe_sha256
from jobs.delivery.rows import DONE, OutputFile, Row, Status, of_faces, of_model, weights_of
from jobs.options import JobOptions
from photomend.delivery.manifest import Entry
from photomend.files import EXTENSIONS, FileRefused, Input, Layout, sha256_of

#: The parts that a provenance file alone proves.
_PROVEN = frozenset({"image", "provenance"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What an entry's result is made by."""

    options: JobOptions
    model: Mapping[str, Any]  #: of the networks that the options choose here; see ``Restorer.describe``
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha256", _recipe(self.options.to_mapping(), self.model))

    @property
    def resolved(self) -> dict[str, Any]:
        """The options, with what ``auto`` and an unnamed model came to."""
        return _resolved(self.options.to_mapping(), self.model)


def _recipe(options: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    return recipe_sha256(_resolved(options, model), weights_of(model))


def _resolved(options: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    return {**options, "model": model["name"], "background": model["background"]}


def kept(
    entry: Entry,
    source: Input,
    before: Row | None,
    recipe: Recipe,
    *,
    out: Path,
    layout: Layout,
    replaces: bool = False,
) -> Row | None:
    """The row of an entry whose result is there, whole and of this recipe; None = it is to be worked on.

    Args:
        entry: of the manifest.
        source: the entry's.
        before: its row of an earlier run.
        recipe: of this run.
        out: the results' folder.
        layout: of the results.
        replaces: another recipe's or another source's result is to be replaced.

    Raises:
        FileRefused: unless it ``replaces``, another recipe's or another source's result is in its place.
        OSError: a file cannot be read.
    """
    record = _record(layout.place(source, "provenance", "json"))
    if record is None or not source.path.is_file():
        return None
    sha256 = sha256_of(source.path)
    if source.sha256 not in {None, sha256}:
        return None
    if (record["input"]["sha256"], _recipe(record["options"], record["model"])) != (sha256, recipe.sha256):
        if replaces:
            return None
        place = layout.place(source, "provenance", "json")
        raise FileRefused(
            "output_exists",
            f"{place} is of another source, or of other options or weights; give --overwrite to replace it and its "
            "picture, or name another folder with -o.",
        )
    if before is not None and before.status in DONE:
        same = (before.source_sha256, before.recipe_sha256) == (sha256, recipe.sha256)
        return before if same and all(_is_there(out, output) for output in before.outputs) else None
    return _proven(entry, source, record, recipe, out=out, layout=layout)


def _record(place: Path) -> dict[str, Any] | None:
    """A provenance file's words; None where there is none, or something else."""
    try:
        words = json.loads(place.read_bytes())
        members = [words[name] for name in ("options", "faces", "warnings")] + [words["input"]["sha256"]]
        members += [words["output"][name] for name in ("sha256", "bytes", "format")]
        members += [words["model"][name] for name in ("name", "background")]
        return words if words["kind"] == "restore" and all(one is not None for one in members) else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _is_there(out: Path, output: OutputFile) -> bool:
    place = out / output.key
    return place.is_file() and place.stat().st_size == output.bytes and sha256_of(place) == output.sha256


def _proven(
    entry: Entry, source: Input, record: Mapping[str, Any], recipe: Recipe, *, out: Path, layout: Layout
) -> Row | None:
    """The row of a result that no journal knows of, where its own record proves it."""
    if set(recipe.options.outputs) - _PROVEN:
        return None
    told, own = record["output"], source.path.suffix.removeprefix(".")
    spellings = EXTENSIONS[told["format"]]
    image = layout.place(source, "image", own if own.lower() in spellings else spellings[0])
    claimed = OutputFile(
        part="image", key=image.relative_to(out).as_posix(), sha256=told["sha256"], bytes=told["bytes"]
    )
    if not _is_there(out, claimed):
        return None
    beside = output_file("provenance", layout.place(source, "provenance", "json"), out=out)
    return Row(
        number=entry.number,
        source=entry.source,
        status=Status.SKIPPED,
        source_sha256=record["input"]["sha256"],
        recipe_sha256=recipe.sha256,
        outputs=(claimed, beside),
        warnings=tuple(notice["code"] for notice in record["warnings"]),
        **of_faces(record["faces"]),
        **of_model(record["model"]),
    )


def output_file(part: str, path: Path, *, out: Path) -> OutputFile:
    """A file that was written, as it can be read back."""
    return OutputFile(
        part=part, key=path.relative_to(out).as_posix(), sha256=sha256_of(path), bytes=path.stat().st_size
    )
