"""The Celery app whose jobs are nothing but a piece of device work of known length."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs.model import Kind
from jobs.options import JobOptions
from jobs.store import JobStore
from pipeline.types import Compute, OnProgress, Stage
from tests.faults.pictures import mended
from tests.faults.storm.overhead import WORK_S, OneObject, Stopwatch
from worker.consumer import app_around
from worker.engine import Outcome, Product
from worker.node import Node
from worker.settings import WorkerSettings


class OnePiece:
    """The ``Engine`` of a job with one piece of device work."""

    name = "one-piece"

    def __init__(self, watch: Stopwatch) -> None:
        self._watch = watch

    def warm_up(self, compute: Compute) -> None: ...

    def models(self) -> Sequence[dict[str, Any]]:
        return ()

    def require(self, kind: Kind, options: JobOptions) -> None: ...

    def run(
        self, kind: Kind, data: bytes, options: JobOptions, *, on_progress: OnProgress, compute: Compute
    ) -> Outcome:
        on_progress(Stage.RESTORE, 0.0)
        compute(self._work, stage=Stage.RESTORE, megapixels=1.0)
        on_progress(Stage.ENCODE, 0.0)
        image = Product(part="image", data=mended(data), content_type="image/png", extension="png")
        return Outcome(products=(image,), width=1, height=1, megapixels=1.0)

    def _work(self) -> None:
        began = time.monotonic()
        time.sleep(WORK_S)
        self._watch.note(time.monotonic() - began)


_settings = WorkerSettings()
_watch = Stopwatch(Path(os.environ["TEST_HISTORY"]).parent)
app = app_around(
    Node(
        _settings,
        store=JobStore.connect(_settings),
        blobs=OneObject(),
        build_engine=lambda: OnePiece(_watch),
    ),
    _settings,
)
