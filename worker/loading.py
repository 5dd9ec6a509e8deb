"""The engine that a worker process has: networks, engines and decoders by its settings."""

from __future__ import annotations

import torch

from pipeline.device import pick
from pipeline.provenance import versions
from pipeline.restorer import Restorer
from pipeline.weights import WeightStore
from worker.restoring import Restoring
from worker.sandbox.client import Sandbox
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
