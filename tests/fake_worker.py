"""A Celery app for tests: everything real but the networks, whose place a restorer without torch takes.

``options.seed`` says how long it works (milliseconds). What it does is noted in a file, out of band, so that a test
can count runs whatever the records say. This module is for tests only; no setting of the product leads here.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import structlog

from pipeline.errors import WeightsMissing
from pipeline.options import RestoreOptions
from pipeline.resize import resize
from pipeline.types import Compute, FloatImage, OnProgress, Restoration, Stage, compute_here
from worker.consumer import create_app
from worker.restoring import Restoring
from worker.settings import WorkerSettings

STEPS = 20
_HISTORY = Path(os.environ["TEST_HISTORY"])


class SlowResize:
    """Resizes, in steps on the lane, as slowly as it is told to."""

    def require(self, options: RestoreOptions) -> None:
        if options.model not in {None, "preview"}:
            raise WeightsMissing(f"{options.model} is not in /secret/folder: `photomend models fetch {options.model}`")

    def __call__(
        self,
        image: FloatImage,
        options: RestoreOptions,
        *,
        on_progress: OnProgress | None = None,
        compute: Compute = compute_here,
    ) -> Restoration:
        began = note("began", seed=options.seed)
        for step in range(STEPS):
            if on_progress:
                on_progress(Stage.RESTORE, step / STEPS)
            compute(
                lambda: time.sleep((options.seed or 0) / 1000 / STEPS), stage=Stage.RESTORE, megapixels=512 * 512 / 1e6
            )
        height, width = (round(side * options.scale) for side in image.shape[:2])
        note("ended")
        return Restoration(
            image=resize(image, width, height),
            changed=np.zeros((height, width), np.float32),
            faces=(),
            crops=(),
            warnings=(),
            seconds={Stage.RESTORE: time.time() - began},
            model={"name": "slow-resize"},
        )


def note(event: str, **facts: object) -> float:
    """One line in the history; appended in one write, so that processes do not mix."""
    now = time.time()
    job = structlog.contextvars.get_contextvars().get("job_id")
    line = json.dumps({"at": now, "pid": os.getpid(), "event": event, "job": job, **facts})
    with _HISTORY.open("a") as history:
        history.write(line + "\n")
    return now


_settings = WorkerSettings()
app = create_app(
    _settings,
    build_engine=lambda: Restoring(
        SlowResize(),
        name="fake",
        models=[{"name": "slow-resize", "kind": "restorer"}],
        max_pixels=_settings.max_pixels,
    ),
)
