"""What a batch would come to, by a dry run: every line of its manifest counted, a sample of the sources looked at.

The sample is drawn by chance, each line with the same chance, so that its mean is the best guess of the whole's; how
far off it may be is told with it. Source: Cochran, Sampling Techniques, 3rd ed., 2.5 to 2.7 (simple random sampling
without replacement; normal approximation).
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Sources whose header is read: the mean of a scan's size is then known within a few per cent.
SAMPLE = 200
#: Of a reason, so many lines are named.
MOST_EXAMPLES = 5
#: Reasons that are told; there are about twenty codes.
MOST_REFUSALS = 40
#: The normal distribution's two-sided 95 %.
_Z = 1.96


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A line that is refused."""

    number: int  #: of the manifest's line, from 1
    source: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why lines would get no result."""

    code: str
    scope: str  #: ``lines``: counted over all of them; ``sample``: over the sources that were looked at
    count: int
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """What a sample says of all."""

    mean: float
    smallest: float
    largest: float
    total: float  #: of everything that would be worked on
    margin: float | None  #: the total is within it, in 19 of 20 samples; None: the sample is too small to tell


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What is known so far; complete once the dry run has ended."""

    lines: int  #: of the manifest
    repeated: int = 0  #: of these, lines that name the same source with the same options again: done once
    sample: int = 0  #: sources that are to be looked at
    looked: int = 0  #: that were
    there: int = 0  #: of these, those whose result lies there already
    to_do: int = 0  #: pictures that would be worked on, by the sample
    formats: Mapping[str, int] = field(default_factory=dict)  #: media type → sources of the sample
    megapixels: Quantity | None = None
    bytes: Quantity | None = None
    refused: tuple[Refusal, ...] = ()
    gpu_s: float | None = None  #: of devices' time, by what jobs like these took; None: none was measured
    measured_jobs: int = 0  #: that it is known by
    notes: tuple[str, ...] = ()  #: sentences: what a reader must know of it

    def to_json(self) -> dict[str, Any]:
        """As it is kept and told."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, words: Mapping[str, Any]) -> Estimate:
        """The inverse of ``to_json``."""

        def quantity(name: str) -> Quantity | None:
            return Quantity(**words[name]) if words.get(name) else None

        refused = tuple(
            Refusal(**(one | {"examples": tuple(Example(**each) for each in one["examples"])}))
            for one in words.get("refused", ())
        )
        own = {"megapixels": quantity("megapixels"), "bytes": quantity("bytes"), "refused": refused}
        return cls(**(dict(words) | own | {"notes": tuple(words.get("notes", ()))}))


def extrapolated(values: Sequence[float], *, population: float) -> Quantity | None:
    """What ``population`` things come to of which these are a sample; None where there is none."""
    count = len(values)
    if not count:
        return None
    mean = statistics.fmean(values)
    margin = None
    if count > 1:
        # Of a sample that is nearly everything, little is left to chance.
        rest = max(0.0, (population - count) / (population - 1)) if population > 1 else 0.0
        margin = _Z * statistics.stdev(values) / math.sqrt(count) * math.sqrt(rest) * population
    return Quantity(
        mean=_rounded(mean),
        smallest=_rounded(min(values)),
        largest=_rounded(max(values)),
        total=_rounded(mean * population),
        margin=None if margin is None else _rounded(margin),
    )


def _rounded(value: float) -> float:
    return round(value, 3)
