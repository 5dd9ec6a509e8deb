"""What became of each entry, on disk before the next one is begun; a process that was killed goes on from it.

One line a row, appended and synced. A line that was cut off is left out: its entry is worked on again, and finds its
own results. Only places of lines are kept in memory.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from pathlib import Path
from typing import IO

from jobs.delivery.errors import RowUnreadable
from jobs.delivery.rows import Row, from_words, to_words
from photomend.delivery.manifest import Entry
from photomend.files import FileRefused

#: Below the results' folder; hidden, so that nobody takes it for a part of the delivery.
STATE = Path(".photomend")


class Journal:
    """The rows of one results' folder; held by one process at a time."""

    def __init__(self, out: Path) -> None:
        """Open it, or make it.

        Raises:
            FileRefused: another process works on this folder, or the file is not ours.
            OSError: the disk or the permissions.
        """
        folder = out / STATE
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "rows.jsonl"
        self._file: IO[bytes] = self._path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise FileRefused("output_busy", f"Another photomend works on {out}; wait until it has ended.") from error
        self._places: dict[tuple[str, int], int] = {}
        self._staging = folder / "parts"
        try:
            self._end = self._load()
            # Only here, where no other process is.
            shutil.rmtree(self._staging, ignore_errors=True)
            self._staging.mkdir()
        except (FileRefused, OSError):
            self._file.close()
            raise

    @property
    def staging(self) -> Path:
        """A folder for what is half written; whatever a killed run left there is gone."""
        return self._staging

    def find(self, entry: Entry) -> Row | None:
        """The entry's latest row, under the number that it has now."""
        place = self._places.get((entry.source, entry.occurrence))
        if place is None:
            return None
        self._file.seek(place)
        return from_words(json.loads(self._file.readline()) | {"number": entry.number})

    def write(self, entry: Entry, row: Row) -> None:
        """Put a row down for good.

        Raises:
            OSError: the disk is full.
        """
        words = to_words(row) | {"occurrence": entry.occurrence}
        line = json.dumps(words, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        self._file.seek(self._end)
        self._file.write(line)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._places[entry.source, entry.occurrence] = self._end
        self._end += len(line)

    def close(self) -> None:
        self._file.close()

    def _load(self) -> int:
        """Where each row is; the rest of a line that was cut off is removed."""
        end = 0
        self._file.seek(0)
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            try:
                words = json.loads(line)
                self._places[words["source"], words["occurrence"]] = end
                from_words(words)
            except (ValueError, KeyError, TypeError, RowUnreadable) as error:
                raise FileRefused(
                    "journal_unreadable", f"{self._path} is damaged at byte {end}: {error}. Remove it to begin anew."
                ) from error
            end += len(line)
        self._file.truncate(end)
        return end
