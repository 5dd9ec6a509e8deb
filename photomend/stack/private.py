"""Files and folders that only their owner may read: secrets, and other people's photos."""

from __future__ import annotations

import os
from pathlib import Path


def make_folder(path: Path) -> None:
    """Make a folder for its owner alone; one that is there already stays as it is, since somebody chose it so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)


def write(path: Path, text: str) -> None:
    """Write a whole file for its owner alone, or nothing."""
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    # A start that is killed half-way must not leave an empty secret for all later ones.
    draft.replace(path)


def keep(path: Path, text: str) -> str:
    """What the file holds; ``text``, which is written, where there is no file yet."""
    if not path.exists():
        write(path, text)
    return path.read_text()
