"""How long devices work for a picture, measured by every job that succeeds.

A job's sort is what its time depends on: restorer, background, precision, engine with its device. For each picture a
device takes some time, mostly for its faces, and where a network enlarges the background, a time that grows with its
megapixels; both are remembered as means, to which each new job adds a fiftieth.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.connection import PREFIX, Scripts, translated
from jobs.model import Result

#: Metrics of a result: what a device worked for it in all, and of that, for enlarging (seconds).
DEVICE_S, UPSAMPLE_S = "gpu_s", "gpu_upsample_s"
#: They are a share of the stages' times, and none of those.
DEVICE_TIMES = frozenset({DEVICE_S, UPSAMPLE_S})
#: How a network's precision is told when it was not reduced.
_EXACT = "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long a device works for jobs of one sort, in the mean."""

    jobs: int  #: that were measured
    picture_s: float  #: for each picture
    megapixel_s: float  #: for each megapixel on top

    def seconds(self, *, pictures: float, megapixels: float) -> float:
        """What so much would take."""
        return pictures * self.picture_s + megapixels * self.megapixel_s


def device_s(result: Result) -> float:
    """How long a device worked for the result."""
    return result.metrics.get(DEVICE_S, 0.0)


def sort_of(result: Result) -> str | None:
    """What the time of the job depended on; None where nothing was measured."""
    told, spent = result.model, device_s(result)
    if spent <= 0 or not told.get("name") or not told.get("engine"):
        return None
    words = (told["name"], told.get("background") or "none", told.get("precision") or "", told["engine"])
    return "|".join(str(word).replace("|", "/") for word in words)


class Paces:
    """What was measured, by sorts of jobs."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    def of(self, *, model: str, background: str, devices: Collection[str], exact: bool) -> Pace | None:
        """How long such a picture takes on devices of these kinds (``cpu``, ``cuda``; none = any), if it was measured.

        Jobs in the precision that ``exact`` asks for count, or where there were none, those in another one; where
        engines differ, their jobs are taken together as they came.

        Raises:
            StoreUnavailable: Redis did not answer.
        """
        with translated():
            found: Any = self._scripts.client.hgetall(f"{PREFIX}paces")
        alike: dict[bool, list[list[float]]] = {True: [], False: []}
        for sort, words in found.items():
            name, behind, precision, engine = sort.split("|")
            if (name, behind) == (model, background) and (not devices or engine.rpartition("-")[2] in devices):
                alike[(precision == _EXACT) == exact].append([float(word) for word in words.split()])
        return _mean(alike[True] or alike[False])


def _mean(alike: Sequence[Sequence[float]]) -> Pace | None:
    jobs = sum(one[0] for one in alike)
    if not jobs:
        return None
    picture_s, upsample_s, megapixels = (sum(one[0] * one[i] for one in alike) / jobs for i in (1, 2, 3))
    return Pace(jobs=round(jobs), picture_s=picture_s, megapixel_s=upsample_s / megapixels if megapixels > 0 else 0.0)
