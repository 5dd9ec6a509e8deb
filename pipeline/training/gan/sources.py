"""Where the pictures are: a folder, or an LMDB as basicsr makes it. Coded bytes are read when they are asked for."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from pipeline.training.errors import WrongData
from pipeline.types import FloatImage

#: Of files that are taken for pictures.
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}

#: What basicsr writes beside the database: a line for each picture, its key first.
LMDB_INDEX = "meta_info.txt"


class Source(Protocol):
    """Aligned faces in a fixed order."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of each picture, without an extension."""
        ...

    def coded(self, index: int) -> bytes:
        """The picture's file."""
        ...


class FolderSource:
    """The pictures in a folder and its subfolders (FFHQ comes in thousands), in the order of their paths."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        self.names = tuple(p.stem for p in self._paths)

    def coded(self, index: int) -> bytes:
        return self._paths[index].read_bytes()

    def path(self, index: int) -> Path:
        """Where the picture lies."""
        return self._paths[index]


class LmdbSource:
    """The pictures in an LMDB, in the order of its index; opened in each process when it is first read."""

    def __init__(self, folder: Path) -> None:
        index = folder / LMDB_INDEX
        if not index.is_file():
            raise WrongData(f"{folder} has no {LMDB_INDEX}, which names its pictures; basicsr's tools write it")
        lines = index.read_text(encoding="utf-8").splitlines()
        self.names = tuple(line.split(".")[0] for line in lines if line.strip())
        self.folder = folder

    def __getstate__(self) -> dict[str, Any]:
        """Without the opened database, which no other process may use."""
        return {name: value for name, value in vars(self).items() if name != "_opened"}

    @cached_property
    def _opened(self) -> Any:
        try:
            import lmdb  # noqa: PLC0415  (of the extra "train"; folders do without)
        except ImportError as err:
            raise WrongData(
                f"{self.folder} is an LMDB, for which lmdb is needed: pip install 'photomend[train]'"
            ) from err
        try:
            return lmdb.open(str(self.folder), readonly=True, lock=False, readahead=False)
        except lmdb.Error as err:
            raise WrongData(f"{self.folder} cannot be opened: {err}") from err

    def coded(self, index: int) -> bytes:
        with self._opened.begin(write=False) as reading:
            found = reading.get(self.names[index].encode("ascii"))
        if found is None:
            raise WrongData(f"{self.folder} has no picture {self.names[index]}, though its {LMDB_INDEX} names it")
        return bytes(found)


def open_source(place: Path) -> Source:
    """The pictures at ``place``.

    Raises:
        WrongData: there is nothing, or no picture in it.
    """
    if not place.is_dir():
        raise WrongData(f"{place} is not there; wanted is a folder of aligned faces, or an LMDB of them")
    source: Source = LmdbSource(place) if place.suffix == ".lmdb" else FolderSource(place)
    if not source.names:
        raise WrongData(f"no pictures in {place}")
    return source


def set_aside(source: Source, indices: Sequence[int], target: Path) -> None:
    """Move these pictures into ``target``.

    Raises:
        WrongData: the source is no folder, or ``target`` has such a name already.
    """
    if not isinstance(source, FolderSource):
        raise WrongData("pictures in an LMDB cannot be set aside; only those in a folder")
    target.mkdir(parents=True, exist_ok=True)
    for index in indices:
        path = source.path(index)
        if (target / path.name).exists():
            raise WrongData(f"{target} has a {path.name} already")
        shutil.move(path, target / path.name)


def picture(source: Source, index: int, *, side: int | None = None) -> FloatImage:
    """Picture ``index``: (H, W, 3) float32 RGB in [0, 1], of ``side`` where that is given.

    Raises:
        WrongData: it cannot be read, or has another size.
    """
    pixels = cv2.imdecode(np.frombuffer(source.coded(index), np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise WrongData(f"{source.names[index]} is not a picture")
    height, width = pixels.shape[:2]
    if side is not None and (height, width) != (side, side):
        raise WrongData(f"{source.names[index]} is {width} x {height}; wanted is {side} x {side} (data.size)")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB).astype(np.float32) * np.float32(1 / 255)
