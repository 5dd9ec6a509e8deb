"""``photomend restore``: mend one picture or a folder on this machine, without any service."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from photomend import exits
from photomend.commands import flags
from photomend.commands.deliver import FolderJob, restore_folder
from photomend.commands.local import Device, Engine, WeightsDir, checked_options, load_networks, refuse, restart_tuned

if TYPE_CHECKING:
    from jobs.options import JobOptions
    from photomend.files import Input, Layout
    from photomend.mending import Mender

_PICTURES, _DELIVERY, _MACHINE = "Pictures", "Delivery", flags.MACHINE


class LayoutName(StrEnum):
    """How results are laid out under the output folder."""

    FLAT = "flat"
    GFPGAN = "gfpgan"


def restore(
    ctx: typer.Context,
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="IN…", help="Pictures and folders of pictures", show_default=False)
    ] = None,
    *,
    more: Annotated[
        list[Path] | None,
        typer.Option("--input", "-i", help="Another way to name IN", rich_help_panel=_PICTURES, show_default=False),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Result file for one picture, else the results' folder",
            rich_help_panel=_PICTURES,
        ),
    ] = Path("results"),
    recursive: Annotated[
        bool,
        typer.Option("--recursive", "-r", help="Look into subfolders; results keep them", rich_help_panel=_PICTURES),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option(help="Replace results that exist; inputs never are", rich_help_panel=_PICTURES)
    ] = False,
    layout: Annotated[
        LayoutName,
        typer.Option(
            help="flat: OUT/name.jpg. gfpgan: restored_imgs/, cropped_faces/, restored_faces/, cmp/",
            rich_help_panel=_PICTURES,
        ),
    ] = LayoutName.FLAT,
    report: Annotated[
        bool,
        typer.Option(
            "--report",
            help="Work on the folder as one delivery that goes on where it was stopped, and write "
            "OUT/photomend-report: CSV, JSON Lines, a page with a contact sheet, checksums",
            rich_help_panel=_DELIVERY,
        ),
    ] = False,
    manifest: Annotated[
        Path | None,
        typer.Option(
            help="The delivery's pictures, below IN: JSON Lines (source, sha256, options, output), CSV with such a "
            "heading, or sha256sum's lines. Checksums are verified before work. Means --report",
            rich_help_panel=_DELIVERY,
            show_default=False,
        ),
    ] = None,
    at_once: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            min=1,
            max=16,
            help="Pictures of a delivery in work at a time: the networks work on one, others are read and written "
            "meanwhile (default: 2 with a GPU; 1 without, where one has all cores anyway)",
            rich_help_panel=_DELIVERY,
            show_default=False,
        ),
    ] = None,
    model: Annotated[str | None, flags.MODEL] = None,
    scale: Annotated[float, flags.SCALE] = 2.0,
    background: Annotated[str, flags.BACKGROUND] = "auto",
    denoise: Annotated[float, flags.DENOISE] = 0.5,
    tile_px: Annotated[int, flags.TILE_PX] = 0,
    strength: Annotated[float, flags.STRENGTH] = 1.0,
    passes: Annotated[int, flags.PASSES] = 1,
    gray: Annotated[str, flags.GRAY] = "keep",
    seed: Annotated[int | None, flags.SEED] = None,
    faces: Annotated[list[str], flags.FACES] = ["all"],  # noqa: B006  (typer copies it)
    only_center: Annotated[bool, flags.ONLY_CENTER] = False,
    min_face_px: Annotated[int, flags.MIN_FACE_PX] = 0,
    max_face_px: Annotated[int | None, flags.MAX_FACE_PX] = None,
    max_faces: Annotated[int | None, flags.MAX_FACES] = None,
    min_score: Annotated[float, flags.MIN_SCORE] = 0.5,
    rotate: Annotated[bool, flags.ROTATE] = False,
    aligned: Annotated[bool, flags.ALIGNED] = False,
    page: Annotated[int, flags.PAGE] = 1,
    picture_format: Annotated[str, flags.FORMAT] = "auto",
    quality: Annotated[int, flags.QUALITY] = 95,
    bit_depth: Annotated[str, flags.BIT_DEPTH] = "auto",
    suffix: Annotated[str, flags.SUFFIX] = "",
    outputs: Annotated[list[str], flags.OUTPUTS] = ["image,provenance"],  # noqa: B006  (typer copies it)
    metadata: Annotated[str, flags.METADATA] = "keep",
    weights_dir: WeightsDir = None,
    device: Device = None,
    engine: Engine = None,
    precision: Annotated[str, flags.PRECISION] = "auto",
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print what happened as JSON on standard output", rich_help_panel=_MACHINE),
    ] = False,
) -> None:
    """Mend pictures on this machine: find the faces, restore them, enlarge the rest, keep everything else.

    A result is the same kind of picture as its input: format, bit depth, gray or
    colour, transparency, colour profile and metadata stay. Beside each result lies a
    record of what was done (name.provenance.json).

    Examples:
      photomend restore old.jpg -o mended.jpg

      photomend restore scans/ -o mended/ --recursive --scale 1 --background none

      photomend restore old.jpg -o out/ --outputs image,comparison,mask,faces

      photomend restore scans/ -o mended/ --recursive --report     (again after a stop: it goes on)

      photomend restore scans/ -o mended/ --manifest scans.sha256

      photomend restore group.jpg -o out/ --faces g5k2p,k7m1q     (ids from photomend detect group.jpg)

      photomend restore -i inputs -o results -v 1.3 -s 2 --layout gfpgan     (as GFPGAN's own script)
    """
    said = {
        "model": model,
        "scale": scale,
        "background": background,
        "denoise": denoise,
        "tile_px": tile_px,
        "strength": strength,
        "faces": faces,
        "min_face_px": min_face_px,
        "max_face_px": max_face_px,
        "max_faces": max_faces,
        "min_score": min_score,
        "rotate": rotate,
        "passes": passes,
        "aligned": aligned,
        "gray": gray,
        "page": page,
        "format": picture_format,
        "quality": quality,
        "bit_depth": bit_depth,
        "suffix": suffix,
        "outputs": outputs,
        "metadata_policy": metadata,
        "precision": precision,
        "seed": seed,
    }
    from jobs.kinds import Kind

    is_delivery = report or manifest is not None
    of_precision = ctx.get_parameter_source("precision")
    if is_delivery and of_precision is not None and of_precision.name == "DEFAULT":
        # As in a batch of the service: the same pixels on every machine count more than speed.
        said["precision"] = "exact"
    words = flags.as_options(said, only_center=only_center)
    checked_options(Kind.RESTORE, words)
    restart_tuned(ctx)
    wanted = [*(paths or []), *(more or [])]
    if is_delivery:
        if layout is not LayoutName.FLAT:
            raise typer.BadParameter("a delivery keeps the folder's own layout; leave --layout out")
        job = FolderJob(
            paths=wanted,
            out=out,
            manifest=manifest,
            recursive=recursive,
            overwrite=overwrite,
            at_once=at_once,
            weights_dir=weights_dir,
            device=device,
            engine=engine,
        )
        restore_folder(job, words, as_json=as_json)
        return
    run = _Run(paths=wanted, out=out, recursive=recursive, overwrite=overwrite, layout=layout)
    _restore(run, words, _Machine(weights_dir=weights_dir, device=device, engine=engine), as_json=as_json)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What to read and where to write, as said."""

    paths: list[Path]
    out: Path
    recursive: bool
    overwrite: bool
    layout: LayoutName


@dataclass(frozen=True, slots=True, kw_only=True)
class _Machine:
    """What to work with, where something was said."""

    weights_dir: Path | None
    device: str | None
    engine: str | None


def _restore(run: _Run, words: dict[str, Any], machine: _Machine, *, as_json: bool) -> None:
    from photomend import outcomes as told
    from photomend.files import FileRefused
    from photomend.outcomes import Failed
    from photomend.terminal import Terminal
    from pipeline.errors import PipelineError

    terminal = Terminal()
    try:
        sources, options, layout = _plan(run, words)
        with terminal.busy("loading the networks"):
            mender = _mender(run, options, layout, machine)
    except (FileRefused, PipelineError) as error:
        raise refuse(terminal, error) from error
    outcomes = terminal.follow(sources, mender.mend_all)
    terminal.summary(outcomes, run.out)
    if as_json:
        sys.stdout.write(told.as_json(outcomes) + "\n")
    if any(isinstance(outcome, Failed) for outcome in outcomes):
        raise typer.Exit(exits.FAILED)


def _plan(run: _Run, words: dict[str, Any]) -> tuple[tuple[Input, ...], JobOptions, Layout]:
    """The pictures, the options with what the result's name says, and where results go.

    Raises:
        FileRefused: nothing to do, or a path leads nowhere.
    """
    from jobs.kinds import Kind
    from photomend.files import FileRefused, Flat, Gfpgan, OneFile, find_inputs, format_of_extension

    if not run.paths:
        raise typer.BadParameter("name at least one picture or folder", param_hint="IN")
    to_one_file = len(run.paths) == 1 and not run.paths[0].is_dir() and not run.out.is_dir()
    announced = format_of_extension(run.out) if to_one_file and run.layout is LayoutName.FLAT else None
    if announced and words["format"] not in {"auto", announced}:
        raise typer.BadParameter(f"the result is named {run.out.name}, but --format says {words['format']}")
    if announced and words["suffix"]:
        raise typer.BadParameter(f"the result is named {run.out.name} in full; leave --suffix out or name a folder")
    if announced:
        words = words | {"format": announced}
    if run.layout is LayoutName.GFPGAN and "faces" not in words["outputs"]:
        words = words | {"outputs": [*words["outputs"], "faces"]}
    options = checked_options(Kind.RESTORE, words)
    sources = find_inputs(run.paths, recursive=run.recursive, without=run.out)
    if not sources:
        hint = "" if run.recursive else "; --recursive looks into its subfolders"
        raise FileRefused("no_pictures", f"There are no pictures in {', '.join(map(str, run.paths))}{hint}.")
    if announced:
        return sources, options, OneFile(path=run.out)
    kind = Gfpgan if run.layout is LayoutName.GFPGAN else Flat
    return sources, options, kind(folder=run.out, suffix=options.suffix)


def _mender(run: _Run, options: JobOptions, layout: Layout, machine: _Machine) -> Mender:
    """The networks, loaded, and refused at once where they cannot do what is wanted.

    Raises:
        FileRefused: a setting in the environment is wrong.
        PipelineError: no weights, no such device or engine, or an option that the model cannot honour.
    """
    from photomend.mending import Mender
    from pipeline.codec import Limits
    from worker.mapping import restore_options

    restorer, max_pixels = load_networks(machine.weights_dir, machine.device, machine.engine)
    restorer.require(restore_options(options))
    return Mender(
        restorer=restorer,
        options=options,
        layout=layout,
        limits=Limits(max_pixels=max_pixels),
        overwrite=run.overwrite,
        with_cmp=run.layout is LayoutName.GFPGAN,
    )
