"""``photomend train``: the preview weights, made again from the committed recipe and exported."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from photomend.commands import train_gan

if TYPE_CHECKING:
    from pipeline.training.recipe import Run

Data = Annotated[Path, typer.Option(help="Folder with faces/train, faces/val and weights/.", show_default=True)]
Steps = Annotated[int | None, typer.Option(min=1, help="Length of the run; the committed one when left out.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Seed of samples and start; the committed one when left out.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue from the checkpoint in the output folder.")]
Init = Annotated[Path | None, typer.Option(help="Weights file to start from instead of random weights.")]
Bfloat16 = Annotated[
    bool, typer.Option("--bfloat16", help="Compute in bfloat16: several times as fast on a CPU with AMX.")
]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads. Other counts give other last digits.")]

app = typer.Typer(no_args_is_help=True)

#: Figures of a run are shown as means over so many steps.
SHOWN_EVERY = 20


@app.callback()
def train() -> None:
    """Train a GFPGAN as published; train and export the preview weights.

    photomend train gan train_gfpgan_v1.yml --out runs/v1

    These make files like the pack's, and measure them:

    photomend train restorer --data ../shared --out .train/restorer

    photomend train detector --data ../shared --out .train/detector

    photomend train upsampler --data ../shared --out .train/upsampler

    photomend train export --restorer .train/restorer --detector .train/detector --target .train/pack

    photomend evaluate ../shared/faces/val -m .train/pack/restorer.pth --weights-dir ../shared/weights

    With --init a run tunes weights that there are: the restorer with a critic beside VGG's features.
    """


def restorer(
    *,
    data: Data = Path("../shared"),
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint.")] = Path(".train/restorer"),
    steps: Steps = None,
    seed: Seed = None,
    resume: Resume = False,
    init: Init = None,
    bfloat16: Bfloat16 = False,
    threads: Threads = 1,
) -> None:
    """Train the face restorer.

    Example: photomend train restorer --steps 200 --out /tmp/trial
    """
    with train_gan.errors_as_sentences():
        from pipeline.training import recipe

        committed = recipe.RESTORER_PLAN if init is None else recipe.RESTORER_TUNING
        plan = recipe.with_steps(committed, steps=steps, seed=seed)
        run = recipe.Run(data=data, out=out, plan=plan, resume=resume, init=init, bfloat16=bfloat16)
        _run(recipe.train_restorer, run, threads)


def detector(
    *,
    data: Data = Path("../shared"),
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint and labels.")] = Path(".train/detector"),
    steps: Steps = None,
    seed: Seed = None,
    resume: Resume = False,
    init: Init = None,
    threads: Threads = 1,
) -> None:
    """Train the face detector.

    Example: photomend train detector --resume
    """
    with train_gan.errors_as_sentences():
        from pipeline.training import recipe

        committed = recipe.DETECTOR_PLAN if init is None else recipe.DETECTOR_TUNING
        plan = recipe.with_steps(committed, steps=steps, seed=seed)
        run = recipe.Run(data=data, out=out, plan=plan, resume=resume, init=init)
        _run(recipe.train_detector, run, threads)


def upsampler(
    *,
    data: Data = Path("../shared"),
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint.")] = Path(".train/upsampler"),
    steps: Steps = None,
    seed: Seed = None,
    resume: Resume = False,
    threads: Threads = 1,
) -> None:
    """Train the background upsampler, x2.

    Example: photomend train upsampler --steps 100 --out /tmp/trial
    """
    with train_gan.errors_as_sentences():
        from pipeline.training import recipe

        plan = recipe.with_steps(recipe.UPSAMPLER_PLAN, steps=steps, seed=seed)
        _run(recipe.train_upsampler, recipe.Run(data=data, out=out, plan=plan, resume=resume), threads)


def export(
    *,
    restorer: Annotated[Path | None, typer.Option(help="Output folder of a restorer run.")] = None,
    detector: Annotated[Path | None, typer.Option(help="Output folder of a detector run.")] = None,
    detector_init: Annotated[
        Path | None, typer.Option(help="What that run was tuned from (--init): large faces' layers keep a part of it.")
    ] = None,
    upsampler: Annotated[Path | None, typer.Option(help="Output folder of an upsampler run.")] = None,
    target: Annotated[Path | None, typer.Option(help="Where to write; the package's own folder if left out.")] = None,
) -> None:
    """Write the shipped files from checkpoints; prints bytes and SHA-256 for pipeline/weights.toml.

    Example: photomend train export --restorer .train/restorer --target /tmp/pack
    """
    if restorer is None and detector is None and upsampler is None:
        raise typer.BadParameter("name a run's folder with --restorer, --detector or --upsampler")
    with train_gan.errors_as_sentences():
        from rich.console import Console

        from pipeline.training import recipe
        from pipeline.weights import preview_folder

        folder = target or preview_folder()
        console = Console()
        jobs = (
            (restorer, recipe.export_restorer, recipe.RESTORER_FILE),
            (detector, partial(recipe.export_detector, init=detector_init), recipe.DETECTOR_FILE),
            (upsampler, recipe.export_upsampler, recipe.UPSAMPLER_FILE),
        )
        for run, write, name in jobs:
            if run is not None:
                made = write(run / recipe.CHECKPOINT, folder / name)
                console.print(f"{made.path}  {made.bytes} bytes  sha256 {made.sha256}", soft_wrap=True)


app.command("restorer")(restorer)
app.command("detector")(detector)
app.command("upsampler")(upsampler)
app.command("export")(export)
app.command("gan")(train_gan.gan)
app.command("prior")(train_gan.prior)
app.command("landmarks")(train_gan.landmarks)
app.command("extract")(train_gan.extract)


def _run(train_it: Callable[..., object], run: Run, threads: int) -> None:
    """Runs with a progress bar on a terminal, and a line of figures every few steps."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from pipeline.training.recipe import CHECKPOINT, set_threads

    set_threads(threads)
    console = Console()
    sums: dict[str, float] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("training", total=run.plan.steps)

        def told(step: int, figures: dict[str, float]) -> None:
            bar.update(task, completed=step)
            for name, value in figures.items():
                sums[name] = sums.get(name, 0.0) + value / SHOWN_EVERY
            if step % SHOWN_EVERY == 0:
                line = "  ".join(f"{name} {value:.5f}" for name, value in sums.items())
                console.print(f"step {step}  {line}", highlight=False, soft_wrap=True)
                sums.clear()

        train_it(run, told=told)
    console.print(f"The checkpoint is {run.out / CHECKPOINT}; `photomend train export` makes the shipped file of it.")
