"""``photomend evaluate``: restorers and detectors measured by the field's measures, against plain resampling."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from photomend import exits
from photomend.commands import flags
from photomend.commands.local import Device, WeightsDir, machine_settings, refuse

if TYPE_CHECKING:
    from photomend.terminal import Terminal
    from pipeline.evaluation.detection import Detections, Material
    from pipeline.evaluation.measures import Measures
    from pipeline.evaluation.restoration import Mean
    from pipeline.evaluation.samples import Sample
    from pipeline.training.faces import Faces
    from pipeline.types import FloatImage
    from pipeline.weights import WeightStore

_PICTURES, _JUDGED, _OUTPUT = "Pictures", "What is judged", "Output"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The command's words."""

    faces: Path
    degraded: Path | None
    severities: list[str]
    seed: int
    most: int | None
    models: list[str]
    measures: list[str]
    detectors: list[str]
    photos: Path | None
    face_free: Path | None
    out: Path | None
    grid_rows: int
    device: str


def evaluate(
    faces: Annotated[
        Path, typer.Argument(metavar="FACES", help="Folder of undamaged aligned faces, 512 x 512", show_default=False)
    ],
    *,
    degraded: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the same faces degraded, by the same names; left out: FACES are degraded here",
            rich_help_panel=_PICTURES,
            show_default=False,
        ),
    ] = None,
    severity: Annotated[
        list[str], typer.Option(help="light, medium, severe; repeatable", rich_help_panel=_PICTURES)
    ] = ["light", "medium", "severe"],  # noqa: B006  (typer copies it)
    seed: Annotated[int, typer.Option(min=0, help="Of the degradation", rich_help_panel=_PICTURES)] = 20210111,
    most: Annotated[
        int | None, typer.Option(min=1, help="Only the first so many faces", rich_help_panel=_PICTURES)
    ] = None,
    model: Annotated[
        list[str],
        typer.Option(
            "--model",
            "-m",
            help="Restorer to judge: a name (`photomend models list`) or a checkpoint's file; repeatable",
            rich_help_panel=_JUDGED,
        ),
    ] = ["preview"],  # noqa: B006  (typer copies it)
    measure: Annotated[
        list[str] | None,
        typer.Option(
            help="psnr, ssim, vgg, lpips, landmarks, identity, niqe, fid, kid; repeatable; all when left out",
            rich_help_panel=_JUDGED,
            show_default=False,
        ),
    ] = None,
    detector: Annotated[
        list[str] | None,
        typer.Option(
            help="Also judge this detector (mobile0.25): a file, or `preview`; repeatable",
            rich_help_panel=_JUDGED,
            show_default=False,
        ),
    ] = None,
    photos: Annotated[
        Path | None,
        typer.Option(help="Whole photos that detectors are tried on too", rich_help_panel=_JUDGED, show_default=False),
    ] = None,
    face_free: Annotated[
        Path | None,
        typer.Option(
            help="Pictures without faces, for false alarms; left out: ten of scikit-image's, where it is installed",
            rich_help_panel=_JUDGED,
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder for evaluation.csv, evaluation.json, evaluation.png (a plot) and grid.png",
            rich_help_panel=_OUTPUT,
            show_default=False,
        ),
    ] = None,
    grid_rows: Annotated[
        int, typer.Option(min=0, help="Faces of each severity in the grid", rich_help_panel=_OUTPUT)
    ] = 4,
    threads: Annotated[
        int, typer.Option(min=1, help="CPU threads; other counts give other last digits", rich_help_panel=flags.MACHINE)
    ] = 2,
    weights_dir: WeightsDir = None,
    device: Device = None,
) -> None:
    """Measure restorers and detectors: PSNR, SSIM, LPIPS, FID, NIQE, identity and more, against the degraded input.

    FACES are degraded at three severities under a fixed seed, or paired with
    --degraded. Measures whose weights are not in the weights folder are named as not
    run. A released checkpoint is judged by its file, as it was downloaded.

    Examples:
      photomend evaluate faces/val -m preview -o figures/

      photomend evaluate faces/val -m preview -m gfpgan-1.4 -m ~/runs/net_g_latest.pth --severity medium

      photomend evaluate celeba/hq --degraded celeba/lq -m GFPGANv1.3.pth --measure lpips --measure fid

      photomend evaluate faces/val --most 4 --detector preview --photos photos/
    """
    from photomend.terminal import Terminal

    terminal = Terminal()
    wanted = Wanted(
        faces=faces,
        degraded=degraded,
        severities=severity,
        seed=seed,
        most=most,
        models=model,
        measures=measure or [],
        detectors=detector or [],
        photos=photos,
        face_free=face_free,
        out=out,
        grid_rows=grid_rows,
        device=device or "cpu",
    )
    _check_words(wanted)
    from photomend.files import FileRefused
    from pipeline.errors import PipelineError
    from pipeline.training.recipe import set_threads
    from pipeline.weights import WeightStore

    set_threads(threads)
    try:
        folder = weights_dir or machine_settings().weights_dir
        _evaluate(wanted, WeightStore(folder, allow_preview=True), terminal)
    except (PipelineError, FileRefused) as error:
        raise refuse(terminal, error) from error
    except OSError as error:
        terminal.fail(f"{error.filename}: {error.strerror}", "file")
        raise typer.Exit(exits.FAILED) from error


def _check_words(wanted: Wanted) -> None:
    from pipeline.evaluation.measures import ALL
    from pipeline.training.degrade import Severity

    for words, known, what in (
        (wanted.severities, [s.value for s in Severity], "--severity"),
        (wanted.measures, [m.name for m in ALL], "--measure"),
    ):
        unknown = [word for word in words if word not in known]
        if unknown:
            raise typer.BadParameter(f"{what} {unknown[0]!r} is unknown; {', '.join(known)} are known")


def _evaluate(wanted: Wanted, weights: WeightStore, terminal: Terminal) -> None:
    from pipeline.device import pick
    from pipeline.evaluation import report, restoration, subjects
    from pipeline.evaluation.measures import Measures
    from pipeline.training.faces import Faces

    originals = Faces(wanted.faces)
    device = pick(wanted.device)
    judged = [subjects.plain(), *(subjects.restorer(word, weights, device) for word in wanted.models)]
    measures = Measures(weights.folder, wanted.measures)
    grid = report.Grid(wanted.grid_rows)
    groups = 1 if wanted.degraded else len(wanted.severities)
    total = groups * min(len(originals), wanted.most or len(originals))
    with terminal.steps("evaluating", total) as step:

        def seen(sample: Sample, restored: dict[str, FloatImage]) -> None:
            grid.add(sample, restored)
            step(f"{sample.group} {sample.name}")

        rows, means = restoration.evaluate(judged, _samples(wanted, originals), measures, seen=seen)
    _show_means(terminal, means, measures)
    found = _detections(wanted, weights, originals, terminal)
    if wanted.out is None:
        return
    wanted.out.mkdir(parents=True, exist_ok=True)
    more: dict[str, Any] = {
        "faces": str(wanted.faces),
        "degraded": None if wanted.degraded is None else str(wanted.degraded),
        "seed": None if wanted.degraded else wanted.seed,
        "not_run": measures.not_run,
        "detectors": [asdict(d) for d in found],
    }
    report.write_csv(wanted.out / report.CSV_FILE, means)
    report.write_json(wanted.out / report.JSON_FILE, means=means, rows=rows, more=more)
    grid.write(wanted.out / report.GRID_FILE)
    try:
        report.plot(wanted.out / report.PLOT_FILE, means, measures.taken())
    except ImportError:
        terminal.console.print("No plot: `pip install 'photomend[evaluate]'` brings what draws it.", soft_wrap=True)
    terminal.console.print(f"Written to {wanted.out}", style="green", soft_wrap=True)


def _samples(wanted: Wanted, originals: Faces) -> Any:
    from pipeline.evaluation import samples
    from pipeline.training.degrade import Severity

    if wanted.degraded is not None:
        return samples.paired(wanted.degraded, originals, most=wanted.most)
    severities = [Severity(word) for word in wanted.severities]
    return samples.degraded(originals, severities, seed=wanted.seed, most=wanted.most)


def _show_means(terminal: Terminal, means: list[Mean], measures: Measures) -> None:
    from rich.table import Table

    table = Table(title="Restored faces against their originals (means)")
    columns = ("group", "subject", "faces", *(m.title for m in measures.taken()))
    for heading in columns:
        table.add_column(heading)
    figures = {(m.group, m.subject, m.measure): m for m in means}
    for group, subject in dict.fromkeys((m.group, m.subject) for m in means):
        of_these = [figures.get((group, subject, m.name)) for m in measures.taken()]
        faces = max(m.count for m in of_these if m is not None)
        table.add_row(group, subject, str(faces), *("" if m is None else f"{m.mean:.4g}" for m in of_these))
    terminal.console.print(table)
    for name, reason in measures.not_run.items():
        terminal.console.print(f"{name} not run: {reason}", soft_wrap=True, markup=False)


def _detections(wanted: Wanted, weights: WeightStore, originals: Faces, terminal: Terminal) -> list[Detections]:
    if not wanted.detectors:
        return []
    from pipeline.evaluation import detection, helpers
    from pipeline.training import recipe
    from pipeline.weights import preview_folder

    reference = recipe.read_detector(weights.folder / helpers.HELPERS["landmarks"].file)
    own = {"preview": preview_folder() / recipe.DETECTOR_FILE}
    material = _material(wanted, originals)
    found = []
    for word in wanted.detectors:
        network = recipe.read_detector(own.get(word, Path(word)))
        with terminal.steps(f"detector {word}", None) as step:
            found.append(detection.detections(word, network, reference, material, told=step))
    _show_detections(terminal, found)
    return found


def _material(wanted: Wanted, originals: Faces) -> Material:
    from pipeline.evaluation.detection import Material, pictures_in, read_pixels
    from pipeline.training import recipe

    if wanted.face_free is not None:
        pictures = {path.name: read_pixels(path) for path in pictures_in(wanted.face_free)}
    else:
        try:
            pictures = recipe.face_free_pictures()
        except ImportError:
            pictures = {}
    return Material(crops=originals, photos=wanted.photos, face_free=dict(pictures))


def _show_detections(terminal: Terminal, found: list[Detections]) -> None:
    from rich.table import Table

    table = Table(title="Detectors against the reference")
    for heading in ("detector", "pictures", "there", "found", "recall", "not there", "landmark error / box"):
        table.add_column(heading)
    for one in found:
        for r in one.recalls:
            error = f"{r.landmark_error:.4f}"
            table.add_row(one.detector, r.protocol, str(r.there), str(r.found), f"{r.share:.1%}", str(r.extra), error)
        alarms = sum(map(len, one.alarms.values()))
        table.add_row(one.detector, f"{len(one.alarms)} without a face", "0", "", "", str(alarms), "")
    terminal.console.print(table)
