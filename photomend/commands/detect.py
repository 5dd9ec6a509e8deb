"""``photomend detect``: the faces in pictures on this machine, with the ids that ``restore --faces`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from photomend import exits
from photomend.commands import flags
from photomend.commands.local import Device, WeightsDir, checked_options, load_networks, refuse, restart_tuned

if TYPE_CHECKING:
    from jobs.options import JobOptions
    from photomend.files import Input, Layout

_PICTURES, _MACHINE = "Pictures", flags.MACHINE
#: What a folder's results are called: beside restored pictures they must not be taken for them.
_SUFFIX = "-faces"


def detect(
    ctx: typer.Context,
    paths: Annotated[
        list[Path], typer.Argument(metavar="PHOTO…", help="Pictures and folders of pictures", show_default=False)
    ],
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Also write the picture with its faces marked (JPEG) and a JSON record: a file for one, else a folder",
            rich_help_panel=_PICTURES,
            show_default=False,
        ),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Look into subfolders", rich_help_panel=_PICTURES)
    ] = False,
    overwrite: Annotated[
        bool, typer.Option(help="Replace results that exist; inputs never are", rich_help_panel=_PICTURES)
    ] = False,
    faces: Annotated[list[str], flags.FACES] = ["all"],  # noqa: B006  (typer copies it)
    only_center: Annotated[bool, flags.ONLY_CENTER] = False,
    min_face_px: Annotated[int, flags.MIN_FACE_PX] = 0,
    max_face_px: Annotated[int | None, flags.MAX_FACE_PX] = None,
    max_faces: Annotated[int | None, flags.MAX_FACES] = None,
    min_score: Annotated[float, flags.MIN_SCORE] = 0.5,
    rotate: Annotated[bool, flags.ROTATE] = False,
    page: Annotated[int, flags.PAGE] = 1,
    weights_dir: WeightsDir = None,
    device: Device = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print the faces as JSON instead of a table",
            rich_help_panel=_MACHINE,
        ),
    ] = False,
) -> None:
    """Find the faces in pictures and say what `photomend restore` would do with each. Nothing is changed.

    Each face has an id that stays the same for the same picture, whatever other
    options say. `photomend restore --faces` takes ids, and so does the service.

    Examples:
      photomend detect group.jpg

      photomend detect group.jpg -o group-faces.jpg      (to look at: each face marked with its id)

      photomend restore group.jpg -o out/ --faces g5k2p,k7m1q

      photomend detect scans/ --recursive --json > faces.json
    """
    from jobs.kinds import Kind

    said = {
        "faces": faces,
        "min_face_px": min_face_px,
        "max_face_px": max_face_px,
        "max_faces": max_faces,
        "min_score": min_score,
        "rotate": rotate,
        "page": page,
    }
    words = flags.as_options(said, only_center=only_center) | {"outputs": ["image", "provenance"]}
    options = checked_options(Kind.DETECT, words)
    restart_tuned(ctx)
    run = _Run(paths=paths, out=out, recursive=recursive, overwrite=overwrite)
    _detect(run, options, weights_dir, device, as_json=as_json)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What to read and where to write, as said."""

    paths: list[Path]
    out: Path | None
    recursive: bool
    overwrite: bool


def _detect(run: _Run, options: JobOptions, weights_dir: Path | None, device: str | None, *, as_json: bool) -> None:
    from photomend.files import FileRefused
    from photomend.marking import Marker
    from photomend.outcomes import Failed
    from photomend.sightings import show
    from photomend.terminal import Terminal
    from pipeline.codec import Limits
    from pipeline.errors import PipelineError

    terminal = Terminal()
    try:
        sources, layout = _plan(run)
        with terminal.busy("loading the detector"):
            finder, max_pixels = load_networks(weights_dir, device)
            finder.require_detector()
    except (FileRefused, PipelineError) as error:
        raise refuse(terminal, error) from error
    limits = Limits(max_pixels=max_pixels)
    marker = Marker(finder=finder, options=options, layout=layout, limits=limits, overwrite=run.overwrite)
    outcomes = terminal.follow(sources, marker.mark_all)
    failed = [one for one in outcomes if isinstance(one, Failed)]
    if failed and len(outcomes) == 1:
        terminal.failure(failed[0])
    show(outcomes, as_json=as_json)
    terminal.notices([one.report for one in outcomes if not isinstance(one, Failed)])
    if failed:
        raise typer.Exit(exits.FAILED)


def _plan(run: _Run) -> tuple[tuple[Input, ...], Layout | None]:
    """The pictures, and where results go, if anywhere.

    Raises:
        FileRefused: nothing to do, or a path leads nowhere.
    """
    from photomend.files import FileRefused, Flat, OneFile, find_inputs, format_of_extension

    out = run.out
    announced = format_of_extension(out) if out is not None and not out.is_dir() else None
    if announced not in {None, "jpeg"}:
        raise typer.BadParameter(f"the picture with marks is a JPEG; name it .jpg, not {out}")
    if announced and (len(run.paths) > 1 or run.paths[0].is_dir()):
        raise typer.BadParameter(f"{out} is one file, and there are several pictures; name a folder")
    sources = find_inputs(run.paths, recursive=run.recursive, without=out)
    if not sources:
        raise FileRefused("no_pictures", f"There are no pictures in {', '.join(map(str, run.paths))}.")
    if out is None:
        return sources, None
    return sources, OneFile(path=out) if announced else Flat(folder=out, suffix=_SUFFIX)
