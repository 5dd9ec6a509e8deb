"""``photomend batch review`` and ``redo``: what people should look at, what they decide, and the same once more."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from photomend import exits
from photomend.commands import flags
from photomend.commands.submit import Key, Url, connected, pairs, say, value

if TYPE_CHECKING:
    from photomend.client import Client
    from photomend.client.batch import Decided, Decision

BatchId = Annotated[str, typer.Argument(metavar="BATCH", help="The batch's id, batch_…", show_default=False)]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who decides, where a line does not say")]


def review(
    batch_id: BatchId,
    *,
    decision: Annotated[
        str | None,
        typer.Option(metavar="pending|accepted|rejected|all", help="Which; pending unless a sheet is written: all"),
    ] = None,
    sheet: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write a sheet to fill in")] = None,
    apply: Annotated[
        Path | None, typer.Option("--apply", metavar="FILE", help="Write down the decisions of a sheet")
    ] = None,
    by: By = "",
    url: Url = None,
    api_key: Key = None,
) -> None:
    """Print the results that a person should look at, one a line as JSON; or take decisions by a sheet.

    For instance:

      photomend batch review batch_0f4c2b9d7e6a4f1c8b3d5e7f9a1b2c3d

      photomend batch review batch_0f4c2b9d7e6a4f1c8b3d5e7f9a1b2c3d --csv review.csv

      photomend batch review batch_0f4c2b9d7e6a4f1c8b3d5e7f9a1b2c3d --apply review.csv --by Mia
    """
    if sheet is not None and apply is not None:
        raise typer.BadParameter("write a sheet, or apply one", param_hint="--csv, --apply")
    with connected(url, api_key) as client:
        if apply is not None:
            _apply(client, batch_id, apply, by)
        elif sheet is not None:
            text = client.review_sheet(batch_id, decision=cast("Decided", decision or "all"))
            sheet.write_text(text, encoding="utf-8", newline="")
            say(f"Saved {sheet}: fill in decision (accepted, rejected), by and note, then --apply it")
        else:
            for item in client.review_queue(batch_id, decision=cast("Decided", decision or "pending")):
                sys.stdout.write(json.dumps(item, ensure_ascii=False) + "\n")


def _apply(client: Client, batch_id: str, path: Path, by: str) -> None:
    """Write down what the sheet says and the service does not know yet."""
    from jobs.batches.review_sheet import read
    from jobs.delivery.errors import RowUnreadable

    try:
        with path.open(encoding="utf-8", newline="") as stream:
            lines = list(read(stream))
    except (OSError, UnicodeDecodeError, RowUnreadable) as err:
        say(f"{path} cannot be used: {err}", style="red")
        raise typer.Exit(exits.FAILED) from err
    known = {int(item["number"]): _latest(item) for item in client.review_queue(batch_id, decision="all")}
    new = [line for line in lines if known.get(line.number) != (line.decision, line.by or by, line.note)]
    for line in new:
        client.decide_item(
            batch_id, line.number, cast("Decision", str(line.decision)), by=line.by or by, note=line.note
        )
    say(f"{len(new)} decisions written down, {len(lines) - len(new)} were known")


def _latest(item: Any) -> tuple[str, str, str] | None:
    said = item["decisions"][-1] if item["decisions"] else None
    return None if said is None else (said["decision"], said["by"], said["note"])


def redo(
    batch_id: BatchId,
    numbers: Annotated[list[int], typer.Argument(metavar="LINE…", min=1, help="Of the manifest, from 1")],
    *,
    model: Annotated[str | None, flags.MODEL] = None,
    scale: Annotated[float | None, flags.SCALE] = None,
    strength: Annotated[float | None, flags.STRENGTH] = None,
    option: Annotated[list[str] | None, flags.OPTION] = None,
    by: By = "",
    url: Url = None,
    api_key: Key = None,
) -> None:
    """Make results once more in another way. They become versions (-v2, -v3 …) beside those that are there, which stay.

    Example: photomend batch redo batch_0f4c2b9d7e6a4f1c8b3d5e7f9a1b2c3d 17 204 --strength 0.5 --by Mia
    """
    wishes = {"model": model, "scale": scale, "strength": strength}
    options = pairs(option, "--option", value) | flags.as_options(wishes, only_center=False)
    with connected(url, api_key) as client:
        items = [{"number": number, "options": options} for number in dict.fromkeys(numbers)]
        batch = client.redo_items(batch_id, items, by=by)
        say(f"{batch.id} {batch.status}")
        sys.stdout.write(f"{batch.id}\n")
