"""Takes every measure of every subject on every sample, and sums up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.measures import Measures
from pipeline.evaluation.samples import Sample
from pipeline.evaluation.subjects import Subject
from pipeline.types import FloatImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One subject's figures of one picture."""

    subject: str
    group: str
    picture: str
    figures: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """One figure over a group: the mean of ``count`` pictures and their standard deviation, or a set's one figure."""

    subject: str
    group: str
    measure: str
    mean: float
    deviation: float | None  #: None for a set's figure
    count: int


@dataclass(slots=True, kw_only=True)
class _Sets:
    restored: dict[tuple[str, str], list[NDArray[np.float32]]] = field(default_factory=lambda: defaultdict(list))
    original: dict[str, list[NDArray[np.float32]]] = field(default_factory=lambda: defaultdict(list))


class Seen(Protocol):
    """Told each picture with what became of it, for grids and progress."""

    def __call__(self, sample: Sample, restored: dict[str, FloatImage]) -> None: ...


def evaluate(
    subjects: Sequence[Subject], samples: Iterable[Sample], measures: Measures, *, seen: Seen
) -> tuple[list[Row], list[Mean]]:
    """Every picture's figures, and the means by subject and group.

    Raises:
        PipelineError: a picture or a network's output is no good.
    """
    rows: list[Row] = []
    sets = _Sets()
    for sample in samples:
        pictures = {subject.name: subject.restore(sample.degraded) for subject in subjects}
        for name, picture in pictures.items():
            figures = measures.of_pair(picture, sample.original)
            rows.append(Row(subject=name, group=sample.group, picture=sample.name, figures=figures))
        _keep_features(sets, sample, pictures, measures.features)
        seen(sample, pictures)
    return rows, [*_means(rows), *_set_figures(sets, measures)]


def _keep_features(
    sets: _Sets,
    sample: Sample,
    pictures: dict[str, FloatImage],
    features: Callable[[FloatImage], NDArray[np.float32] | None],
) -> None:
    original = features(sample.original)
    if original is None:
        return
    sets.original[sample.group].append(original)
    for name, picture in pictures.items():
        found = features(picture)
        if found is not None:
            sets.restored[name, sample.group].append(found)


def _means(rows: Sequence[Row]) -> list[Mean]:
    collected: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for row in rows:
        for measure, value in row.figures.items():
            collected[row.subject, row.group, measure].append(value)
    return [_mean(subject, group, measure, values) for (subject, group, measure), values in collected.items()]


def _mean(subject: str, group: str, measure: str, values: Sequence[float]) -> Mean:
    """Over the pictures for which the figure is defined."""
    known = [value for value in values if np.isfinite(value)]
    return Mean(
        subject=subject,
        group=group,
        measure=measure,
        mean=float(np.mean(known)) if known else float("nan"),
        deviation=float(np.std(known)) if known else float("nan"),
        count=len(known),
    )


def _set_figures(sets: _Sets, measures: Measures) -> list[Mean]:
    found = []
    for (subject, group), features in sets.restored.items():
        figures = measures.of_sets(np.stack(features), np.stack(sets.original[group]))
        found += [
            Mean(subject=subject, group=group, measure=name, mean=value, deviation=None, count=len(features))
            for name, value in figures.items()
        ]
    return found
