"""Our pipeline as the benchmark runs it: whole files through ``pipeline.restoration.process``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from photomend.bench import seeded
from photomend.bench.contest import Ran, Workshop
from pipeline.codec import read
from pipeline.compat import prepare
from pipeline.engines.choice import AUTO, Engines
from pipeline.options import OutputOptions, RestoreOptions
from pipeline.picture import Picture
from pipeline.restoration import process
from pipeline.restorer import Restorer
from pipeline.types import Canvas, Compute, FaceStatus, OnProgress, Restoration, compute_here
from pipeline.weights import WeightStore

PRECISION = Literal["auto", "exact"]
#: No mask, no record: what upstream makes.
OUTPUT = OutputOptions(outputs=("image",))
#: Rows that are painted at a time to be looked at.
BAND_PX = 256


class Ours:
    """Restores files by one restorer."""

    def __init__(self, restorer: Restorer, *, model: str | None, precision: PRECISION) -> None:
        prepare()
        self._restorer, self._model, self._precision = restorer, model, precision

    def __call__(self, source: Path, *, scale: float, aligned: bool = False) -> Ran:
        """One file, from its bytes to the result's.

        Raises:
            RuntimeError: a face was not restored, so that this would be no measurement.
        """
        options = RestoreOptions(
            model=self._model, scale=scale, background="none", precision=self._precision, aligned=aligned
        )
        keeping = _Keeping(self._restorer)
        outputs = process(source.read_bytes(), options=options, output=OUTPUT, restorer=keeping)
        failed = [face.reason for face in outputs.report.faces if face.status is FaceStatus.FAILED]
        if failed:
            raise RuntimeError(f"{source.name}: {failed}")
        return Ran(output=keeping.pixels, stages=outputs.report.seconds, how=_how(outputs.report.model))


def _how(model: Mapping[str, Any]) -> dict[str, str]:
    """Engine and precision of the networks that a report tells of."""
    told = {"restorer": model, "parser": model.get("parser")}
    return {name: f"{one['engine']} {one['precision']}" for name, one in told.items() if one}


class _Keeping:
    """A restorer that keeps its last result, so that its pixels can be looked at before a codec changed them."""

    def __init__(self, restorer: Restorer) -> None:
        self._restorer = restorer
        self._canvas: Canvas | None = None

    def require(self, options: RestoreOptions) -> None:
        self._restorer.require(options)

    def __call__(
        self,
        picture: Picture,
        options: RestoreOptions,
        *,
        on_progress: OnProgress | None = None,
        compute: Compute = compute_here,
    ) -> Restoration:
        found = self._restorer(picture, options, on_progress=on_progress, compute=compute)
        self._canvas = found.canvas
        return found

    def pixels(self) -> NDArray[np.uint8]:
        """(H, W, 3) sRGB, painted anew in bands, as the encoder does."""
        assert self._canvas is not None  # noqa: S101 - asked for after the call
        height = self._canvas.height
        bands = [self._canvas.band(slice(at, min(height, at + BAND_PX))).image for at in range(0, height, BAND_PX)]
        return np.concatenate([np.rint(np.clip(band, 0, 1) * 255).astype(np.uint8) for band in bands])


def full_size(place: Workshop, *, precision: PRECISION) -> Ours:
    """On the seeded full-size networks, by the fastest engine."""
    shelf = seeded.shelf_of(place)
    engines = Engines.choose(shelf.device, cache=place.folder / "cache")
    return Ours(Restorer(shelf, engines), model=seeded.RESTORER, precision=precision)


def reference(place: Workshop) -> Ours:
    """The same by torch in float32, which other engines and precisions are compared with."""
    return Ours(Restorer(seeded.shelf_of(place)), model=seeded.RESTORER, precision="exact")


def preview(place: Workshop) -> Ours:
    """On the preview pack alone."""
    nowhere = place.folder / "no-weights"
    nowhere.mkdir(parents=True, exist_ok=True)
    store = WeightStore(nowhere, allow_preview=True)
    restorer = Restorer.load(store, device="cpu", engine=AUTO, cache=place.folder / "cache")
    return Ours(restorer, model=None, precision="auto")


def write_faces(place: Workshop, source: Path, target: Path) -> None:
    """Where our detection sees faces that a restoration would restore, as facexlib's detector tells of them.

    A JSON list of x0, y0, x1, y1, score and five landmarks x, y each, in source px.
    """
    picture = read(source.read_bytes()).picture
    found = Restorer(seeded.shelf_of(place, is_costly=False)).find(picture, RestoreOptions())
    wanted = (face for face in found.faces if face.status not in {FaceStatus.REJECTED, FaceStatus.SKIPPED})
    faces = [[*face.box, face.score, *(value for point in face.landmarks for value in point)] for face in wanted]
    target.write_text(json.dumps([[float(value) for value in face] for face in faces]))
