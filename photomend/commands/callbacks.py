"""``photomend callbacks``: what became of callbacks, and telling them once more. For operators: it asks Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from photomend import exits
from photomend.commands.operating import opened_store

if TYPE_CHECKING:
    from jobs.outbox import CallbackRecord
    from jobs.store import JobStore

app = typer.Typer(no_args_is_help=True, help="See what became of callbacks, and send them again.")

#: Deliveries put back in one round trip.
BATCH = 200


@app.command("list")
def list_callbacks(
    undelivered: Annotated[bool, typer.Option("--undelivered", help="Only those that were given up.")] = False,
    job: Annotated[str | None, typer.Option("--job", help="Those of one job, delivered ones too.")] = None,
) -> None:
    """Print callbacks that wait or were given up: id, state, attempts, address, last error.

    Example: photomend callbacks list --undelivered
    """
    with opened_store() as (store, console):
        count = 0
        for record in _found(store, job, undelivered=undelivered):
            count += 1
            console.print(_line(record), soft_wrap=True, highlight=False, markup=False)
        console.print(f"{count} callbacks" if count != 1 else "1 callback")


@app.command("replay")
def replay(
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of callbacks (msg_…) or jobs (job_…).")] = None,
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", help="All that were given up for this URL; its query does not matter.")
    ] = None,
) -> None:
    """Send callbacks again, delivered ones too, each under its own webhook-id, by a fresh schedule.

    An endpoint that answered 410 Gone counts as back. Exit code 1: something that was named is not there.

    Example: photomend callbacks replay --endpoint https://example.com/hook
    """
    if bool(ids) == bool(endpoint):
        raise typer.BadParameter("name ids, or else --endpoint URL")
    with opened_store() as (store, console):
        if endpoint:
            is_meant = _same_endpoint(endpoint)
            wanted = [r.id for r in store.unsettled_callbacks(undelivered=True) if is_meant(r.url)]
        else:
            wanted = [delivery for name in ids or () for delivery in _deliveries(store, name)]
        again = [told for batch in _batches(wanted) for told in store.replay_callbacks(batch)]
        console.print(f"{len(again)} of {len(wanted)} callbacks are sent again")
        if len(again) < len(wanted) or not wanted:
            raise typer.Exit(exits.FAILED)


def _found(store: JobStore, job: str | None, *, undelivered: bool) -> Iterable[CallbackRecord]:
    from jobs.model import JobId
    from jobs.outbox import DeliveryState

    if job is None:
        return store.unsettled_callbacks(undelivered=undelivered)
    records = store.callbacks(JobId(job))
    return [r for r in records if not undelivered or r.state is DeliveryState.UNDELIVERED]


def _deliveries(store: JobStore, name: str) -> list[str]:
    from jobs.model import JobId, is_job_id

    return [r.id for r in store.callbacks(JobId(name))] if is_job_id(name) else [name]


def _same_endpoint(url: str) -> Callable[[str], bool]:
    from urllib.parse import urlsplit

    def bare(text: str) -> tuple[str, str, str]:
        parts = urlsplit(text)
        return parts.scheme, parts.netloc, parts.path or "/"

    return lambda other: bare(other) == bare(url)


def _batches(ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), BATCH):
        yield ids[start : start + BATCH]


def _line(record: CallbackRecord) -> str:
    from jobs.view import timestamp

    when = record.delivered_at or record.next_attempt_at
    words = [
        record.id,
        f"{record.state}{f' {timestamp(when)}' if when else ''}",
        f"{record.attempts} attempts",
        record.url.partition("?")[0],
        record.error or "",
    ]
    return "  ".join(word for word in words if word)
