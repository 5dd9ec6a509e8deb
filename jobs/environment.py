"""Settings that lie in files: ``PHOTOMEND_X_FILE`` names the file that holds ``PHOTOMEND_X``.

So that no secret stands in what ``docker inspect``, a pod's spec or ``/proc`` shows. The one place of this rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from jobs.errors import NotSetUp

#: What a variable's name has behind it when it names a file.
SUFFIX = "_FILE"


def from_files(environ: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Of these variables, those that files hold; ``names`` in capitals. The line's end at a file's end is left out.

    Raises:
        NotSetUp: a file cannot be read or is empty, or the variable itself is set as well.
    """
    return {name: _read(environ, name) for name in names if environ.get(f"{name}{SUFFIX}")}


def overlaid(environ: Mapping[str, str], forced: Mapping[str, str]) -> dict[str, str]:
    """``environ`` with ``forced`` on top, for a child: a file of the same setting no longer speaks there."""
    files = {f"{name}{SUFFIX}" for name in forced}
    return {name: value for name, value in environ.items() if name not in files} | dict(forced)


def _read(environ: Mapping[str, str], name: str) -> str:
    variable = f"{name}{SUFFIX}"
    if environ.get(name):
        raise NotSetUp(f"{name} and {variable} are both set: unset one of them")
    place = Path(environ[variable])
    try:
        text = place.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as err:
        why = err.strerror if isinstance(err, OSError) else "it is not text"
        raise NotSetUp(f"{variable} names {place}, which cannot be read: {why}") from err
    if not text:
        raise NotSetUp(f"{variable} names {place}, which is empty")
    return text
