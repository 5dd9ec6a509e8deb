"""``photomend restore``: mend one picture or a folder on this machine, without any service."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from photomend import aliases

if TYPE_CHECKING:
    from jobs.options import JobOptions
    from photomend.files import Input, Layout
    from photomend.mending import Mender

EXIT_FAILED = 1


class LayoutName(StrEnum):
    """How results are laid out under the output folder."""

    FLAT = "flat"
    GFPGAN = "gfpgan"


_WHAT, _HOW, _FACES, _RESULT, _MACHINE = "Pictures", "Restoration", "Which faces", "Result", "This machine"


def restore(
    ctx: typer.Context,
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="IN…", help="Pictures and folders of pictures", show_default=False)
    ] = None,
    *,
    more: Annotated[
        list[Path] | None,
        typer.Option("--input", "-i", help="Another way to name IN", rich_help_panel=_WHAT, show_default=False),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Result file for one picture, else the results' folder", rich_help_panel=_WHAT
        ),
    ] = Path("results"),
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Look into subfolders; results keep them", rich_help_panel=_WHAT)
    ] = False,
    overwrite: Annotated[
        bool, typer.Option(help="Replace results that exist; inputs never are", rich_help_panel=_WHAT)
    ] = False,
    layout: Annotated[
        LayoutName,
        typer.Option(
            help="flat: OUT/name.jpg. gfpgan: restored_imgs/, cropped_faces/, restored_faces/, cmp/",
            rich_help_panel=_WHAT,
        ),
    ] = LayoutName.FLAT,
    suffix: Annotated[str, typer.Option(help="Appended to result names, such as -mended", rich_help_panel=_WHAT)] = "",
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-v",
            "--version",
            help="gfpgan-1.4, 1.3, 1.2, 1, restoreformer, preview. Unnamed: gfpgan-1.4, or preview if that is missing",
            rich_help_panel=_HOW,
            show_default=False,
        ),
    ] = None,
    scale: Annotated[
        float, typer.Option("--scale", "-s", "--upscale", help="Final size / input size, 1 to 4", rich_help_panel=_HOW)
    ] = 2.0,
    background: Annotated[
        str,
        typer.Option(
            "--background",
            "--bg-upsampler",
            "--bg_upsampler",
            help="Around the faces: auto, realesrgan-x2plus, realesrgan-x4plus, realesr-general-x4v3, preview-x2, "
            "none (plain resampling; untouched at scale 1)",
            rich_help_panel=_HOW,
        ),
    ] = "auto",
    denoise: Annotated[
        float, typer.Option(help="0 keeps grain, 1 removes it; realesr-general-x4v3 only", rich_help_panel=_HOW)
    ] = 0.5,
    tile_px: Annotated[
        int,
        typer.Option(
            "--tile-px", "--bg-tile", "--bg_tile", help="Background tile; 0 = by memory", rich_help_panel=_HOW
        ),
    ] = 0,
    strength: Annotated[
        float,
        typer.Option(
            "--strength", "-w", "--weight", help="0 = the original face, 1 = the network's", rich_help_panel=_HOW
        ),
    ] = 1.0,
    passes: Annotated[int, typer.Option(help="2 = restore each face twice", rich_help_panel=_HOW)] = 1,
    gray: Annotated[
        str, typer.Option(help="keep: a monochrome or toned original stays so. allow-color", rich_help_panel=_HOW)
    ] = "keep",
    seed: Annotated[
        int | None,
        typer.Option(help="Feeds the noise; results are the same in every run without it", rich_help_panel=_HOW),
    ] = None,
    faces: Annotated[str, typer.Option(help="all, center or largest", rich_help_panel=_FACES)] = "all",
    only_center: Annotated[
        bool,
        typer.Option(
            "--only-center-face", "--only_center_face", help="The same as --faces center", rich_help_panel=_FACES
        ),
    ] = False,
    min_face_px: Annotated[int, typer.Option(help="Leave smaller faces as they are", rich_help_panel=_FACES)] = 0,
    max_face_px: Annotated[
        int | None, typer.Option(help="Leave larger faces as they are", rich_help_panel=_FACES, show_default=False)
    ] = None,
    max_faces: Annotated[
        int | None, typer.Option(help="Restore at most so many", rich_help_panel=_FACES, show_default=False)
    ] = None,
    min_score: Annotated[
        float, typer.Option(help="How sure the detector must be, 0 to 1", rich_help_panel=_FACES)
    ] = 0.5,
    aligned: Annotated[
        bool, typer.Option("--aligned", help="IN are aligned face crops already", rich_help_panel=_FACES)
    ] = False,
    picture_format: Annotated[
        str,
        typer.Option("--format", "--ext", help="auto = the input's; jpeg, png, tiff, webp", rich_help_panel=_RESULT),
    ] = "auto",
    quality: Annotated[int, typer.Option(help="Of JPEG and WebP, 1 to 100", rich_help_panel=_RESULT)] = 95,
    bit_depth: Annotated[str, typer.Option(help="auto = the input's; 8, 16", rich_help_panel=_RESULT)] = "auto",
    outputs: Annotated[
        list[str],
        typer.Option(
            "--outputs",
            help="Of image, faces, comparison, mask, provenance; with commas or repeated",
            rich_help_panel=_RESULT,
        ),
    ] = ["image,provenance"],  # noqa: B006  (typer copies it)
    metadata: Annotated[
        str,
        typer.Option("--metadata", help="keep or strip EXIF, XMP and IPTC; ICC always stays", rich_help_panel=_RESULT),
    ] = "keep",
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
            help="auto, cpu, cuda:0 … (default: PHOTOMEND_DEVICE, auto)", rich_help_panel=_MACHINE, show_default=False
        ),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="auto = the fastest that is safe; exact = float32", rich_help_panel=_MACHINE)
    ] = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what happened as JSON on standard output", rich_help_panel=_MACHINE)
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
    words = {
        "model": aliases.MODELS.get(model, model) if model else None,
        "scale": scale,
        "background": aliases.BACKGROUNDS.get(background, background),
        "denoise": denoise,
        "tile_px": tile_px,
        "strength": strength,
        "faces": "center" if only_center else faces,
        "min_face_px": min_face_px,
        "max_face_px": max_face_px,
        "max_faces": max_faces,
        "min_score": min_score,
        "passes": passes,
        "aligned": aligned,
        "gray": gray,
        "format": aliases.FORMATS.get(picture_format, picture_format),
        "quality": quality,
        "bit_depth": bit_depth,
        "suffix": suffix,
        "outputs": [part.strip() for said in outputs for part in said.split(",") if part.strip()],
        "metadata_policy": metadata,
        "precision": precision,
        "seed": seed,
    }
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
        raise typer.Exit(EXIT_FAILED) from error
    except PipelineError as error:
        terminal.fail(f"{error.public} {error}", error.code)
        raise typer.Exit(EXIT_FAILED) from error
    outcomes = terminal.follow(sources, mender)
    terminal.summary(outcomes, run.out)
    if as_json:
        sys.stdout.write(terminal.as_json(outcomes) + "\n")
    if any(isinstance(outcome, Failed) for outcome in outcomes):
        raise typer.Exit(EXIT_FAILED)


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
        wrong = error.errors()[0]
        name = f"PHOTOMEND_{'_'.join(map(str, wrong['loc']))}".upper()
        raise FileRefused("invalid_setting", f"The setting {name} is not valid: {wrong['msg']}.") from error
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
