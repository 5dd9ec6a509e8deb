"""What the person at the terminal sees while the stack starts, runs or fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit, urlunsplit

import typer

from photomend import exits
from photomend.stack.errors import StackError

if TYPE_CHECKING:
    from rich.console import Console

    from photomend.stack.local import LocalStack


@contextmanager
def steps(console: Console) -> Iterator[Callable[[str], None]]:
    """Yields a function that announces the next step; each one is ticked off with its time when it is over."""
    began, current = time.monotonic(), ""

    def tick() -> None:
        if current:
            console.print(f"[green]✓[/] {current}  [dim]{time.monotonic() - began:.1f} s[/]", highlight=False)

    def announce(words: str) -> None:
        nonlocal began, current
        tick()
        began, current = time.monotonic(), words
        status.update(words)

    with console.status("Starting") as status:
        yield announce
        tick()


def welcome(console: Console, stack: LocalStack) -> None:
    """Say where everything is and how to submit the first job."""
    from rich.table import Table

    settings = stack.settings
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in (
        ("Page", f"{stack.api_url}/   (drop a photo in, compare, review)"),
        ("API", f"{stack.api_url}   (documentation: {stack.api_url}/docs)"),
        ("Storage", f"{settings.s3_endpoint_url or 'AWS S3'}   bucket {settings.bucket}"),
        ("Redis", without_credentials(settings.redis_url)),
        ("Data, logs", str(stack.plan.data_dir.resolve())),
    ):
        table.add_row(f"[bold]{name}[/]", value)
    console.print("\n[bold green]photomend is up[/]")
    console.print(table, soft_wrap=True)
    console.print(
        f"\nSubmit a photo:  curl -sS -F file=@photo.jpg {stack.api_url}/v1/jobs\n"
        f"or, with progress:  photomend submit photo.jpg --url {stack.api_url}\n\n"
        "No key is needed: the API listens on this machine alone.\n"
        "Jobs that name no model may use the preview weights that come with photomend; they are small and modest.\n"
        "Ctrl-C stops everything.",
        highlight=False,
        soft_wrap=True,
    )


def without_credentials(url: str) -> str:
    """The URL as a screen, a log or a screenshot may show it."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def fail(err: StackError) -> NoReturn:
    """Say what went wrong, show the guilty process's last words, and end with status 1."""
    from rich.console import Console
    from rich.panel import Panel
    from rich.text import Text

    console = Console(stderr=True)
    if err.log_tail:
        console.print(Panel(Text(err.log_tail), title="its last words", border_style="red"))
    console.print(Text(str(err)[:1].upper() + str(err)[1:], style="bold red"), soft_wrap=True)
    raise typer.Exit(exits.FAILED) from err
