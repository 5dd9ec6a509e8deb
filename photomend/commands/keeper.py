"""``photomend keeper``: the light process that feeds the workers, sweeps up and sends callbacks."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from photomend import exits

if TYPE_CHECKING:
    from worker.settings import KeeperSettings


def keeper(
    *,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Say by the exit code whether the keeper that writes PHOTOMEND_ALIVE_PATH lives: 0 = it does.",
        ),
    ] = False,
) -> None:
    """Feed workers, recover what was left behind, send callbacks. Needs no GPU; run two or more for safety.

    Examples:
      PHOTOMEND_REDIS_URL=redis://10.0.0.5:6379/0 photomend keeper

      PHOTOMEND_ALIVE_PATH=/tmp/alive photomend keeper --check     (a container's health check)
    """
    from jobs import logs
    from worker.keeper import run
    from worker.settings import KeeperSettings

    if check:
        _check(KeeperSettings())
        return
    logs.configure(service="keeper")
    stop = threading.Event()

    def leave(_number: int, _frame: FrameType | None) -> None:
        # In a thread: the main thread waits on this very event, and a handler that interrupts it there would wait
        # for the lock that it holds.
        threading.Thread(target=stop.set, daemon=True).start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    run(KeeperSettings(), stop)


def _check(settings: KeeperSettings) -> None:
    from jobs.errors import NotSetUp
    from worker.vitals import STALE_S, is_alive

    if settings.alive_path is None:
        raise NotSetUp("PHOTOMEND_ALIVE_PATH is not set: neither the keeper nor its check knows the file")
    if not is_alive(settings.alive_path):
        typer.echo(
            f"{settings.alive_path} was not written within {STALE_S:g} s: no keeper lives, or one is stuck", err=True
        )
        raise typer.Exit(exits.FAILED)
