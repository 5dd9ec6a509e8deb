"""What the commands that work on this machine's pictures share: options, networks, and a process set up for them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from photomend import exits
from photomend.commands import flags
from photomend.faults import wrong_settings

if TYPE_CHECKING:
    from jobs.kinds import Kind
    from jobs.options import JobOptions
    from photomend.terminal import Terminal
    from pipeline.restorer import Restorer
    from worker.settings import WorkerSettings

WeightsDir = Annotated[
    Path | None,
    typer.Option(
        help="Where `photomend models fetch` put weights (default: PHOTOMEND_WEIGHTS_DIR)",
        rich_help_panel=flags.MACHINE,
        show_default=False,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        help="auto, cpu, cuda:0 … (default: PHOTOMEND_DEVICE, auto)",
        rich_help_panel=flags.MACHINE,
        show_default=False,
    ),
]

Engine = Annotated[
    str | None,
    typer.Option(
        help="What runs the networks: auto, torch, openvino, cuda-graph; see `photomend engines` "
        "(default: PHOTOMEND_ENGINE, auto)",
        rich_help_panel=flags.MACHINE,
        show_default=False,
    ),
]


def checked_options(kind: Kind, words: Mapping[str, Any]) -> JobOptions:
    """The options, checked by the one vocabulary that the service uses too.

    Raises:
        typer.BadParameter: one is wrong.
    """
    from jobs.errors import InvalidOption
    from jobs.kinds import options_for

    try:
        return options_for(kind, words)
    except InvalidOption as error:
        raise typer.BadParameter(error.detail) from error


def machine_settings() -> WorkerSettings:
    """What the environment says of this machine.

    Raises:
        FileRefused: a setting is wrong.
    """
    from pydantic import ValidationError

    from photomend.files import FileRefused
    from worker.settings import WorkerSettings

    try:
        return WorkerSettings()
    except ValidationError as error:
        raise FileRefused("invalid_setting", " ".join(wrong_settings(error))) from error


def load_networks(weights_dir: Path | None, device: str | None, engine: str | None = None) -> tuple[Restorer, int]:
    """The networks of this machine, and the most pixels that a picture may have.

    Raises:
        FileRefused: a setting in the environment is wrong.
        PipelineError: there is no such device or engine.
    """
    from pipeline.restorer import Restorer
    from pipeline.weights import WeightStore

    settings = machine_settings()
    # The user sits before the terminal that says so, hence the preview pack may stand in.
    weights = WeightStore(weights_dir or settings.weights_dir, allow_preview=True)
    restorer = Restorer.load(
        weights, device=device or settings.device, engine=engine or settings.engine, cache=settings.cache_dir
    )
    return restorer, settings.max_pixels


def refuse(terminal: Terminal, error: Exception) -> typer.Exit:
    """Say why nothing was begun; the exit to raise."""
    from photomend.files import FileRefused
    from pipeline.errors import PipelineError

    if isinstance(error, PipelineError):
        terminal.fail(f"{error.public} {error}", error.code)
    elif isinstance(error, FileRefused):
        terminal.fail(str(error), error.code)
    return typer.Exit(exits.FAILED)


def restart_tuned(ctx: typer.Context) -> None:
    """Start this program once more, with glibc's allocator set up for torch: it reads its variables at start only.

    Worth 1.25 to 1.5 times the speed on a CPU. Only where the whole process is this command's, never in a test runner.
    """
    if not ctx.obj or not ctx.obj.get("own_process") or not sys.platform.startswith("linux"):
        return
    from worker.allocator import ALLOCATOR
    from worker.settings import environment_with

    tuned = environment_with({}, defaults=ALLOCATOR)
    if tuned != environment_with({}, defaults={}):
        os.execve(sys.executable, sys.orig_argv, tuned)  # noqa: S606  (the same program with the same words)
