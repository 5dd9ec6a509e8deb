"""What the client's logic asks of the world; ``Client`` and ``AsyncClient`` do it, each in its own way.

The logic (``calls.py``) is written once, as generators: they yield one of these and are sent what came of it, or an
``httpx.TransportError`` is thrown into them. They open nothing and wait for nothing themselves.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from photomend.client.files import OnUpload

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Ask the API; answered with an ``httpx.Response`` that has been read."""

    method: str
    path: str
    words: Mapping[str, Any] = field(default_factory=dict)  #: httpx's: params, json, files, headers


@dataclass(frozen=True, slots=True)
class Sleep:
    """Let this many seconds pass."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """Send a file to the storage, part by part, without our key; answered with an ``httpx.Response``."""

    url: str
    headers: Mapping[str, str]
    file: Path
    on_upload: OnUpload | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """Get a file from the storage without our key, into ``to`` whole or not at all; answered with the status."""

    url: str
    to: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Open a stream of the API in place of the open one; answered with its ``httpx.Response``, read if an error."""

    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NextLine:
    """The open stream's next line; None at its end."""


@dataclass(frozen=True, slots=True)
class Tell:
    """Hand this to whoever iterates."""

    value: Any


Effect = Call | Sleep | Put | Fetch | Listen | NextLine | Tell
#: Steps that end in a T.
Steps = Generator[Effect, Any, T]
