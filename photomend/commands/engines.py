"""``photomend engines``: what runs the networks on this machine, how fast, how exactly, and why."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from photomend.commands.local import Device, Engine, WeightsDir, machine_settings, refuse, restart_tuned

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.engines.choice import Engines
    from pipeline.shelf import Shelf


def engines(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NETWORK]…", help="Which networks to try; all that are here unless named", show_default=False
        ),
    ] = None,
    *,
    weights_dir: WeightsDir = None,
    device: Device = None,
    engine: Engine = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output")] = False,
) -> None:
    """Run each network in every way that this machine has, and say how fast it is, how exact, and what is chosen.

    A way is an engine (torch, openvino, cuda-graph) and a precision. Each is shown a
    canary picture: it is used only if it agrees with torch in float32 well enough.
    Networks are exported and measurements kept in PHOTOMEND_CACHE_DIR, which is bounded
    by itself and may be deleted at any time.

    Examples:
      photomend engines

      photomend engines preview parsenet

      photomend engines --engine torch --json

      PHOTOMEND_ENGINE=torch photomend worker     (a worker that uses torch alone)
    """
    from photomend.files import FileRefused
    from photomend.terminal import Terminal
    from pipeline.errors import PipelineError

    restart_tuned(ctx)
    terminal = Terminal()
    try:
        with terminal.busy("running the networks in every way"):
            report = _report(names or [], weights_dir, device, engine)
    except (FileRefused, PipelineError) as error:
        raise refuse(terminal, error) from error
    if as_json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        _show(report)


def _report(names: list[str], weights_dir: Path | None, device: str | None, engine: str | None) -> dict[str, Any]:
    """Everything that was measured, in JSON's terms.

    Raises:
        FileRefused, PipelineError: see the messages.
    """
    from pipeline.device import pick
    from pipeline.engines.choice import AUTO, WORTH_IT, Engines, every
    from pipeline.engines.verdicts import machine
    from pipeline.shelf import Shelf
    from pipeline.trial import present
    from pipeline.weights import WeightStore

    settings = machine_settings()
    chosen = pick(device or settings.device)
    wish = engine or settings.engine
    shelf = Shelf(WeightStore(weights_dir or settings.weights_dir, allow_preview=True), chosen)
    found = Engines.choose(chosen, wish=wish, cache=settings.cache_dir)
    missing = {one.name: one.missing() for one in every(chosen, settings.cache_dir)}
    wanted = names or list(present(shelf))
    return {
        "device": str(chosen),
        "threads": machine(chosen)["threads"],
        "wish": wish,
        "reduced_precision": {"gain": found.gain(), "needed": WORTH_IT},
        "cache": _cache(settings.cache_dir),
        "engines": [
            {
                "engine": str(one.name),
                "version": one.version,
                "available": missing[one.name] is None,
                "reason": missing[one.name] or _not_wished(one.name, wish, AUTO),
            }
            for one in every(chosen, settings.cache_dir)
        ],
        "networks": [row for name in wanted for row in _rows(shelf, found, name)],
    }


def _cache(folder: Path) -> dict[str, Any]:
    from pipeline.engines.exported import Exports

    exports = Exports.under(folder)
    stored = exports.stored()
    return {
        "folder": str(folder),
        "exported": len(stored),
        "bytes": sum(one.size for one in stored),
        "most_bytes": exports.most_bytes,
    }


def _not_wished(name: str, wish: str, auto: str) -> str | None:
    return None if wish in {auto, name} or name == "torch" else f"not wished: PHOTOMEND_ENGINE or --engine says {wish}"


def _rows(shelf: Shelf, found: Engines, name: str) -> list[dict[str, Any]]:
    from pipeline.trial import trials

    return [
        {
            "network": one.network,
            "kind": str(one.kind),
            "engine": str(one.way.engine),
            "precision": str(one.way.precision),
            "runs": one.seconds is not None,
            "seconds": one.seconds,
            # JSON has no infinity: null where it is the reference itself, or does not run.
            "agrees_db": one.agrees_db if math.isfinite(one.agrees_db) else None,
            "needs_db": one.needs_db,
            "used_for": list(one.used_for),
        }
        for one in trials(shelf, found, name)
    ]


def _show(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table("engine", "version", "here", box=None, pad_edge=False)
    for one in report["engines"]:
        table.add_row(one["engine"], one["version"], "yes" if one["reason"] is None else f"no: {one['reason']}")
    console.print(table)
    console.print()
    table = Table("network", "engine", "precision", box=None, pad_edge=False)
    for column in ("seconds", "agrees", "needed"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("used for")
    for one in report["networks"]:
        table.add_row(
            one["network"],
            one["engine"],
            one["precision"],
            f"{one['seconds']:.3f}" if one["runs"] else "does not run",
            "" if one["agrees_db"] is None else f"{one['agrees_db']:.1f} dB",
            f"{one['needs_db']:.0f} dB",
            ", ".join(f"precision={word}" for word in one["used_for"]),
            style="bold" if one["used_for"] else "",
        )
    console.print(table)
    _explain(console, report)


def _explain(console: Console, report: dict[str, Any]) -> None:
    gain, needed = report["reduced_precision"]["gain"], report["reduced_precision"]["needed"]
    if gain is not None:
        verdict = "worth it" if gain >= needed else "not used"
        console.print(
            f"\nReduced precision computes {gain:.1f} times as fast as float32 here ({needed} is needed): {verdict}.",
            style="dim",
        )
    console.print(
        f"Seconds are for the canary's picture on {report['device']}, {report['threads']} threads; agreement is with "
        "torch in float32.",
        style="dim",
        soft_wrap=True,
    )
    cache = report["cache"]
    console.print(
        f"Kept in {cache['folder']}: {cache['exported']} exported or compiled networks, {cache['bytes'] / 1e6:,.0f} MB "
        f"of at most {cache['most_bytes'] / 1e6:,.0f}; the longest unused go first.",
        style="dim",
        soft_wrap=True,
    )
