"""``photomend models``: which weights are known, getting them, checking them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from photomend import exits

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from pipeline.weights import WeightEntry, WeightStore

app = typer.Typer(help="The networks' weights: which are known, getting them, checking them.", no_args_is_help=True)

WeightsDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the weights [default: PHOTOMEND_WEIGHTS_DIR, ~/.local/share/photomend/weights]",
        show_default=False,
    ),
]


@app.command("list")
def list_models(*, weights_dir: WeightsDir = None) -> None:
    """Show every file that is known by name: what it is for, whether it is here, its licence.

    Example: photomend models list
    """
    from rich.console import Console
    from rich.table import Table

    from pipeline.arch.networks import can_build

    store = _store(weights_dir)
    table = Table(box=None, pad_edge=False)
    table.add_column("name", no_wrap=True)
    for column in ("for", "state", "size", "licence"):
        table.add_column(column, overflow="fold")
    for entry in store.entries():
        usable = can_build(entry.architecture)
        table.add_row(entry.name, entry.kind.value, _state(store, entry, usable=usable), _size(entry), entry.licence)
    console = Console()
    console.print(table)
    console.print(f"\nFolder: {store.folder}", style="dim", soft_wrap=True)
    console.print("Get one: photomend models fetch NAME", style="dim")


@app.command("fetch")
def fetch_models(
    names: Annotated[list[str], typer.Argument(metavar="NAME…", help="Names as `photomend models list` shows them")],
    *,
    trust_first_use: Annotated[
        bool, typer.Option("--trust-first-use", help="Take a file without a published hash, and record its hash")
    ] = False,
    weights_dir: WeightsDir = None,
) -> None:
    """Download released weights into the folder and check their hashes. Nothing else ever downloads.

    An interrupted download is continued by the same command. The files are their authors', under their licences.

    Example: photomend models fetch gfpgan-1.4 retinaface-resnet50 parsenet
    """
    from rich.console import Console

    from photomend.fetching import FetchError
    from pipeline.errors import PipelineError

    console = Console(stderr=True)
    try:
        store = _store(weights_dir)
        # All names first: a typing mistake in the last one should not wait for the first one's download.
        entries = [store.find(name) for name in names]
        for entry in entries:
            _fetch_one(store, entry, console, trust_first_use=trust_first_use)
    except (FetchError, PipelineError) as err:
        console.print(str(err), style="red", soft_wrap=True, markup=False)
        raise typer.Exit(exits.FAILED) from err


@app.command("verify")
def verify_models(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME…]", help="Names; all that are here when left out")
    ] = None,
    *,
    weights_dir: WeightsDir = None,
) -> None:
    """Compare the files' SHA-256 with the known ones; exit code 1 when one differs or is missing.

    Example: photomend models verify
    """
    from rich.console import Console

    from pipeline.errors import PipelineError, WeightsError

    console = Console()
    try:
        store = _store(weights_dir)
    except PipelineError as err:
        console.print(str(err), style="red", soft_wrap=True, markup=False)
        raise typer.Exit(exits.FAILED) from err
    wanted = names or [entry.name for entry in store.entries() if store.is_present(entry.name)]
    if not wanted:
        console.print(f"No weights are in {store.folder}; `photomend models fetch NAME` gets some.", soft_wrap=True)
    faults = 0
    for name in wanted:
        try:
            console.print(f"[green]ok[/]  {name}  {store.verify(name)}", soft_wrap=True)
        except WeightsError as err:
            faults += 1
            console.print(f"bad {name}: {err}", style="red", soft_wrap=True, markup=False)
    if faults:
        raise typer.Exit(exits.FAILED)


@app.command("convert")
def convert_model(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A checkpoint of the bilinear GFPGAN architecture")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The clean checkpoint to write; must not exist")],
    *,
    name: Annotated[
        str, typer.Option(help="The `model` that it shall stand in for, in the lines to add")
    ] = "gfpgan-1.2",
    weights_dir: WeightsDir = None,
) -> None:
    """Convert a bilinear GFPGAN checkpoint (own training) to the clean one of the released files.

    The clean network gives the same pictures; both are run on a trial face and compared before anything is written.
    A file of the original architecture (GFPGANv1.pth) has the same tensor names and would come out wrong: it is
    refused where its hash is known; do not convert your own training of it.

    Example: photomend models convert bilinear.pth clean.pth
    """
    from rich.console import Console

    from jobs.options import MODELS
    from photomend.converting import CLEAN, ConvertError, convert
    from pipeline.errors import PipelineError
    from pipeline.weights import LOCAL_FILE

    if name not in MODELS:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(MODELS)}", param_hint="--name")
    console = Console(stderr=True)
    try:
        store = _store(weights_dir)
        done = convert(source, target, store=store)
    except (ConvertError, PipelineError) as err:
        console.print(str(err), style="red", soft_wrap=True, markup=False)
        raise typer.Exit(exits.FAILED) from err
    console.print(f"{target}: same picture as {source.name} within {done.difference:.0e}", soft_wrap=True, markup=False)
    console.print(f"To use it, put it into {store.folder} and name it in {LOCAL_FILE} there:\n", soft_wrap=True)
    # To standard output, so that it can be appended to that file as it is.
    rows = {"name": name, "file": target.name, "kind": "restorer", "architecture": CLEAN, "sha256": done.sha256}
    rows |= {"label": f"converted from {source.name}"}
    lines = ["[[local]]", *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in rows.items())]
    typer.echo("\n".join(lines))


def _store(weights_dir: Path | None) -> WeightStore:
    from pipeline.weights import WeightStore
    from worker.settings import WorkerSettings

    return WeightStore(weights_dir or WorkerSettings().weights_dir, allow_preview=True)


def _state(store: WeightStore, entry: WeightEntry, *, usable: bool) -> str:
    if not usable:
        return "[dim]no network for it in this version[/]"
    if store.is_present(entry.name):
        return f"[green]here[/]{f' ({entry.label})' if entry.label else ''}"
    return "not here" if entry.sha256 else "not here, no published hash"


def _size(entry: WeightEntry) -> str:
    return "" if entry.bytes is None else f"{entry.bytes / 1e6:.0f} MB"


def _fetch_one(store: WeightStore, entry: WeightEntry, console: Console, *, trust_first_use: bool) -> None:
    from photomend.fetching import fetch
    from pipeline.errors import WeightsCorrupt

    if store.is_present(entry.name):
        try:
            console.print(f"{entry.name} is here already: {store.verify(entry.name)}", soft_wrap=True)
        except WeightsCorrupt as err:
            console.print(f"{err} Fetching it anew.", style="yellow", soft_wrap=True, markup=False)
        else:
            return
    console.print(f"{entry.file} from {entry.url}\nlicence: {entry.licence}", soft_wrap=True, markup=False)
    with _progress(console) as progress:
        digest = fetch(entry, store.folder, trust_first_use=trust_first_use, on_progress=_shown(progress, entry.file))
    console.print(f"[green]{entry.name}[/] {digest}", soft_wrap=True)


def _progress(console: Console) -> Progress:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    return Progress(*columns, TimeRemainingColumn(), console=console)


def _shown(progress: Progress, file: str) -> Callable[[int, int | None], None]:
    task = progress.add_task(file, total=None)

    def show(done: int, total: int | None) -> None:
        progress.update(task, completed=done, total=total)

    return show
