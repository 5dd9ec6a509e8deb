"""``photomend up``: the whole service on this machine until Ctrl-C."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from photomend.stack.local import LocalStack

#: How often it is looked whether everything is still alive, s.
_WATCH_S = 0.5


def up(
    data: Annotated[
        Path, typer.Option(help="Folder for data, logs and secrets; kept from one start to the next.")
    ] = Path(".stack"),
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the API; 8080 unless taken.", show_default=False)
    ] = None,
    redis_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of Redis; any free one.", show_default=False)
    ] = None,
    s3_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the S3 server; any free one.", show_default=False)
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, max=256, help="Jobs that the worker takes at a time.", show_default=False)
    ] = None,
) -> None:
    """Run the whole service on this machine until Ctrl-C: Redis, S3, API, keeper and a worker, on loopback.

    PHOTOMEND_REDIS_URL and PHOTOMEND_S3_ENDPOINT_URL name servers of your own instead of the built-in ones.

    Example: photomend up --data ~/photomend --port 8080
    """
    from rich.console import Console

    from photomend.stack import show
    from photomend.stack.errors import StackError
    from photomend.stack.local import LocalStack, Plan

    console = Console()
    stop_like_ctrl_c()
    plan = Plan(data_dir=data, api_port=port, redis_port=redis_port, s3_port=s3_port, threads=threads)
    stack = LocalStack(plan)
    try:
        with show.steps(console) as announce:
            stack.start(announce)
        with stack:
            show.welcome(console, stack)
            _watch(stack)
            console.print("\nStopping; jobs that have started are finished or given back.")
    except StackError as err:
        show.fail(err)
    console.print("Stopped.")


def stop_like_ctrl_c() -> None:
    """Let ``kill`` and a service manager stop us in the same order as Ctrl-C.

    SIGINT is set as well: shells start background commands with it ignored, and Python then leaves it so.
    """

    def interrupt(signum: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, interrupt)


def _watch(stack: LocalStack) -> None:
    try:
        while True:
            stack.check()
            time.sleep(_WATCH_S)
    except KeyboardInterrupt:
        return
