"""``photomend train gan``, ``prior``, ``landmarks`` and ``extract``: GFPGAN's training as published."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from photomend import exits
from photomend.commands.local import WeightsDir

if TYPE_CHECKING:
    from pipeline.training.gan.options import AnyRun

OptionsFile = Annotated[
    Path, typer.Argument(metavar="OPTIONS", help="What to do: photomend's .toml, or the seed project's .yml")
]
Out = Annotated[Path, typer.Option("--out", "-o", help="The run's folder: checkpoints, curves, samples")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the folder's newest checkpoint")]
Steps = Annotated[int | None, typer.Option(min=1, help="Instead of the options' number of steps", show_default=False)]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda; under torchrun each process has the GPU of its number")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads of each process", show_default=False)]

#: Decimals of what is shown while training.
SHOWN = "{name} {value:.4g}"


def gan(
    options: OptionsFile,
    *,
    out: Out,
    resume: Resume = False,
    steps: Steps = None,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Train a GFPGAN as published, or train one further. SIGTERM and Ctrl-C leave a checkpoint behind.

    Examples:
      photomend train gan train_gfpgan_v1.yml -o runs/v1

      photomend train gan mine.toml -o runs/mine --resume

      torchrun --nproc-per-node 4 -m photomend train gan mine.toml -o runs/mine

      photomend train extract runs/mine mine.pth      (the weights, to restore with)
    """
    _train(options, "restorer", out=out, resume=resume, steps=steps, device=device, threads=threads)


def prior(
    options: OptionsFile,
    *,
    out: Out,
    resume: Resume = False,
    steps: Steps = None,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Train the StyleGAN2 of which a GFPGAN's training can start: `kind = "prior"` in its options.

    Examples:
      photomend train prior prior.toml -o runs/prior

      photomend train extract runs/prior stylegan2.pth      (for `generator.prior`)
    """
    _train(options, "prior", out=out, resume=resume, steps=steps, device=device, threads=threads)


def landmarks(
    photos: Annotated[Path, typer.Argument(metavar="FACES", help="Folder of aligned faces, or an LMDB of them")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="The landmarks file to write (.pth)")],
    set_aside: Annotated[
        Path | None,
        typer.Option(help="Move pictures in which no face is found into this folder", show_default=False),
    ] = None,
    detector: Annotated[
        str, typer.Option(help="By its name in `photomend models list`; the preview pack's if it is not there")
    ] = "retinaface-resnet50",
    weights_dir: WeightsDir = None,
) -> None:
    """Write down where eyes and mouths are, for the discriminators of facial components.

    The file is of the seed project's format, so that either trainer reads it.

    Example: photomend train landmarks ffhq_512 -o landmarks.pth --set-aside no-face
    """
    with errors_as_sentences():
        from rich.console import Console
        from rich.progress import Progress

        from pipeline.training.gan.components import make_landmarks
        from pipeline.training.gan.sources import open_source
        from pipeline.training.gan.sources import set_aside as move

        console = Console()
        source = open_source(photos)
        network, used = _detector(detector, weights_dir)
        if used != detector:
            console.print(f"{detector} is not installed; {used} finds the faces")
        with Progress(console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task("looking for faces", total=len(source.names))
            made = make_landmarks(source, network, out, told=lambda done: bar.update(task, completed=done))
        console.print(f"{out}: {made.found} of {len(source.names)} pictures", soft_wrap=True, highlight=False)
        if made.without and set_aside is not None:
            move(source, made.without, set_aside)
            console.print(f"{len(made.without)} without a face were moved to {set_aside}", soft_wrap=True)
        elif made.without:
            names = ", ".join(source.names[index] for index in made.without[:5])
            console.print(f"{len(made.without)} have no face, such as {names}; --set-aside moves them", soft_wrap=True)


def extract(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder")],
    target: Annotated[Path, typer.Argument(metavar="FILE", help="The weights file to write (.pth)")],
) -> None:
    """Write the averaged weights of a run's newest checkpoint as a file of its own, with what names it to photomend.

    A gfpgan-bilinear becomes a gfpgan-clean, which restores faster, by `photomend models convert`.

    Example: photomend train extract runs/v1 weights/mine.pth
    """
    with errors_as_sentences():
        from rich.console import Console

        from pipeline.training.gan.running import extract as write

        digest, architecture = write(run, target)
        console = Console(highlight=False)
        console.print(f"{target}  {architecture}  sha256 {digest}", soft_wrap=True)
        if architecture != "stylegan2":
            entry = (
                f'[[local]]\nname = "gfpgan-1.4"\nfile = "{target.name}"\nsha256 = "{digest}"\nkind = "restorer"\n'
                f'architecture = "{architecture}"\nlabel = "own training"'
            )
            console.print(f"To restore with it, in the weights folder's local.toml:\n\n{entry}", markup=False)


def _train(
    options: Path, kind: str, *, out: Path, resume: bool, steps: int | None, device: str, threads: int | None
) -> None:
    with errors_as_sentences():
        import torch

        from pipeline.training.gan.running import execute
        from pipeline.training.processes import joined

        if threads is not None:
            torch.set_num_threads(threads)
        with joined(device) as processes, _asked_to_stop() as asked:
            run, notes = _read(options, kind, processes.world, steps)
            with _shown(run, notes, silent=not processes.first) as told:
                outcome = execute(run, out, processes=processes, resume=resume, told=told, stop=asked.is_set)
        if not outcome.finished:
            if processes.first:
                _say(f"Stopped after step {outcome.step}, which is saved; --resume goes on.")
            raise typer.Exit(exits.INTERRUPTED)
        if processes.first:
            _say(f"Done. `photomend train extract {out} FILE` writes the weights.")


def _read(path: Path, kind: str, world: int, steps: int | None) -> tuple[AnyRun, tuple[str, ...]]:
    """The options, with what the caller changed, and what is to be told of them."""
    from pipeline.training.errors import WrongOptions
    from pipeline.training.gan import options, seed_options

    run: AnyRun
    notes: tuple[str, ...] = ()
    if seed_options.described(path):
        translated = seed_options.read(path, processes=world)
        run, notes = translated.run, translated.notes
    else:
        run = options.read(path)
    if run.kind != kind:
        command = {"restorer": "gan", "prior": "prior"}[run.kind]
        raise WrongOptions(f"{path} is of kind {run.kind}: `photomend train {command}`")
    return (run if steps is None else run.model_copy(update={"steps": steps})), notes


@contextmanager
def _asked_to_stop() -> Iterator[threading.Event]:
    """Set by SIGTERM (what preemption and torchrun send) and by Ctrl-C; a second Ctrl-C ends at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def stop(number: int, _: object) -> None:
        if asked.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _shown(run: AnyRun, notes: tuple[str, ...], *, silent: bool) -> Iterator[Any]:
    """A bar on a terminal, and a line for each row of the curves."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(highlight=False, quiet=silent)
    for note in notes:
        console.print(note, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=silent or not console.is_terminal) as bar:
        task = bar.add_task(run.name, total=run.steps)

        def told(step: int, row: Mapping[str, float] | None) -> None:
            bar.update(task, completed=step)
            if row:
                line = "  ".join(SHOWN.format(name=name, value=value) for name, value in row.items())
                console.print(f"step {step}  {line}", soft_wrap=True)

        yield told


def _detector(name: str, weights_dir: Path | None) -> tuple[Any, str]:
    """The network that finds faces, and its name."""
    from photomend.commands.local import machine_settings
    from pipeline.arch import networks
    from pipeline.weights import WeightStore

    store = WeightStore(weights_dir or machine_settings().weights_dir, allow_preview=True)
    store.find(name)
    used = name if store.is_present(name) else "preview-detector"
    return networks.build(store.find(used).architecture, store.load(used), name=used).module, used


def _say(sentence: str) -> None:
    from rich.console import Console

    Console(highlight=False).print(sentence, soft_wrap=True)


@contextmanager
def errors_as_sentences() -> Iterator[None]:
    """One red sentence and exit code 1 for what the pipeline, the training or the file system refuses."""
    from rich.console import Console

    from photomend.files import FileRefused
    from pipeline.errors import PipelineError
    from pipeline.training.errors import TrainingError

    try:
        yield
    except (PipelineError, TrainingError, FileRefused, OSError) as err:
        Console(stderr=True).print(str(err), style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(exits.FAILED) from err
