"""What the operator's commands share: the store itself, not the API, and one sentence when it does not answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from photomend import exits

if TYPE_CHECKING:
    from rich.console import Console

    from jobs.store import JobStore


@contextmanager
def opened_store() -> Iterator[tuple[JobStore, Console]]:
    """The store, whose errors end the command with one sentence, and where to print."""
    from rich.console import Console
    from rich.text import Text

    from jobs.errors import JobsError
    from jobs.settings import JobsSettings
    from jobs.store import JobStore

    store = JobStore.connect(JobsSettings())
    try:
        yield store, Console()
    except JobsError as err:
        Console(stderr=True).print(Text(f"{err.public} ({err})", style="bold red"), soft_wrap=True)
        raise typer.Exit(exits.FAILED) from err
    finally:
        store.close()
