"""Weights files: what is known, where it lies, whether it is what it is named, and what is in it.

The only place that unpickles a file: after its hash is checked, tensors only. It never downloads.
A user's own checkpoint is named in a ``local.toml`` beside the files::

    [[local]]
    name = "realesr-general-x4v3"       # the option's word that it answers to
    file = "my-copy.pth"
    sha256 = "…"
    kind = "upsampler"                  # restorer, detector, parser, upsampler, recogniser
    architecture = "srvgg"
    label = "half-precision copy"       # told with every result
    licence = "BSD-3-Clause"
"""

from __future__ import annotations

import hashlib
import io
import pickle
import tomllib
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from pipeline.errors import WeightsCorrupt, WeightsMissing

StateDict = dict[str, torch.Tensor]

#: The file in the weights folder that names a user's own checkpoints.
LOCAL_FILE = "local.toml"

#: Keys under which training frameworks wrap the state dict, best first: the moving average is what is published.
WRAPPERS = ("params_ema", "params", "state_dict")

#: Where pickles of NumPy 1 and 2 look for what makes an array.
NUMPY_HOMES = ("numpy.core.multiarray", "numpy._core.multiarray")


class Kind(StrEnum):
    """What a network is for."""

    RESTORER = "restorer"
    DETECTOR = "detector"
    PARSER = "parser"
    UPSAMPLER = "upsampler"
    RECOGNISER = "recogniser"  #: tells faces apart


class Origin(StrEnum):
    """Where a file comes from."""

    RELEASED = "released"  #: by its authors; fetched by the user
    PREVIEW = "preview"  #: this project's own small training; shipped with the package
    LOCAL = "local"  #: the user's own, by local.toml


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightEntry:
    """One weights file."""

    name: str  #: the word that options use
    kind: Kind
    file: str  #: its name in the weights folder
    architecture: str  #: see pipeline.arch.networks
    licence: str
    origin: Origin = Origin.RELEASED
    sha256: str | None = None  #: None = not published; see ``photomend models fetch --trust-first-use``
    bytes: int | None = None
    url: str | None = None
    label: str | None = None  #: a local file's description


class WeightStore:
    """A folder of weights files, and the preview pack where that is allowed. Reads, never writes."""

    def __init__(self, folder: Path, *, allow_preview: bool = False) -> None:
        self.folder = folder
        self.allow_preview = allow_preview
        known = {entry.name: entry for entry in _shipped_entries() if allow_preview or not _is_preview(entry)}
        self._entries = known | {entry.name: entry for entry in _local_entries(folder)}

    def entries(self) -> tuple[WeightEntry, ...]:
        """Every file known by name, present or not."""
        return tuple(self._entries.values())

    def known(self) -> tuple[WeightEntry, ...]:
        """``entries`` and the preview pack's, even where that is not allowed."""
        return tuple(({entry.name: entry for entry in _shipped_entries()} | self._entries).values())

    def find(self, name: str) -> WeightEntry:
        """The entry of this name.

        Raises:
            WeightsMissing: no such name is known, or it is the preview pack's and that is not allowed here.
        """
        entry = self._entries.get(name)
        if entry is None:
            if any(e.name == name for e in _shipped_entries()):
                raise WeightsMissing(f"{name} is part of the preview pack; set PHOTOMEND_ALLOW_PREVIEW=1 to use that")
            raise WeightsMissing(f"no weights are known by the name {name}; `photomend models list` shows the names")
        return entry

    def is_present(self, name: str) -> bool:
        """Whether a file lies where this name's file should; its content is not looked at."""
        return name in self._entries and self._place(self._entries[name]).is_file()

    def path(self, name: str) -> Path:
        """Where the file lies.

        Raises:
            WeightsMissing: it does not, or the name is unknown.
        """
        entry = self.find(name)
        place = self._place(entry)
        if not place.is_file():
            # A release without a published hash is fetched only by someone who says that they trust it.
            trust = "" if entry.sha256 else " --trust-first-use"
            fetch = f"`photomend models fetch {name}{trust}`"
            advice = "correct its entry there" if entry.origin is Origin.LOCAL else fetch
            raise WeightsMissing(f"{entry.file} ({name}) is not in {place.parent}: {advice}")
        return place

    def verify(self, name: str) -> str:
        """The file's SHA-256, after comparing it with the known one.

        Raises:
            WeightsMissing: there is no such file.
            WeightsCorrupt: the hash is another one, or none is known to compare with.
        """
        with self.path(name).open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return self._compare(self.find(name), digest)

    def load(self, name: str) -> StateDict:
        """The tensors of the file, on the CPU, unwrapped, with upstream's keys without ``module.``.

        Raises:
            WeightsMissing: there is no such file.
            WeightsCorrupt: another hash, something else than tensors, or a damaged file.
        """
        path, entry = self.path(name), self.find(name)
        # Opened once, so that what is unpickled is what was hashed, whatever the name leads to by then.
        with path.open("rb") as stream:
            self._compare(entry, hashlib.file_digest(stream, "sha256").hexdigest())
            return unwrap(_mapped(stream, entry.file), entry.file)

    def _place(self, entry: WeightEntry) -> Path:
        folder = preview_folder() if _is_preview(entry) else self.folder
        return folder / entry.file

    @staticmethod
    def _compare(entry: WeightEntry, digest: str) -> str:
        if entry.sha256 is None:
            raise WeightsCorrupt(
                f"no hash is published for {entry.file}, so it cannot be checked: "
                f"`photomend models fetch {entry.name} --trust-first-use` records the hash of what you have"
            )
        if digest != entry.sha256:
            raise WeightsCorrupt(
                f"{entry.file} has SHA-256 {digest} where {entry.sha256} is expected: it is damaged or another file; "
                f"delete it and `photomend models fetch {entry.name}`, or name it in {LOCAL_FILE}"
            )
        return digest


def preview_folder() -> Path:
    """Where the package keeps its own small weights."""
    return Path(str(resources.files("pipeline").joinpath("preview")))


def unwrap(content: Any, file: str) -> StateDict:
    """The state dict inside a checkpoint.

    Raises:
        WeightsCorrupt: there is none, or it holds something else than tensors.
    """
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if not isinstance(content, Mapping) or not content:
        raise WeightsCorrupt(f"{file} holds a {type(content).__name__}, not a state dict of tensors")
    odd = [key for key, value in content.items() if not isinstance(key, str) or not isinstance(value, torch.Tensor)]
    if odd:
        raise WeightsCorrupt(f"{file} holds more than tensors, such as {odd[0]!r}")
    return {key.removeprefix("module."): value for key, value in content.items()}


def read_checkpoint_file(path: Path, *, arrays: bool = False) -> Any:
    """What a training run's own file holds, tensors and plain values only; such files have no published hash.

    ``arrays``: NumPy's arrays and numbers too.

    Raises:
        WeightsMissing: there is no such file.
        WeightsCorrupt: something else than tensors, or a damaged file.
    """
    if not path.is_file():
        raise WeightsMissing(f"{path} is not there")
    with torch.serialization.safe_globals(_numpy_globals() if arrays else []):
        return _tensors_only(path.read_bytes(), path.name)


def _numpy_globals() -> list[Any]:
    """What pickled arrays and numbers are made by, under their names in NumPy 1 and 2; none of it runs code."""
    from numpy._core import multiarray  # noqa: PLC0415  (where pickles of NumPy 2 find it)

    made = [
        (getattr(multiarray, name), f"{home}.{name}") for name in ("_reconstruct", "scalar") for home in NUMPY_HOMES
    ]
    kinds = [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32)]
    return [*made, np.ndarray, np.dtype, *kinds]


def _tensors_only(source: bytes | Path, file: str) -> Any:
    given = source if isinstance(source, Path) else io.BytesIO(source)
    mapped = isinstance(source, Path)
    try:
        # torch warns of what it is about to refuse; the refusal says it.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(given, map_location="cpu", weights_only=True, mmap=mapped)  # noqa: TID251  (its one place)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, AttributeError) as err:
        raise WeightsCorrupt(f"{file} is not a file of tensors: {err}") from err


def _mapped(stream: BinaryIO, file: str) -> Any:
    """The file's content, its tensors mapped from it: memory is taken when they are read, and shared by processes."""
    own_name = Path(f"/proc/self/fd/{stream.fileno()}")
    if zipfile.is_zipfile(stream) and own_name.exists():
        return _tensors_only(own_name, file)
    # torch's format until 1.5, or no Linux.
    stream.seek(0)
    return _tensors_only(stream.read(), file)


def _is_preview(entry: WeightEntry) -> bool:
    return entry.origin is Origin.PREVIEW


def _shipped_entries() -> list[WeightEntry]:
    text = resources.files("pipeline").joinpath("weights.toml").read_text(encoding="utf-8")
    return [_entry(row) for row in tomllib.loads(text)["weights"]]


def _local_entries(folder: Path) -> list[WeightEntry]:
    place = folder / LOCAL_FILE
    if not place.is_file():
        return []
    try:
        rows = tomllib.loads(place.read_text(encoding="utf-8")).get("local", [])
        entries = [_entry(row | {"origin": Origin.LOCAL}) for row in rows]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, TypeError, ValueError, KeyError, AttributeError) as err:
        raise WeightsCorrupt(f"{place} cannot be read: {err}") from err
    bad = [e.name for e in entries if e.sha256 is None or Path(e.file).name != e.file]
    if bad:
        raise WeightsCorrupt(f"{place}: {bad[0]} needs a sha256, and a file that lies in the same folder")
    return entries


def _entry(row: Mapping[str, Any]) -> WeightEntry:
    words = dict(row)
    words["kind"] = Kind(words["kind"])
    words["origin"] = Origin(words.get("origin", Origin.RELEASED))
    words.setdefault("licence", "not stated")
    return WeightEntry(**words)
