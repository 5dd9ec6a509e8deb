"""A run from its options to its files: data, networks, the loop, checkpoints, curves, pictures.

A run's folder: ``options.json``, ``checkpoints/``, ``curves.csv``, ``validation.csv``, ``samples/step-*.png``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from pipeline.training.checkpoints import CheckpointFolder, replace_at_once, save_at_once
from pipeline.training.errors import NotResumable, WrongData
from pipeline.training.gan.components import read_landmarks
from pipeline.training.gan.curves import Curves, open_board, write_grid
from pipeline.training.gan.options import AnyRun, RestorerRun, refuse_missing
from pipeline.training.gan.prior import PriorTrainee
from pipeline.training.gan.restorer import RestorerTrainee
from pipeline.training.gan.samples import Samples, Split, batches, split
from pipeline.training.gan.showing import Pairs, examples
from pipeline.training.gan.sources import Source, open_source
from pipeline.training.loop import advance
from pipeline.training.processes import Processes

#: Names inside the run's folder.
OPTIONS, CHECKPOINTS, CURVES, VALIDATION, SAMPLES = (
    "options.json",
    "checkpoints",
    "curves.csv",
    "validation.csv",
    "samples",
)

#: Options that may change when a run goes on: how long, how often, how it is prepared; not what it computes.
FREE = ("name", "steps", "every", "tensorboard", "patience", "validation")


class Trainee(Protocol):
    """What is trained."""

    def step(self, step: int, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One step on this process' pictures; what it minimised."""
        ...

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: dict[str, Any]) -> None: ...

    def rows(self, examples: dict[str, Tensor]) -> list[Tensor]:
        """Of a grid of pictures that show how far it is; ``examples`` see ``examples``."""
        ...


class Told(Protocol):
    """Told after every step, with the means since the last row of curves where one was written."""

    def __call__(self, step: int, row: Mapping[str, float] | None) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended."""

    step: int  #: steps done
    finished: bool  #: else it was asked to stop, and goes on with ``resume``


def execute(
    run: AnyRun, out: Path, *, processes: Processes, resume: bool, told: Told, stop: Callable[[], bool] = lambda: False
) -> Outcome:
    """Train until the last step, or until ``stop`` says so in any process; a checkpoint is written then, and regularly.

    Raises:
        WeightsMissing, WeightsCorrupt: weights, landmarks or a checkpoint are not there or damaged.
        WrongData: pictures are not there or not as needed; the folder holds a run already and ``resume`` is off.
        NotResumable: the checkpoint is of another run.
        Diverged: gradients were not finite, again and again.
    """
    refuse_missing(run)
    source = open_source(run.data.pictures)
    part = split(run.batch, processes)
    samples = _samples(run, source)
    kept = CheckpointFolder(out / CHECKPOINTS, keep=run.every.keep)
    if not resume and kept.kept():
        raise WrongData(f"{out} holds a run already; --resume goes on with it, or name another folder")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        trainee = _trainee(run, part, processes)
    identity = _identity(run, source)
    first = _restored(trainee, kept, identity, processes) if resume else 0
    recorder = _Recorder(run, out, samples, trainee, first) if processes.first else None
    data = batches(samples, part, first=first, last=run.steps, workers=run.data.workers, device=processes.device)
    asked = False

    def once(step: int) -> dict[str, float]:
        nonlocal asked
        figures = trainee.step(step, next(data))
        names = [*figures]
        flag = torch.tensor(float(stop()), device=processes.device)
        means = processes.mean(torch.stack([*(figures[name].float() for name in names), flag])).tolist()
        asked = means.pop() > 0
        return dict(zip(names, means, strict=True))

    def save(step: int) -> None:
        if recorder is not None:
            recorder.row(step)
            kept.write(step, {"step": step, "identity": json.dumps(identity), "trainee": trainee.state()})
        processes.wait()

    def tell(step: int, figures: dict[str, float]) -> None:
        told(step, None if recorder is None else recorder.after(step, figures))

    last = advance(first, run.steps, once=once, save=save, every=run.every.checkpoint, told=tell, stop=lambda: asked)
    return Outcome(step=last, finished=last == run.steps)


def _trainee(run: AnyRun, part: Split, processes: Processes) -> RestorerTrainee | PriorTrainee:
    if isinstance(run, RestorerRun):
        return RestorerTrainee(run, part=part, processes=processes)
    return PriorTrainee(run, part=part, processes=processes)


def _samples(run: AnyRun, source: Source) -> Samples:
    common: dict[str, Any] = {
        "source": source,
        "side": run.data.size,
        "seed": run.seed,
        "batch": run.batch,
        "mirror": run.data.mirror,
    }
    if not isinstance(run, RestorerRun):
        return Samples(**common)
    parts = run.components is not None and run.data.landmarks is not None
    landmarks = read_landmarks(run.data.landmarks, source) if parts and run.data.landmarks else None
    enlarge = run.data.enlarge_eyes
    return Samples(**common, degradation=run.degradation, landmarks=landmarks, enlarge_eyes=enlarge)


def _identity(run: AnyRun, source: Source) -> dict[str, Any]:
    """What must be the same for a run to go on: options that decide its numbers, and the pictures' names."""
    options: dict[str, Any] = json.loads(run.model_dump_json(exclude=set(FREE)))
    options["data"].pop("workers")
    names = hashlib.sha256("\n".join(source.names).encode()).hexdigest()
    return options | {"pictures_by_name": names}


def _restored(trainee: Trainee, kept: CheckpointFolder, identity: dict[str, Any], processes: Processes) -> int:
    """Put the newest checkpoint's state into the trainee; its steps.

    Raises:
        NotResumable: other options or data made it, which are named.
    """
    step, content = kept.read()
    made_by = json.loads(content["identity"])
    other = [name for name in identity if identity[name] != made_by.get(name)]
    if other:
        raise NotResumable(
            f"the checkpoint in {kept.folder} was made with other {', '.join(other)}; a run goes on with what it began "
            "with. To start from its weights instead: `photomend train extract`, and generator.start"
        )
    trainee.restore(content["trainee"])
    processes.wait()
    return step


class _Recorder:
    """What the first process writes besides checkpoints."""

    def __init__(self, run: AnyRun, out: Path, samples: Samples, trainee: Trainee, first: int) -> None:
        self._run, self._out, self._trainee = run, out, trainee
        text = run.model_dump_json(indent=1)
        replace_at_once(out / OPTIONS, lambda file: file.write(text.encode()))
        board = open_board(out / "tensorboard", resumed_at=first) if run.tensorboard else None
        self._curves = Curves(out / CURVES, resumed_at=first, board=board)
        self._examples = examples(samples)
        self._validation: tuple[Pairs, Curves] | None = None
        if isinstance(run, RestorerRun) and run.validation is not None:
            curves = Curves(out / VALIDATION, resumed_at=first, board=board)
            self._validation = Pairs(run.validation, side=run.data.size), curves

    def after(self, step: int, figures: dict[str, float]) -> Mapping[str, float] | None:
        """Note a step's figures; the row, where one was written."""
        self._curves.add(figures)
        if step % self._run.every.samples == 0 or step == self._run.steps:
            write_grid(self._out / SAMPLES / f"step-{step:08d}.png", self._trainee.rows(self._examples))
            self._validate(step)
        return self._curves.row(step) if step % self._run.every.curves == 0 else None

    def row(self, step: int) -> None:
        """Before a checkpoint nothing is left unwritten."""
        self._curves.row(step)

    def _validate(self, step: int) -> None:
        if self._validation is None or not isinstance(self._trainee, RestorerTrainee):
            return
        pairs, curves = self._validation
        for figures in pairs.measure(self._trainee.restore_faces):
            curves.add(figures)
        curves.row(step)


def extract(out: Path, target: Path) -> tuple[str, str]:
    """Write the averaged weights of a run's newest checkpoint as a file of its own; its SHA-256 and architecture.

    Raises:
        WeightsMissing, WeightsCorrupt: there is no checkpoint, or it is damaged.
        WrongData: ``target`` is there already.
    """
    if target.exists():
        raise WrongData(f"{target} is there already; name another file")
    _, content = CheckpointFolder(out / CHECKPOINTS, keep=1).read()
    options = json.loads(content["identity"])
    tensors = {name: value.contiguous().clone() for name, value in content["trainee"]["average"].items()}
    digest = save_at_once(target, {"params_ema": tensors})
    architecture = options["generator"]["architecture"]
    return digest, architecture if options["kind"] == "restorer" else "stylegan2"
