"""What ``celery -A worker.app:app worker`` finds: the real networks behind the real settings."""

from __future__ import annotations

import torch

from pipeline.device import pick
from pipeline.restorer import Restorer
from pipeline.weights import WeightStore
from worker.consumer import create_app
from worker.restoring import Restoring
from worker.settings import WorkerSettings


def load_engine(settings: WorkerSettings) -> Restoring:
    """The engine that the settings describe; networks are loaded when they are first used."""
    weights = WeightStore(settings.weights_dir, allow_preview=settings.allow_preview)
    restorer = Restorer.load(weights, device=settings.device)
    return Restoring(
        restorer,
        name=f"torch {torch.__version__} on {pick(settings.device)}",
        models=restorer.available(),
        max_pixels=settings.max_pixels,
    )


_settings = WorkerSettings()
app = create_app(_settings, build_engine=lambda: load_engine(_settings))
