"""The Celery app of the benchmark's worker: the usual one, on the seeded networks in ``PHOTOMEND_WEIGHTS_DIR``."""

from __future__ import annotations

from photomend.bench import seeded
from photomend.bench.contest import Workshop
from pipeline.engines.choice import Engines
from pipeline.restorer import Restorer
from worker.consumer import create_app
from worker.restoring import Restoring
from worker.sandbox.client import Sandbox, sandbox_bounds
from worker.settings import WorkerSettings


def load_engine(settings: WorkerSettings, sandbox: Sandbox) -> Restoring:
    """As ``worker.loading`` does, with the detector that costs what the full-size one does and finds all the same."""
    sandbox.start()
    place = Workshop(folder=settings.weights_dir.parent)
    shelf = seeded.shelf_of(place)
    return Restoring(
        Restorer(shelf, Engines.choose(shelf.device, cache=place.folder / "cache")),
        name="seeded networks",
        models=shelf.available(),
        max_pixels=settings.max_pixels,
        large_pixels=settings.large_pixels,
        decode=sandbox.decode,
    )


_settings = WorkerSettings()
_sandbox = Sandbox(sandbox_bounds(_settings), required=_settings.sandbox_required)
app = create_app(_settings, build_engine=lambda: load_engine(_settings, _sandbox))
