"""``photomend demo``: one photo through the whole service."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from photomend import exits

if TYPE_CHECKING:
    from rich.console import Console


def demo(
    photo: Annotated[
        Path | None,
        typer.Option(help="A photo of your own; without it a portrait that is made to look old.", show_default=False),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the pictures and logs.")] = Path("demo"),
) -> None:
    """Mend one photo through the whole service, started for it on this machine and stopped again.

    A real Redis, a real S3 server, the API, the keeper and a Celery worker are started; the photo is uploaded to the
    bucket, submitted over HTTP, followed live, and its signed callback is verified.

    Example: photomend demo --photo old.jpg
    """
    from rich.console import Console

    from jobs.errors import JobsError
    from photomend.client import PhotomendError
    from photomend.commands.up import stop_like_ctrl_c
    from photomend.demo.errors import DemoError
    from photomend.stack import show
    from photomend.stack.errors import StackError
    from pipeline.errors import PipelineError

    stop_like_ctrl_c()
    try:
        _demo(Console(), photo, output)
    except StackError as err:
        show.fail(err)
    except (DemoError, JobsError, PhotomendError, PipelineError) as err:
        _fail(err, output)


def _demo(console: Console, photo: Path | None, output: Path) -> None:
    from photomend.demo import report, run
    from photomend.stack import show
    from photomend.stack.local import LocalStack, Plan
    from photomend.stack.ports import free_ports

    began = time.monotonic()
    data, shown = run.prepare(photo, output)
    # Not the usual port: a `photomend up` may be running beside us.
    stack = LocalStack(Plan(data_dir=output / ".stack", api_port=free_ports(1)[0], threads=1))
    with show.steps(console) as announce:
        stack.start(announce)
    with stack:
        outcome = run.run(stack, data, shown, console)
    report.show(console, outcome, total_s=time.monotonic() - began)


def _fail(err: Exception, output: Path) -> NoReturn:
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    console.print(Text(f"The demo failed: {err}", style="bold red"), soft_wrap=True)
    if (output / ".stack" / "log").exists():
        console.print(f"The processes' logs are in {output / '.stack' / 'log'}", highlight=False, soft_wrap=True)
    raise typer.Exit(exits.FAILED) from err
