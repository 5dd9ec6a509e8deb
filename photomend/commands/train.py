"""``photomend train``: the preview weights, made again from the committed recipe, evaluated and exported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from photomend import exits

if TYPE_CHECKING:
    from pipeline.training.recipe import Report, Run

Data = Annotated[Path, typer.Option(help="Folder with faces/train, faces/val and weights/.", show_default=True)]
Steps = Annotated[int | None, typer.Option(min=1, help="Length of the run; the committed one when left out.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Seed of samples and start; the committed one when left out.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue from the checkpoint in the output folder.")]
Init = Annotated[Path | None, typer.Option(help="Weights file to start from instead of random weights.")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads. Other counts give other last digits.")]

app = typer.Typer(invoke_without_command=True)

#: Figures of a run are shown as means over so many steps.
SHOWN_EVERY = 20


@app.callback()
def train(
    *,
    context: typer.Context,
    evaluate: Annotated[bool, typer.Option("--evaluate", help="Print the figures of the weights.")] = False,
    data: Data = Path("../shared"),
    restorer: Annotated[Path | None, typer.Option(help="Restorer file; the shipped one when left out.")] = None,
    detector: Annotated[Path | None, typer.Option(help="Detector file; the shipped one when left out.")] = None,
    faces: Annotated[int | None, typer.Option(min=1, help="Val faces for the restorer; all when left out.")] = None,
    threads: Threads = 2,
) -> None:
    """Train, evaluate and export the preview weights.

    Four commands make the pack again and measure it:

    photomend train restorer --data ../shared --out .train/restorer

    photomend train detector --data ../shared --out .train/detector --resume

    photomend train export --restorer .train/restorer --detector .train/detector

    photomend train --evaluate --data ../shared
    """
    if context.invoked_subcommand is not None:
        return
    if not evaluate:
        raise typer.BadParameter("say `restorer`, `detector`, `export` or --evaluate; --help has examples")
    _evaluate(data, restorer, detector, faces, threads)


def restorer(
    *,
    data: Data = Path("../shared"),
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint.")] = Path(".train/restorer"),
    steps: Steps = None,
    seed: Seed = None,
    resume: Resume = False,
    init: Init = None,
    threads: Threads = 1,
) -> None:
    """Train the face restorer.

    Example: photomend train restorer --steps 200 --out /tmp/trial
    """
    with _errors_as_sentences():
        from pipeline.training import recipe

        plan = recipe.with_steps(recipe.RESTORER_PLAN, steps=steps, seed=seed)
        run = recipe.Run(data=data, out=out, plan=plan, resume=resume, init=init)
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
    with _errors_as_sentences():
        from pipeline.training import recipe

        plan = recipe.with_steps(recipe.DETECTOR_PLAN, steps=steps, seed=seed)
        run = recipe.Run(data=data, out=out, plan=plan, resume=resume, init=init)
        _run(recipe.train_detector, run, threads)


def export(
    *,
    restorer: Annotated[Path | None, typer.Option(help="Output folder of a restorer run.")] = None,
    detector: Annotated[Path | None, typer.Option(help="Output folder of a detector run.")] = None,
    target: Annotated[Path | None, typer.Option(help="Where to write; the package's own folder if left out.")] = None,
) -> None:
    """Write the shipped files from checkpoints; prints bytes and SHA-256 for pipeline/weights.toml.

    Example: photomend train export --restorer .train/restorer --target /tmp/pack
    """
    if restorer is None and detector is None:
        raise typer.BadParameter("name a run's folder with --restorer or --detector")
    with _errors_as_sentences():
        from rich.console import Console

        from pipeline.training import recipe
        from pipeline.weights import preview_folder

        folder = target or preview_folder()
        console = Console()
        if restorer is not None:
            made = recipe.export_restorer(restorer / recipe.CHECKPOINT, folder / recipe.RESTORER_FILE)
            console.print(f"{made.path}  {made.bytes} bytes  sha256 {made.sha256}", soft_wrap=True)
        if detector is not None:
            made = recipe.export_detector(detector / recipe.CHECKPOINT, folder / recipe.DETECTOR_FILE)
            console.print(f"{made.path}  {made.bytes} bytes  sha256 {made.sha256}", soft_wrap=True)


app.command("restorer")(restorer)
app.command("detector")(detector)
app.command("export")(export)


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


def _evaluate(data: Path, restorer: Path | None, detector: Path | None, faces: int | None, threads: int) -> None:
    with _errors_as_sentences():
        from rich.console import Console

        from pipeline.training import recipe

        recipe.set_threads(threads)
        console = Console()
        with console.status("evaluating") as status:
            report = recipe.evaluate(
                data, restorer=restorer, detector=detector, faces_at_most=faces, told=status.update
            )
        _print_report(report)


def _print_report(report: Report) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    gains = Table(title="Restorer on val faces: degraded input -> restored")
    for heading in ("severity", "faces", "PSNR dB", "SSIM", "VGG distance"):
        gains.add_column(heading)
    for gain in report.gains:
        gains.add_row(
            gain.severity,
            str(gain.faces),
            f"{gain.before.psnr:.2f} -> {gain.after.psnr:.2f}",
            f"{gain.before.ssim:.4f} -> {gain.after.ssim:.4f}",
            f"{gain.before.vgg:.4f} -> {gain.after.vgg:.4f}",
        )
    console.print(gains)
    recalls = Table(title="Detector on val faces, against the real one")
    for heading in ("pictures", "there", "found", "recall", "extra", "landmark error / box"):
        recalls.add_column(heading)
    for recall in report.recalls:
        error = f"{recall.landmark_error:.4f}"
        counts = (str(recall.there), str(recall.found), f"{recall.share:.1%}", str(recall.extra), error)
        recalls.add_row(recall.protocol, *counts)
    console.print(recalls)
    alarms = Table(title="Detector on face-free pictures")
    alarms.add_column("picture")
    alarms.add_column("false alarms (scores)")
    for name, scores in report.alarms.items():
        alarms.add_row(name, ", ".join(f"{s:.2f}" for s in scores) or "none")
    console.print(alarms)


@contextmanager
def _errors_as_sentences() -> Iterator[None]:
    """One red sentence and exit code 1 for what the pipeline or the file system refuses."""
    from rich.console import Console

    from pipeline.errors import PipelineError

    try:
        yield
    except (PipelineError, OSError) as err:
        Console(stderr=True).print(f"[red]{err}[/red]", soft_wrap=True)
        raise typer.Exit(exits.FAILED) from err
