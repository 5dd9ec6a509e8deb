"""``photomend dead``: jobs that were given up, why, and trying them once more. For operators: it asks Redis."""

from __future__ import annotations

import json
import sys
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from photomend import exits
from photomend.commands.operating import opened_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import Console

    from jobs.model import Job, JobId
    from jobs.store import JobStore

app = typer.Typer(no_args_is_help=True, help="See which jobs were given up and why, and try them once more.")

Cause = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Only of this cause: poison, too_many_interruptions, SIGSEGV, memory, hang, …"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


@app.command("list")
def list_dead(
    cause: Cause = None,
    limit: Annotated[int, typer.Option(min=1, help="So many, the latest first.")] = 50,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the jobs that were given up: poison, and those that were interrupted too often.

    Examples:
      photomend dead list

      photomend dead list --cause SIGSEGV --all --json
    """
    with opened_store() as (store, console):
        unreadable: list[JobId] = []
        found = list(islice(_of_cause(store.dead.jobs(unreadable=unreadable), cause), None if everything else limit))
        for job_id in unreadable:
            typer.echo(f"{job_id} is left out: only a newer version of photomend can read it", err=True)
        if as_json:
            _write([_words(job) for job in found])
            return
        if found:
            console.print(_table(found))
        console.print(f"{len(found)} of {store.counts()['dead']} dead letters")


@app.command("show")
def show(
    job_id: Annotated[str, typer.Argument(metavar="JOB", help="The job's id, job_…")], as_json: AsJson = False
) -> None:
    """Print everything known of one job that was given up: each process that died under it, and what it asks for.

    Example: photomend dead show job_0f4c2b9d7e6a4f1c8b3d5e7f9a1b2c3d
    """
    with opened_store() as (store, console):
        job = _dead_job(store, job_id)
        if as_json:
            _write(_words(job))
        else:
            _print_details(console, job)


@app.command("replay")
def replay(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[JOB]...", help="Ids of jobs, job_…")] = None,
    cause: Cause = None,
    everything: Annotated[bool, typer.Option("--all", help="All that were not replayed yet.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many, the latest first.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Also those that were replayed already.")] = False,
) -> None:
    """Submit given-up jobs anew. Each becomes a new job that names the old one; the old one says so too.

    What ended its process runs alone from its first attempt on, so that it can do no harm to others.

    Examples:
      photomend dead replay job_0f4c2b9d7e6a4f1c8b3d5e7f9a1b2c3d

      photomend dead replay --cause too_many_interruptions --all
    """
    if bool(ids) == (everything or cause is not None or limit is not None):
        raise typer.BadParameter("name jobs, or else choose by --all, --cause and --limit")
    with opened_store() as (store, console):
        if ids:
            chosen = [_dead_job(store, job_id) for job_id in ids]
        else:
            fresh = (job for job in store.dead.jobs() if again or job.replayed_as is None)
            chosen = list(islice(_of_cause(fresh, cause), limit))
        replayed = sum(_replay(console, store, job, again=again) for job in chosen)
        console.print(f"{replayed} of {len(chosen)} submitted anew")
        if ids and replayed < len(chosen):
            raise typer.Exit(exits.FAILED)


def _replay(console: Console, store: JobStore, job: Job, *, again: bool) -> bool:
    if job.replayed_as is not None and not again:
        _say(console, f"{job.id} was replayed as {job.replayed_as} already; --again does it once more")
        return False
    _say(console, f"{job.id} → {store.replay(job.id).job.id}")
    return True


def _dead_job(store: JobStore, job_id: str) -> Job:
    from jobs.errors import JobNotFound
    from jobs.model import JobId, is_job_id

    job = store.get(JobId(job_id)) if is_job_id(job_id) else None
    if job is None or job.dead_at is None:
        raise JobNotFound(f"{job_id} is no dead letter")
    return job


def _of_cause(jobs: Iterable[Job], cause: str | None) -> Iterator[Job]:
    from jobs.dead import causes_of

    for job in jobs:
        if cause is None or cause.casefold() in {name.casefold() for name in causes_of(job)}:
            yield job


def _words(job: Job) -> dict[str, Any]:
    """The job as the API says it, with what only operators may know."""
    import dataclasses

    from jobs.view import public_view, timestamp

    deaths = [dataclasses.asdict(death) | {"at": timestamp(death.at)} for death in job.deaths]
    own = {"tenant": job.tenant, "dead_at": timestamp(job.dead_at), "replayed_as": job.replayed_as, "deaths": deaths}
    return public_view(job) | own


def _table(jobs: Iterable[Job]) -> Any:
    from rich.table import Table
    from rich.text import Text

    from jobs.view import timestamp

    table = Table(
        "job", "given up", "why", "died of", "stage", "attempts", "tenant", "replayed", box=None, pad_edge=False
    )
    for job in jobs:
        died_of = Counter(death.cause for death in job.deaths)
        table.add_row(
            job.id,
            timestamp(job.dead_at),
            job.failure.code if job.failure else "",
            ", ".join(f"{count}x {cause}" for cause, count in died_of.items()),
            (job.deaths[-1].stage or "") if job.deaths else "",
            str(job.attempt),
            Text(job.tenant),
            "yes" if job.replayed_as else "",
        )
    # Ids are there to be copied: never cut.
    table.columns[0].no_wrap = True
    return table


def _print_details(console: Console, job: Job) -> None:
    from rich.table import Table
    from rich.text import Text

    from jobs.view import timestamp

    failure = f"{job.failure.title} [{job.failure.code}]" if job.failure else ""
    facts = {
        "given up": timestamp(job.dead_at),
        "why": failure,
        "attempts": job.attempt,
        "input": job.input.public_uri,
        "options": json.dumps(job.options.to_mapping(), ensure_ascii=False),
        "tenant": job.tenant,
        "metadata": json.dumps(job.metadata, ensure_ascii=False),
        "replay of": job.replay_of or "-",
        "replayed as": job.replayed_as or "-",
    }
    _say(console, job.id)
    for name, value in facts.items():
        _say(console, f"  {name:12}{value}")
    for number, death in enumerate(job.deaths, start=1):
        table = Table(show_header=False, box=None, title=f"death {number}", title_justify="left", padding=(0, 2))
        where = "alone: it was this job" if death.is_alone else "among others, or with its device"
        for name, value in {
            "cause": death.cause,
            "when": timestamp(death.at),
            "stage": death.stage or "not told",
            "ran": where,
            "attempt": str(death.attempt),
            "worker": death.worker,
            "engine": death.engine or "not known",
            "weights": ", ".join(death.weights) or "not known",
        }.items():
            table.add_row(name, Text(str(value)))
        console.print(table)


def _say(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True, highlight=False, markup=False)


def _write(words: object) -> None:
    sys.stdout.write(json.dumps(words, indent=2, ensure_ascii=False) + "\n")
