"""Exported and compiled networks on the disk, so that each is made once: by its weights' hash and all that matters.

An entry is a folder that appears whole (written beside, then renamed) with the SHA-256 of its files; one that is
damaged is thrown away and made anew. Anybody may delete the folder at any time: nothing is lost but time.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

#: The list of an entry's files and their hashes.
SUMS = "sha256.json"

#: Begins the name of an entry that is being written.
UNFINISHED = ".new-"

#: What all entries together may take (bytes): every network that there is, twice, is 3 GB as float32 and 1 GB compiled.
MOST_BYTES = 4_000_000_000

#: An entry that nobody used for so long is of other weights or versions than today's (seconds).
UNUSED_S = 60 * 86400.0

#: No export takes this long (seconds): its process died.
UNFINISHED_S = 3600.0


def key(words: Mapping[str, object]) -> str:
    """A folder's or file's name that is another one whenever one of these facts is."""
    return hashlib.sha256(json.dumps(words, sort_keys=True, default=str).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One exported network on the disk."""

    entry: Path
    size: int  #: bytes
    used_at: float  #: by ``time.time()``


class Exports:
    """A folder of exported networks, and of what was compiled of them; several processes may use it at once.

    It is bounded: with each new entry those go that were not used for long, and the longest unused while all together
    are too large. What a living process has found here stays.
    """

    def __init__(self, folder: Path, *, most_bytes: int = MOST_BYTES, unused_s: float = UNUSED_S) -> None:
        self.folder = folder
        self.most_bytes = most_bytes
        self._unused_s = unused_s
        #: Open files of the entries in use, locked for as long as this process lives.
        self._held: dict[str, int] = {}

    @classmethod
    def under(cls, cache: Path) -> Exports:
        """Those of a cache folder."""
        return cls(cache / "exported")

    def find(self, name: str) -> Path | None:
        """The entry's folder, whole and undamaged, and from now on in use; None = there is none."""
        entry = self.folder / name
        if not entry.is_dir():
            return None
        try:
            self._hold(entry)
            sums = json.loads((entry / SUMS).read_text())
            whole = bool(sums) and all(_digest(entry / file) == digest for file, digest in sums.items())
        except (OSError, ValueError, AttributeError):
            whole = False
        if whole:
            return entry
        self._let_go(name)
        shutil.rmtree(entry, ignore_errors=True)
        return None

    def add(self, name: str, write: Callable[[Path], None]) -> Path | None:
        """The new entry's folder after ``write`` put its files into one; None = it cannot be kept here.

        Another process that was faster wins: its entry is the same.
        """
        try:
            with self._beside() as place:
                write(place)
                sums = {file.name: _digest(file) for file in sorted(place.iterdir())}
                (place / SUMS).write_text(json.dumps(sums))
                with contextlib.suppress(FileExistsError, OSError):
                    place.rename(self.folder / name)
        except OSError:
            return None  # no room, or no right to write: it is exported again next time
        found = self.find(name)
        self._prune()
        return found

    def discard(self, name: str) -> None:
        """Remove an entry that is whole and cannot be used, unless another process uses it."""
        self._let_go(name)
        _removed(self.folder / name)

    def close(self) -> None:
        """Use none of them any more."""
        for name in tuple(self._held):
            self._let_go(name)

    def stored(self) -> tuple[Stored, ...]:
        """What there is, the latest used first."""
        found = []
        for entry in self.folder.glob("*/"):
            with contextlib.suppress(OSError):  # another process removes it
                files = [file.stat() for file in entry.iterdir()]
                used_at = max((file.st_mtime for file in files), default=entry.stat().st_mtime)
                found.append(Stored(entry=entry, size=sum(file.st_size for file in files), used_at=used_at))
        return tuple(sorted(found, key=lambda one: one.used_at, reverse=True))

    def _prune(self) -> None:
        kept, now = 0, time.time()
        for one in self.stored():
            longest_s = UNFINISHED_S if one.entry.name.startswith(UNFINISHED) else self._unused_s
            fits = kept + one.size <= self.most_bytes and now - one.used_at <= longest_s
            if fits or not _removed(one.entry):
                kept += one.size

    def _hold(self, entry: Path) -> None:
        """Keep other processes from removing it, and note that it was used."""
        if entry.name in self._held:
            return
        file = os.open(entry / SUMS, os.O_RDONLY)
        try:
            # Where the disk knows no locks, an entry may be removed and is exported again next time.
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            with contextlib.suppress(OSError):  # somebody else's folder
                os.utime(entry / SUMS)
        finally:
            self._held[entry.name] = file

    def _let_go(self, name: str) -> None:
        if (file := self._held.pop(name, None)) is not None:
            os.close(file)

    @contextmanager
    def _beside(self) -> Iterator[Path]:
        self.folder.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self.folder))
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)


def _removed(entry: Path) -> bool:
    """Remove an entry unless somebody uses it; whether it is gone. Its files stay readable for who has them open."""
    try:
        with contextlib.ExitStack() as locked:
            if (entry / SUMS).is_file():  # one that is being written has none yet
                fcntl.flock(locked.enter_context((entry / SUMS).open()), fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(entry)
    except OSError:
        return False
    return True


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
