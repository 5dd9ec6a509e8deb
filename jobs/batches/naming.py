"""What results of a batch are called: a template under the output prefix."""

from __future__ import annotations

import string
from pathlib import PurePosixPath

from jobs.batches.manifest import Entry
from jobs.errors import InvalidRequest
from jobs.model import ObjectRef

#: The same name at the same place, under another prefix.
DEFAULT = "{dir}/{stem}{suffix}{ext}"
FIELDS = ("bucket", "dir", "stem", "suffix", "ext", "number")
MAX_TEMPLATE = 256

#: Endings by the format that a result is written in; the first is what we write.
ENDINGS = {"jpeg": (".jpg", ".jpeg"), "png": (".png",), "tiff": (".tif", ".tiff"), "webp": (".webp",)}
_FORMATS = {ending: name for name, endings in ENDINGS.items() for ending in endings}


def check_template(template: str) -> str:
    """The template, if every item gets a name of its own by it.

    Raises:
        InvalidRequest: it names an unknown field, or none that tells items apart.
    """
    try:
        used = {name for _, name, spec, conversion in string.Formatter().parse(template) if name is not None}
        plain = all(not spec and not conversion for _, name, spec, conversion in string.Formatter().parse(template))
    except ValueError as err:
        raise InvalidRequest(f"the naming template cannot be read: {err}", pointer="/naming") from err
    strange = sorted(used - set(FIELDS))
    if strange or not plain or len(template) > MAX_TEMPLATE:
        known = ", ".join(f"{{{name}}}" for name in FIELDS)
        raise InvalidRequest(f"the naming template may use {known} and nothing else", pointer="/naming")
    if not used & {"stem", "number"} or "ext" not in used:
        raise InvalidRequest("the naming template needs {ext}, and {stem} or {number}", pointer="/naming")
    ObjectRef.parse(f"s3://bucket/{_filled(template, dict.fromkeys(FIELDS, 'x'))}")
    return template


def image_ending(source: ObjectRef, wish: str) -> str | None:
    """How the restored picture's name will end, with its dot; None where only its content tells.

    ``wish`` is the option ``format``. A source's own ending is kept where it fits what is written.
    """
    own = PurePosixPath(source.key).suffix.lower()
    if wish == "auto":
        return PurePosixPath(source.key).suffix if own in _FORMATS else None
    return PurePosixPath(source.key).suffix if _FORMATS.get(own) == wish else ENDINGS[wish][0]


def part_ending(source: ObjectRef, extension: str) -> str:
    """The same once it is known what was written: ``extension`` is without its dot."""
    own = PurePosixPath(source.key).suffix
    same = _FORMATS.get(own.lower()) is not None and _FORMATS.get(own.lower()) == _FORMATS.get(f".{extension}")
    return own if same else f".{extension}"


def output_key(
    template: str,
    entry: Entry,
    source: ObjectRef,
    *,
    part: str,
    ending: str,
    suffix: str,
    number: int,
    base: str = "",
) -> str:
    """The key of one part of an item's result, under the output prefix.

    ``base`` is the source prefix, below which {dir} begins. A name that the manifest gives replaces the template; its
    ending follows what was written.

    Raises:
        InvalidRequest: it makes no valid key.
    """
    marked = suffix if part == "image" else f"{suffix}-{part.replace('/', '-')}"
    if entry.output is not None:
        path = PurePosixPath(entry.output)
        stem = path.stem if path.suffix.lower() in _FORMATS else path.name
        name = str(path.with_name(f"{stem}{'' if part == 'image' else marked}{ending}")) if stem else ""
    else:
        path = PurePosixPath(source.key.removeprefix(base).lstrip("/"))
        folder = "" if str(path.parent) == "." else str(path.parent)
        words = {"bucket": source.bucket, "dir": folder, "stem": path.stem, "suffix": marked, "ext": ending}
        name = _filled(template, words | {"number": f"{number:08d}"})
    return ObjectRef.parse(f"s3://bucket/{name}").key


def _filled(template: str, words: dict[str, str]) -> str:
    # An empty {dir} leaves a slash at the beginning, or two in the middle.
    return "/".join(part for part in template.format(**words).split("/") if part)
