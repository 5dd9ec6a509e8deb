"""The Celery app of the storm's worker processes: everything real but the networks, and a witness at each port."""

from __future__ import annotations

import os
from pathlib import Path

from jobs.blobs import BlobStore
from tests.faults.history import History
from tests.faults.pictures import PictureEngine, limit_process
from tests.faults.witness import WitnessBlobs, WitnessStore
from worker.consumer import app_around
from worker.node import Node
from worker.settings import WorkerSettings

limit_process()

_settings = WorkerSettings()
_history = History(Path(os.environ["TEST_HISTORY"]))
app = app_around(
    Node(
        _settings,
        store=WitnessStore.watched(_settings, _history),
        blobs=WitnessBlobs(BlobStore.connect(_settings), _history),
        build_engine=lambda: PictureEngine(_history),
    ),
    _settings,
)
