"""What ``celery -A worker.app:app worker`` finds: the real networks behind the real settings."""

from __future__ import annotations

from pipeline.device import SHORTAGES, allocated_bytes, allocated_share, describe, is_lost
from worker.consumer import create_app
from worker.loading import load_engine
from worker.node import Device
from worker.sandbox.client import Sandbox, sandbox_bounds
from worker.settings import WorkerSettings

_settings = WorkerSettings()
_sandbox = Sandbox(sandbox_bounds(_settings), required=_settings.sandbox_required)
app = create_app(
    _settings,
    build_engine=lambda: load_engine(_settings, _sandbox),
    device=Device(
        is_lost=is_lost,
        share=lambda: allocated_share(_settings.device),
        allocated_bytes=lambda: allocated_bytes(_settings.device),
        shortages=lambda: SHORTAGES.count,
        words=lambda: describe(_settings.device),
    ),
)
