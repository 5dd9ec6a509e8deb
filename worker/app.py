"""What ``celery -A worker.app:app worker`` finds: the real networks behind the real settings."""

from __future__ import annotations

import torch

from pipeline.device import allocated_share, describe, is_lost, pick
from pipeline.provenance import versions
from pipeline.restorer import Restorer
from pipeline.weights import WeightStore
from worker.consumer import create_app
from worker.node import Device
from worker.restoring import Restoring
from worker.sandbox.client import Sandbox, sandbox_bounds
from worker.settings import WorkerSettings


def load_engine(settings: WorkerSettings, sandbox: Sandbox) -> Restoring:
    """The engine that the settings describe; networks are loaded when they are first used."""
    sandbox.start()
    weights = WeightStore(settings.weights_dir, allow_preview=settings.allow_preview)
    restorer = Restorer.load(weights, device=settings.device, engine=settings.engine, cache=settings.cache_dir)
    return Restoring(
        restorer,
        name=f"photomend {versions()['photomend']}, torch {torch.__version__} on {pick(settings.device)}",
        models=restorer.available(),
        max_pixels=settings.max_pixels,
        large_pixels=settings.large_pixels,
        decode=sandbox.decode,
        most_faces=settings.max_faces,
    )


_settings = WorkerSettings()
_sandbox = Sandbox(sandbox_bounds(_settings), required=_settings.sandbox_required)
app = create_app(
    _settings,
    build_engine=lambda: load_engine(_settings, _sandbox),
    device=Device(
        is_lost=is_lost,
        share=lambda: allocated_share(_settings.device),
        words=lambda: describe(_settings.device),
    ),
)
