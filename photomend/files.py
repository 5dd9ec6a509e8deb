"""Which pictures a command works on, where its results go, and how they get there whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from mmap import mmap
from pathlib import Path
from typing import Protocol

#: Extensions that announce a picture of ours; other files of a folder are looked at by their first bytes.
EXTENSIONS = {
    "jpeg": ("jpg", "jpeg", "jpe", "jfif"),
    "png": ("png",),
    "tiff": ("tif", "tiff"),
    "webp": ("webp",),
    "gif": ("gif",),
    "avif": ("avif",),
}

#: Read at a time where a file is compared.
_PIECE_BYTES = 1 << 20

#: What file systems say that have no hard links, or none to there.
NO_LINKS = frozenset({errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class FileRefused(Exception):
    """Raised when there is nothing to read or a place may not be written; code and sentence are for the user."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One picture to work on."""

    path: Path
    subfolder: Path = field(default_factory=Path)  #: below the folder it was found in, kept in the results
    is_twin: bool = False  #: another input's name differs in the extension only, such as scan.tif beside scan.jpg
    name: str | None = None  #: of the results, without extension; None = the picture's own
    sha256: str | None = None  #: that the file must have

    @property
    def stem(self) -> str:
        """What the results are named after."""
        return self.path.stem if self.name is None else self.name


def format_of_extension(path: Path) -> str | None:
    """The format that a file's name announces."""
    word = path.suffix.lower().removeprefix(".")
    return next((name for name, words in EXTENSIONS.items() if word in words), None)


def find_inputs(paths: Iterable[Path], *, recursive: bool, without: Path | None) -> tuple[Input, ...]:
    """The pictures behind the paths: files as they are named, folders by what is in them, sorted.

    Args:
        paths: files and folders.
        recursive: look into subfolders too.
        without: the results' folder, if any; nothing in it is an input, so that a second run does not mend results.

    Raises:
        FileRefused: a path leads nowhere.
    """
    found: list[Input] = []
    for path in paths:
        if path.is_dir():
            found += _in_folder(path, recursive=recursive, without=without)
        elif path.exists():
            found.append(Input(path=path))
        else:
            raise FileRefused("input_not_found", f"There is no file or folder {path}.")
    return with_twins_marked(found)


def with_twins_marked(found: Sequence[Input]) -> tuple[Input, ...]:
    """The inputs, those marked whose results would be named alike but for the extension."""
    names: dict[tuple[Path, str], set[str]] = {}
    for one in found:
        names.setdefault((one.subfolder, one.stem), set()).add(one.path.name)
    return tuple(replace(one, is_twin=len(names[one.subfolder, one.stem]) > 1) for one in found)


def _in_folder(folder: Path, *, recursive: bool, without: Path | None) -> Iterator[Input]:
    inside = without.resolve() if without and without.resolve() != folder.resolve() else None
    for path in sorted(folder.rglob("*") if recursive else folder.iterdir()):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or not path.is_file() or (inside and path.resolve().is_relative_to(inside)):
            continue
        if format_of_extension(path) or _begins_as_picture(path):
            yield Input(path=path, subfolder=path.parent.relative_to(folder))


def _begins_as_picture(path: Path) -> bool:
    from pipeline.errors import UnreadableImage
    from pipeline.formats import SNIFF_BYTES, sniff

    try:
        with path.open("rb") as stream:
            sniff(stream.read(SNIFF_BYTES))
    except (UnreadableImage, OSError):
        return False
    return True


class Layout(Protocol):
    """Where each result of an input goes."""

    def place(self, source: Input, part: str, extension: str) -> Path: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OneFile:
    """The picture goes exactly where the user said, the rest beside it."""

    path: Path

    def place(self, source: Input, part: str, extension: str) -> Path:
        del source
        if part == "image":
            return self.path
        return self.path.with_name(f"{self.path.stem}.{_slug(part)}.{extension}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flat:
    """``OUT/name.jpg``, and beside it ``name.mask.png``, ``name.provenance.json`` and so on.

    Beside the results of twins lie ``name.tif.mask.png`` and ``name.jpg.mask.png``.
    """

    folder: Path
    suffix: str = ""

    def place(self, source: Input, part: str, extension: str) -> Path:
        folder, name = self.folder / source.subfolder, source.stem + self.suffix
        if part == "image":
            return folder / f"{name}.{extension}"
        whose = f"{name}{source.path.suffix}" if source.is_twin else name
        return folder / f"{whose}.{_slug(part)}.{extension}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gfpgan:
    """The folders of GFPGAN's own command line: restored_imgs, cropped_faces, restored_faces, cmp."""

    folder: Path
    suffix: str = ""

    def place(self, source: Input, part: str, extension: str) -> Path:
        stem = source.stem
        ending = f"_{self.suffix}" if self.suffix else ""
        kind, _, which = part.partition("/")
        if kind in {"faces", "cmp"}:
            index, _, before = which.partition("-")
            name = f"{stem}_{int(index):02d}"
            if kind == "cmp":
                return self._at("cmp", source, f"{name}.{extension}")
            if before:
                return self._at("cropped_faces", source, f"{name}.{extension}")
            return self._at("restored_faces", source, f"{name}{ending}.{extension}")
        if part == "provenance":
            return self._at("restored_imgs", source, f"{stem}{ending}.provenance.{extension}")
        folder = {"image": "restored_imgs", "mask": "masks", "comparison": "comparisons"}[part]
        return self._at(folder, source, f"{stem}{ending}.{extension}")

    def _at(self, folder: str, source: Input, name: str) -> Path:
        return self.folder / folder / source.subfolder / name


def _slug(part: str) -> str:
    """``faces/0-before`` → ``face-0-before``."""
    return part.replace("faces/", "face-")


def _move_where_free(part: Path, target: Path) -> None:
    try:
        # A link, unlike a rename, fails where the name is taken.
        os.link(part, target)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        # Some file systems have no links. Between this look and the move is a moment that others could use.
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        part.replace(target)


def require_apart(folder: Path, out: Path) -> None:
    """Refuse results at, under or above the sources: nothing may ever be mixed up with a master.

    Raises:
        FileRefused: they are not apart.
    """
    source, target = folder.resolve(), out.resolve()
    if source == target or target.is_relative_to(source) or source.is_relative_to(target):
        raise FileRefused(
            "output_in_source",
            f"The results' folder {out} and the sources' folder {folder} must lie apart, so that no master is touched; "
            "name another folder with -o.",
        )


def holds(place: Path, data: bytes | mmap) -> bool:
    """Whether the file has just these bytes."""
    if not place.is_file() or place.stat().st_size != len(data):
        return False
    at = 0
    with place.open("rb") as stream:
        while piece := stream.read(_PIECE_BYTES):
            if piece != data[at : at + len(piece)]:
                return False
            at += len(piece)
    return at == len(data)


def sha256_of(path: Path) -> str:
    """Of a file, in hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_free(targets: Iterable[Path], *, inputs: set[Path], taken: set[Path], overwrite: bool) -> None:
    """Refuse to write over an input, ever; over another result of this run, ever; over a file, unless told to.

    Args:
        targets: where results are to go.
        inputs: resolved paths of everything that is read in this run.
        taken: resolved paths that this run has written.
        overwrite: existing files may be replaced.

    Raises:
        FileRefused: naming the file.
    """
    for target in targets:
        place = target.resolve()
        if place in inputs:
            raise FileRefused("output_is_input", f"The result would replace an input: {target}; choose another folder.")
        if place in taken:
            raise FileRefused("output_taken", f"Another picture of this run was already written to {target}.")
        if target.exists() and not overwrite:
            raise FileRefused("output_exists", f"{target} exists; give --overwrite to replace it.")


def write_whole(data: bytes | mmap, target: Path, *, overwrite: bool, staging: Path | None = None) -> None:
    """Write a file that is either there in full or not there: under another name first, then moved.

    Args:
        data: what is to be in it.
        target: the file.
        overwrite: it may be there already.
        staging: a folder on the same file system for what is half written; None = beside the target.

    Raises:
        FileRefused: it came into being meanwhile and may not be replaced.
        OSError: the disk or the permissions.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = (staging or target.parent) / f".{target.name[:100]}.{secrets.token_hex(4)}.part"
    try:
        with part.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if overwrite:
            part.replace(target)
        else:
            _move_where_free(part, target)
    except FileExistsError as error:
        raise FileRefused("output_exists", f"{target} exists; give --overwrite to replace it.") from error
    finally:
        part.unlink(missing_ok=True)
