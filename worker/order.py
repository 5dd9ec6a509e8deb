"""In which order the pieces of several jobs run on a lane that does one at a time.

They wait as they came, so that each job gets on in its turn. But turns alone make alike jobs that begin together end
together, and then the lane stands still: all of them encode and store at once, and the next ones are not fetched yet.
So brief jobs, those that had no more of the lane than a usual job needs, use their turns in common: each goes to the
one that came first. The jobs end one after the other, the mean one sooner than by turns, and while one is stored the
next has the lane. Long jobs keep their turns, between them and beside brief ones, whatever comes; and a brief job waits
for those before it no longer than a usual job lasts, each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

T = TypeVar("T")

#: A job is brief until it had the lane for so many times what a usual one needs: photos have more faces and fewer.
LENIENCE = 2.0
#: However long a usual job lasts, after so much of the lane none is brief (seconds): where all are long, a person's
#: small picture does not wait for the whole of two others.
LONGEST_S = 10.0
#: A usual job is the median of so many.
REMEMBERED = 15


@dataclass(slots=True, eq=False)
class Standing:
    """What one job had of its lane; of the lane's thread and lock."""

    number: int = -1  #: in the order in which jobs first came to the lane
    spent_s: float = 0.0


class Usual:
    """What jobs need of a lane, by the last ones that ended."""

    def __init__(self) -> None:
        self._needed_s: deque[float] = deque(maxlen=REMEMBERED)
        #: How much a job may have had and be brief (seconds); 0 before one has ended: then all take turns.
        self.brief_s = 0.0

    def learn(self, needed_s: float) -> None:
        """A job ended, for which the lane had worked for so long."""
        if needed_s > 0:
            self._needed_s.append(needed_s)
            self.brief_s = min(LENIENCE * median(self._needed_s), LONGEST_S)


def bring_forward(waiting: deque[T], *, standing_of: Callable[[T], Standing | None], brief_s: float) -> None:
    """Put first what is to run next. The brief ones that stood before it move back, each to the next one's place."""

    def is_brief(piece: T) -> bool:
        standing = standing_of(piece)
        return standing is not None and standing.spent_s < brief_s

    if len(waiting) < 2 or not is_brief(waiting[0]):
        return
    places = [place for place, piece in enumerate(waiting) if is_brief(piece)]
    # Of one job's pieces the first: min keeps to it.
    chosen = min(places, key=lambda place: standing_of(waiting[place]).number)  # type: ignore[union-attr]
    piece = waiting[chosen]
    moved = [place for place in places if place <= chosen]
    for place, before in zip(reversed(moved), reversed(moved[:-1]), strict=False):
        waiting[place] = waiting[before]
    waiting[0] = piece
