"""How busy a lane was, with what, and how full its runs were."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

#: Begins the labels of what is done before the first job.
WARM_UP = "warm-up"


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneFigures:
    """Since the lane began."""

    elapsed_s: float
    busy_s: dict[str, float]  #: by label: the stages, and ``warm-up`` ones
    runs: dict[str, int]
    items: dict[str, int]  #: faces, or pieces that run alone
    places: dict[str, int]  #: how many there was room for

    @property
    def working_s(self) -> float:
        """Busy with jobs: without the warm-up."""
        return sum(seconds for label, seconds in self.busy_s.items() if not label.startswith(WARM_UP))

    @property
    def idle_share(self) -> float:
        """Of the time, how much nothing was computed in, 0 to 1."""
        return max(0.0, 1.0 - sum(self.busy_s.values()) / self.elapsed_s) if self.elapsed_s > 0 else 1.0

    def fill(self, label: str) -> float:
        """Items in a run, in the mean; 0 where there was none."""
        return self.items.get(label, 0) / self.runs[label] if self.runs.get(label) else 0.0

    def words(self) -> dict[str, Any]:
        """For the fleet's board: ``idle_share``, and by stage ``busy_s``, ``runs``, ``fill``; without the warm-up."""
        stages = [label for label in self.runs if not label.startswith(WARM_UP)]
        return {
            "elapsed_s": round(self.elapsed_s, 1),
            "idle_share": round(self.idle_share, 4),
            "busy_s": {label: round(self.busy_s[label], 3) for label in stages},
            "runs": {label: self.runs[label] for label in stages},
            "fill": {label: round(self.fill(label), 2) for label in stages},
        }

    def since(self, before: LaneFigures) -> LaneFigures:
        """What came between two readings."""
        return LaneFigures(
            elapsed_s=self.elapsed_s - before.elapsed_s,
            busy_s={label: value - before.busy_s.get(label, 0.0) for label, value in self.busy_s.items()},
            runs={label: value - before.runs.get(label, 0) for label, value in self.runs.items()},
            items={label: value - before.items.get(label, 0) for label, value in self.items.items()},
            places={label: value - before.places.get(label, 0) for label, value in self.places.items()},
        )


@dataclass(slots=True)
class Tally:
    """Adds up; used behind the lane's lock."""

    clock: Callable[[], float]
    _began: float = field(init=False)
    _busy_s: dict[str, float] = field(default_factory=dict)
    _runs: dict[str, int] = field(default_factory=dict)
    _items: dict[str, int] = field(default_factory=dict)
    _places: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._began = self.clock()

    def add(self, label: str, *, seconds: float, items: int, places: int) -> None:
        self._busy_s[label] = self._busy_s.get(label, 0.0) + seconds
        self._runs[label] = self._runs.get(label, 0) + 1
        self._items[label] = self._items.get(label, 0) + items
        self._places[label] = self._places.get(label, 0) + places

    def figures(self) -> LaneFigures:
        return LaneFigures(
            elapsed_s=self.clock() - self._began,
            busy_s=dict(self._busy_s),
            runs=dict(self._runs),
            items=dict(self._items),
            places=dict(self._places),
        )
