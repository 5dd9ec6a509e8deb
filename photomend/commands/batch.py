"""``photomend batch``: a delivery of scans through a service, from a folder of a bucket to a report."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from photomend import exits
from photomend.commands import batch_review, flags
from photomend.commands.estimate import estimate_view, progress_line
from photomend.commands.submit import Key, Url, connected, pairs, say, value

if TYPE_CHECKING:
    from rich.console import RenderableType

    from photomend.client import Batch
    from photomend.client.batch import Change, ItemStatus, ReportFile

app = typer.Typer(no_args_is_help=True, help="Mend deliveries of many scans: from a bucket's folder or a manifest.")

_BATCH = "The batch"
#: How the format of a manifest is told from its name.
_FORMATS = {".csv": "csv", ".jsonl": "jsonl", "manifest.json": "inventory"}
#: Seconds between two looks.
_LOOK_EVERY_S = 1.0

BatchId = Annotated[str, typer.Argument(metavar="BATCH", help="The batch's id, batch_…", show_default=False)]
app.command("review")(batch_review.review)
app.command("redo")(batch_review.redo)

AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON on standard output")]


@app.command("submit")
def submit(
    source: Annotated[
        str, typer.Argument(metavar="s3://…", help="A folder of a bucket, or a manifest (.csv, .jsonl, manifest.json)")
    ],
    *,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="s3://…", help="Folder for results; never among the sources")
    ],
    manifest: Annotated[
        str | None, typer.Option("--manifest", metavar="csv|inventory|jsonl", help="The source is a manifest")
    ] = None,
    include: Annotated[list[str] | None, typer.Option(help="Of a folder, only names like *.tif; repeat it")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Of a folder, no names like *-copy.*; repeat it")] = None,
    naming: Annotated[
        str | None,
        typer.Option(metavar="TEMPLATE", help="Names of results: {dir} {stem} {suffix} {ext} {bucket} {number}"),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Stay and show how it gets on")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what it would come to: counts, sizes, refusals, time, cost")
    ] = False,
    model: Annotated[str | None, flags.MODEL] = None,
    scale: Annotated[float | None, flags.SCALE] = None,
    background: Annotated[str | None, flags.BACKGROUND] = None,
    strength: Annotated[float | None, flags.STRENGTH] = None,
    picture_format: Annotated[str | None, flags.FORMAT] = None,
    suffix: Annotated[str | None, flags.SUFFIX] = None,
    outputs: Annotated[list[str] | None, flags.OUTPUTS] = None,
    option: Annotated[list[str] | None, flags.OPTION] = None,
    failure_threshold: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="End it when a larger share failed, such as 0.1", rich_help_panel=_BATCH),
    ] = None,
    deadline: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="End it if not done by then", rich_help_panel=_BATCH)
    ] = None,
    report: Annotated[
        str | None, typer.Option(metavar="all|failed", help="Which rows the report has", rich_help_panel=_BATCH)
    ] = None,
    callback: Annotated[
        str | None, typer.Option(metavar="URL", help="Told when the batch has ended", rich_help_panel=_BATCH)
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label", metavar="NAME=VALUE", help="Metadata, given back with it; repeat it", rich_help_panel=_BATCH
        ),
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    api_key: Key = None,
) -> None:
    """Submit a folder of a bucket, or a manifest. Masters are read only, and nothing that exists is overwritten.

    For instance:

      photomend batch submit s3://scans/1923/ -o s3://mended/1923/ --watch

      photomend batch submit s3://scans/lists/delivery-7.csv -o s3://mended/delivery-7/ --failure-threshold 0.1

      photomend batch submit s3://scans/ -o s3://mended/ --include '*.tif' --exclude 'test/*' --suffix -mended

      photomend batch submit s3://scans/1923/ -o s3://mended/1923/ --dry-run
    """
    wishes = {
        "model": model,
        "scale": scale,
        "background": background,
        "strength": strength,
        "format": picture_format,
        "suffix": suffix,
        "outputs": outputs,
    }
    said: dict[str, Any] = {
        **_source(source, manifest, include, exclude),
        "output": output,
        "options": pairs(option, "--option", value) | flags.as_options(wishes, only_center=False),
        "naming": naming,
        "failure_threshold": failure_threshold,
        "deadline_s": deadline,
        "report": report,
        "callback": None if callback is None else {"url": callback},
        "metadata": pairs(label, "--label", str) or None,
        "dry_run": dry_run or None,
    }
    with connected(url, api_key) as client:
        batch = client.submit_batch({name: words for name, words in said.items() if words is not None})
        say(f"{batch.id} {batch.status}")
        if watch or dry_run:
            batch = _watch(client, batch.id)
        say_estimate(batch)
        _print(batch, as_json=as_json)
    _exit(batch)


@app.command("list")
def list_batches(
    limit: Annotated[int, typer.Option(min=1, help="So many, the newest first")] = 20,
    as_json: AsJson = False,
    url: Url = None,
    api_key: Key = None,
) -> None:
    """Print batches, the newest first.

    Example: photomend batch list --limit 5
    """
    from itertools import islice

    from rich.console import Console
    from rich.table import Table

    with connected(url, api_key) as client:
        found = list(islice(client.list_batches(limit=min(limit, 200)), limit))
    if as_json:
        sys.stdout.write(json.dumps([dict(batch.raw) for batch in found], indent=2) + "\n")
        return
    table = Table(box=None, pad_edge=False)
    # An id is there to be copied: others may be cut.
    table.add_column("batch", no_wrap=True, min_width=len("batch_") + 32)
    for heading in ("status", "done", "of", "failed", "created"):
        table.add_column(heading)
    for batch in found:
        counts = [batch.done, batch.items["total"], batch.items["failed"]]
        table.add_row(batch.id, batch.status, *(f"{n:,}" for n in counts), str(batch.raw["created_at"]))
    Console().print(table)


@app.command("show")
def show(batch_id: BatchId, as_json: AsJson = False, url: Url = None, api_key: Key = None) -> None:
    """Say how a batch is doing.

    Example: photomend batch show batch_0f4c2b9d7e6a4f1c8b3d5e7f9a1b2c3d
    """
    with connected(url, api_key) as client:
        batch = client.get_batch(batch_id)
        say_plainly(batch)
        say_estimate(batch)
        _print(batch, as_json=as_json)
    _exit(batch)


@app.command("watch")
def watch(batch_id: BatchId, as_json: AsJson = False, url: Url = None, api_key: Key = None) -> None:
    """Show counts, pace, time left and device time, until the batch has ended. Ctrl-C leaves it running.

    Example: photomend batch watch batch_0f4c2b9d7e6a4f1c8b3d5e7f9a1b2c3d
    """
    with connected(url, api_key) as client:
        batch = _watch(client, batch_id)
        _print(batch, as_json=as_json)
    _exit(batch)


@app.command("pause")
def pause(batch_id: BatchId, as_json: AsJson = False, url: Url = None, api_key: Key = None) -> None:
    """Begin nothing new; what is in flight goes on.

    Example: photomend batch pause batch_0f4c2b9d7e6a4f1c8b3d5e7f9a1b2c3d
    """
    _change(batch_id, "pause", (url, api_key), as_json=as_json)


@app.command("resume")
def resume(batch_id: BatchId, as_json: AsJson = False, url: Url = None, api_key: Key = None) -> None:
    """Go on with a paused batch.

    Example: photomend batch resume batch_0f4c2b9d7e6a4f1c8b3d5e7f9a1b2c3d
    """
    _change(batch_id, "resume", (url, api_key), as_json=as_json)


@app.command("cancel")
def cancel(batch_id: BatchId, as_json: AsJson = False, url: Url = None, api_key: Key = None) -> None:
    """End a batch; its report tells of every item, also of those that were not tried.

    Example: photomend batch cancel batch_0f4c2b9d7e6a4f1c8b3d5e7f9a1b2c3d
    """
    _change(batch_id, "cancel", (url, api_key), as_json=as_json)


@app.command("retry-failed")
def retry_failed(batch_id: BatchId, as_json: AsJson = False, url: Url = None, api_key: Key = None) -> None:
    """Try again what failed or was canceled in a batch that has ended.

    Example: photomend batch retry-failed batch_0f4c2b9d7e6a4f1c8b3d5e7f9a1b2c3d
    """
    _change(batch_id, "retry-failed", (url, api_key), as_json=as_json)


@app.command("items")
def items(
    batch_id: BatchId,
    status: Annotated[str, typer.Option(metavar="failed|in_flight|…", help="Which ones")] = "failed",
    limit: Annotated[int, typer.Option(min=1, help="At most so many")] = 100,
    url: Url = None,
    api_key: Key = None,
) -> None:
    """Print items of one kind as JSON, one a line: in_flight, succeeded, skipped, failed, canceled.

    Example: photomend batch items batch_0f4c2b9d7e6a4f1c8b3d5e7f9a1b2c3d --status failed
    """
    from itertools import islice

    with connected(url, api_key) as client:
        for item in islice(client.batch_items(batch_id, status=cast("ItemStatus", status)), limit):
            sys.stdout.write(json.dumps(item, ensure_ascii=False) + "\n")


@app.command("report")
def report(
    batch_id: BatchId,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write")],
    file: Annotated[
        str, typer.Option("--file", metavar="csv|jsonl|html|checksums|premis|manifest", help="Which file of the report")
    ] = "csv",
    url: Url = None,
    api_key: Key = None,
) -> None:
    """Download the completion report: one row for each line of the manifest.

    Example: photomend batch report batch_0f4c2b9d7e6a4f1c8b3d5e7f9a1b2c3d -o report.csv
    """
    with connected(url, api_key) as client:
        say(f"Saved {client.download_report(batch_id, to=output, file=cast('ReportFile', file))}")


def _source(
    source: str, manifest: str | None, include: list[str] | None, exclude: list[str] | None
) -> dict[str, dict[str, Any]]:
    form = manifest or next((form for ending, form in _FORMATS.items() if source.lower().endswith(ending)), None)
    if form is None:
        return {"prefix": {"uri": source, "include": include or [], "exclude": exclude or []}}
    if include or exclude:
        raise typer.BadParameter("a manifest says by itself what it takes", param_hint="--include, --exclude")
    return {"manifest": {"uri": source, "format": form}}


def _change(batch_id: str, change: Change, where: tuple[str | None, str | None], *, as_json: bool) -> None:
    with connected(*where) as client:
        batch = client.change_batch(batch_id, change)
        say_plainly(batch)
        _print(batch, as_json=as_json)


def _watch(client: Any, batch_id: str) -> Batch:
    """The batch once it has ended; on a terminal with a picture of how it gets on, elsewhere a line for each change."""
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    batch: Batch = client.get_batch(batch_id)
    if not console.is_terminal:
        told = ""
        while True:
            if (line := _line(batch)) != told:
                say(line)
                told = line
            if batch.is_done:
                return batch
            time.sleep(_LOOK_EVERY_S)
            batch = client.get_batch(batch_id)
    with Live(dashboard(batch), console=console, auto_refresh=False) as live:
        while not batch.is_done:
            time.sleep(_LOOK_EVERY_S)
            batch = client.get_batch(batch_id)
            live.update(dashboard(batch), refresh=True)
    return batch


def dashboard(batch: Batch) -> RenderableType:
    """How a batch gets on: a bar, counts by state, pace, time left, device time."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    if batch.raw.get("dry_run"):
        return Panel(Text(progress_line(batch.estimate)), title=f"{batch.id}  dry run", title_align="left")
    counts, total = batch.items, int(batch.items["total"])
    table = Table.grid(padding=(0, 3))
    styles = {"succeeded": "green", "skipped": "cyan", "failed": "red", "canceled": "yellow"}
    names = ("succeeded", "skipped", "failed", "canceled", "in_flight", "waiting")
    table.add_row(*(Text(name.replace("_", " "), style="dim") for name in names))
    table.add_row(*(Text(f"{counts[name]:,}", style=styles.get(name, "bold")) for name in names))
    share = f"{batch.done / total:.1%}" if total else "-"
    counted = "" if counts["is_counted"] else " (still counting)"
    facts = [
        f"{batch.done:,} of {total:,}{counted}  {share}",
        f"{batch.items_per_s:.1f} items/s",
        f"{clock(batch.eta_s)} left",
        f"{batch.gpu_s:,.0f} s on devices",
    ]
    if batch.cost:
        facts.append(f"{batch.cost['amount']:,.2f} {batch.cost['currency']}")
    # Alone it would not end its line.
    bar = Table.grid(expand=True)
    bar.add_row(ProgressBar(total=max(total, 1), completed=batch.done))
    lines: list[RenderableType] = [
        bar,
        Text("   ".join(facts)),
        table,
    ]
    if batch.waits_for:
        lines.append(Text(f"waits for {batch.waits_for}", style="yellow"))
    if batch.error:
        lines.append(Text(f"{batch.error['title']} {batch.error['detail']} [{batch.error['code']}]", style="red"))
    return Panel(Group(*lines), title=f"{batch.id}  {batch.status}", title_align="left")


def clock(seconds: float | None) -> str:
    """``1:02:03``, or a dash for what is not known."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _line(batch: Batch) -> str:
    if batch.raw.get("dry_run"):
        return f"{batch.status} {progress_line(batch.estimate)}"
    counts = batch.items
    told = [f"{counts[name]:,} {name}" for name in ("succeeded", "skipped", "failed", "canceled") if counts[name]]
    return f"{batch.status} {batch.done:,}/{counts['total']:,} {', '.join(told)}".rstrip()


def say_plainly(batch: Batch) -> None:
    """The batch in a few lines on standard error."""
    say(f"{batch.id} {_line(batch)}")
    if batch.waits_for:
        say(f"waits for {batch.waits_for}", style="yellow")
    if batch.error:
        say(f"{batch.error['title']} {batch.error['detail']} [{batch.error['code']}]", style="red")


def say_estimate(batch: Batch) -> None:
    """What a dry run has found, on standard error."""
    if batch.estimate is None:
        return
    from rich.console import Console

    Console(stderr=True).print(estimate_view(batch.estimate))


def _print(batch: Batch, *, as_json: bool) -> None:
    sys.stdout.write((json.dumps(dict(batch.raw), indent=2, ensure_ascii=False) if as_json else batch.id) + "\n")


def _exit(batch: Batch) -> None:
    if batch.status in {"failed", "canceled"}:
        raise typer.Exit(exits.FAILED)
