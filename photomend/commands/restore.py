"""``photomend restore``: mend one picture or a folder on this machine, without any service."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from photomend import exits
from photomend.commands import flags
from photomend.faults import wrong_settings

if TYPE_CHECKING:
    from jobs.options import JobOptions
    from photomend.files import Input, Layout
    from photomend.mending import Mender

_PICTURES, _MACHINE = "Pictures", flags.MACHINE


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
    model: Annotated[str | None, flags.MODEL] = None,
    scale: Annotated[float, flags.SCALE] = 2.0,
    background: Annotated[str, flags.BACKGROUND] = "auto",
    denoise: Annotated[float, flags.DENOISE] = 0.5,
    tile_px: Annotated[int, flags.TILE_PX] = 0,
    strength: Annotated[float, flags.STRENGTH] = 1.0,
    passes: Annotated[int, flags.PASSES] = 1,
    gray: Annotated[str, flags.GRAY] = "keep",
    seed: Annotated[int | None, flags.SEED] = None,
    faces: Annotated[str, flags.FACES] = "all",
    only_center: Annotated[bool, flags.ONLY_CENTER] = False,
    min_face_px: Annotated[int, flags.MIN_FACE_PX] = 0,
    max_face_px: Annotated[int | None, flags.MAX_FACE_PX] = None,
    max_faces: Annotated[int | None, flags.MAX_FACES] = None,
    min_score: Annotated[float, flags.MIN_SCORE] = 0.5,
    aligned: Annotated[bool, flags.ALIGNED] = False,
    picture_format: Annotated[str, flags.FORMAT] = "auto",
    quality: Annotated[int, flags.QUALITY] = 95,
    bit_depth: Annotated[str, flags.BIT_DEPTH] = "auto",
    suffix: Annotated[str, flags.SUFFIX] = "",
    outputs: Annotated[list[str], flags.OUTPUTS] = ["image,provenance"],  # noqa: B006  (typer copies it)
    metadata: Annotated[str, flags.METADATA] = "keep",
    weights_dir: Annotated[
        Path | None,
        typer.Option(
            help="Where `photomend models fetch` put weights (default: PHOTOMEND_WEIGHTS_DIR)",
            rich_help_panel=_MACHINE,
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="auto, cpu, cuda:0 … (default: PHOTOMEND_DEVICE, auto)",
            rich_help_panel=_MACHINE,
            show_default=False,
        ),
    ] = None,
    precision: Annotated[str, flags.PRECISION] = "auto",
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print what happened as JSON on standard output", rich_help_panel=_MACHINE),
    ] = False,
) -> None:
    """Mend pictures on this machine: find the faces, restore them, enlarge the rest, keep everything else.

    A result is the same kind of picture as its input: format, bit depth, gray or colour, transparency, colour profile
    and metadata stay. Beside each result lies a record of what was done (name.provenance.json).

    Examples:
      photomend restore old.jpg -o mended.jpg

      photomend restore scans/ -o mended/ --recursive --scale 1 --background none

      photomend restore old.jpg -o out/ --outputs image,comparison,mask,faces

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
        "passes": passes,
        "aligned": aligned,
        "gray": gray,
        "format": picture_format,
        "quality": quality,
        "bit_depth": bit_depth,
        "suffix": suffix,
        "outputs": outputs,
        "metadata_policy": metadata,
        "precision": precision,
        "seed": seed,
    }
    words = flags.as_options(said, only_center=only_center)
    _options(words)
    _restart_tuned(ctx)
    wanted = [*(paths or []), *(more or [])]
    run = _Run(paths=wanted, out=out, recursive=recursive, overwrite=overwrite, layout=layout)
    _restore(run, words, weights_dir, device, as_json=as_json)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What to read and where to write, as said."""

    paths: list[Path]
    out: Path
    recursive: bool
    overwrite: bool
    layout: LayoutName


def _restore(run: _Run, words: dict[str, Any], weights_dir: Path | None, device: str | None, *, as_json: bool) -> None:
    from photomend.files import FileRefused
    from photomend.mending import Failed
    from photomend.terminal import Terminal
    from pipeline.errors import PipelineError

    terminal = Terminal()
    try:
        sources, options, layout = _plan(run, words)
        with terminal.busy("loading the networks"):
            mender = _mender(run, options, layout, weights_dir, device)
    except FileRefused as error:
        terminal.fail(str(error), error.code)
        raise typer.Exit(exits.FAILED) from error
    except PipelineError as error:
        terminal.fail(f"{error.public} {error}", error.code)
        raise typer.Exit(exits.FAILED) from error
    outcomes = terminal.follow(sources, mender)
    terminal.summary(outcomes, run.out)
    if as_json:
        sys.stdout.write(terminal.as_json(outcomes) + "\n")
    if any(isinstance(outcome, Failed) for outcome in outcomes):
        raise typer.Exit(exits.FAILED)


def _options(words: dict[str, Any]) -> JobOptions:
    """The options, checked by the one vocabulary that the service uses too."""
    from jobs.errors import InvalidOption
    from jobs.options import JobOptions

    try:
        return JobOptions.from_mapping(words)
    except InvalidOption as error:
        raise typer.BadParameter(error.detail) from error


def _plan(run: _Run, words: dict[str, Any]) -> tuple[tuple[Input, ...], JobOptions, Layout]:
    """The pictures, the options with what the result's name says, and where results go.

    Raises:
        FileRefused: nothing to do, or a path leads nowhere.
    """
    from photomend.files import FileRefused, Flat, Gfpgan, OneFile, find_inputs, format_of_extension

    if not run.paths:
        raise typer.BadParameter("name at least one picture or folder", param_hint="IN")
    to_one_file = len(run.paths) == 1 and not run.paths[0].is_dir() and not run.out.is_dir()
    announced = format_of_extension(run.out) if to_one_file and run.layout is LayoutName.FLAT else None
    if announced and words["format"] not in {"auto", announced}:
        raise typer.BadParameter(f"the result is named {run.out.name}, but --format says {words['format']}")
    if announced:
        words = words | {"format": announced}
    if run.layout is LayoutName.GFPGAN and "faces" not in words["outputs"]:
        words = words | {"outputs": [*words["outputs"], "faces"]}
    options = _options(words)
    sources = find_inputs(run.paths, recursive=run.recursive, without=run.out)
    if not sources:
        hint = "" if run.recursive else "; --recursive looks into its subfolders"
        raise FileRefused("no_pictures", f"There are no pictures in {', '.join(map(str, run.paths))}{hint}.")
    if announced:
        return sources, options, OneFile(path=run.out)
    kind = Gfpgan if run.layout is LayoutName.GFPGAN else Flat
    return sources, options, kind(folder=run.out, suffix=options.suffix)


def _mender(run: _Run, options: JobOptions, layout: Layout, weights_dir: Path | None, device: str | None) -> Mender:
    """The networks, loaded, and refused at once where they cannot do what is wanted.

    Raises:
        FileRefused: a setting in the environment is wrong.
        PipelineError: no weights, no such device, or an option that the model cannot honour.
    """
    from pydantic import ValidationError

    from photomend.files import FileRefused
    from photomend.mending import Mender
    from pipeline.codec import Limits
    from pipeline.restorer import Restorer
    from pipeline.weights import WeightStore
    from worker.mapping import restore_options
    from worker.settings import WorkerSettings

    try:
        settings = WorkerSettings()
    except ValidationError as error:
        raise FileRefused("invalid_setting", " ".join(wrong_settings(error))) from error
    # The user sits before the terminal that says so, hence the preview pack may stand in.
    weights = WeightStore(weights_dir or settings.weights_dir, allow_preview=True)
    restorer = Restorer.load(weights, device=device or settings.device)
    restorer.require(restore_options(options))
    return Mender(
        restorer=restorer,
        options=options,
        layout=layout,
        limits=Limits(max_pixels=settings.max_pixels),
        overwrite=run.overwrite,
        with_cmp=run.layout is LayoutName.GFPGAN,
    )


def _restart_tuned(ctx: typer.Context) -> None:
    """Start this program once more, with glibc's allocator set up for torch: it reads its variables at start only.

    Worth 1.25 to 1.5 times the speed on a CPU. Only where the whole process is this command's, never in a test runner.
    """
    if not ctx.obj or not ctx.obj.get("own_process") or not sys.platform.startswith("linux"):
        return
    from worker.processes import ALLOCATOR
    from worker.settings import environment_with

    tuned = environment_with({}, defaults=ALLOCATOR)
    if tuned != environment_with({}, defaults={}):
        os.execve(sys.executable, sys.orig_argv, tuned)  # noqa: S606  (the same program with the same words)
