"""Work on a network that may be done together with the like of other pictures. Knows no torch.

A ``Forward`` is device work like any other, that is, callable; whoever runs device work may put several with the same
``key`` into one run by ``together``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


class Notes(Protocol):
    """What a run tells of itself beside its results, such as ``pipeline.casting.Casting``."""

    repeated: int  #: results that had to be computed again


class Room:
    """How many inputs of one kind go through at once on a device; learned, and shared by all who run that kind."""

    def __init__(self, most: int) -> None:
        self._size = most
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        return self._size

    def learn(self, size: int) -> None:
        """So many went through where more did not; never grows again in this process."""
        with self._lock:
            self._size = min(self._size, max(1, size))


class Rooms:
    """The rooms of one process, by whatever tells device and network apart."""

    def __init__(self) -> None:
        self._rooms: dict[Hashable, Room] = {}

    def of(self, key: Hashable, *, most: int) -> Room:
        """The room of this key, with place for ``most`` at first."""
        # setdefault is atomic, so that two threads share one.
        return self._rooms.setdefault(key, Room(most))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Forward(Generic[Given, Made]):
    """Inputs for a network. Two with equal keys give the same results whichever of them runs both's inputs."""

    key: Hashable | None  #: None = it shares with nobody
    run: Callable[[Sequence[Given]], list[Made]]
    inputs: tuple[Given, ...]
    room: Room
    notes: Notes | None = None  #: of this picture's own run
    on_shared: Callable[[Any], None] = lambda _: None  #: hears the notes of the one that ran these inputs too

    def __call__(self) -> list[Made]:
        return self.run(self.inputs)


def together(forwards: Sequence[Forward[Given, Made]]) -> list[list[Made]]:
    """Each one's results, from one run of the first.

    If a result had to be computed again, each runs by itself after all, so that its own notes tell of it.

    Raises:
        Exception: what the run raised; whose fault it was is not known.
    """
    first, *others = forwards
    if not others:
        return [first()]
    before = first.notes.repeated if first.notes else 0
    made = first.run([one for forward in forwards for one in forward.inputs])
    if first.notes and first.notes.repeated != before:
        first.notes.repeated = before
        return [forward() for forward in forwards]
    results, at = [], 0
    for forward in forwards:
        results.append(made[at : at + len(forward.inputs)])
        at += len(forward.inputs)
    for forward in others:
        if first.notes:
            forward.on_shared(first.notes)
    return results
