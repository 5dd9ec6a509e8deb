"""A Celery app for tests: everything real but the networks, whose place a restorer without torch takes.

``options.seed`` says how long it works (milliseconds), else ``TEST_WORK_MS``, in ``TEST_STEPS`` pieces;
``tests/poison.py`` has pictures that do harm. What it does is noted in a file, out of band, so that a test can count
runs whatever the records say. This module is for tests only; no setting of the product leads here.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import structlog

from pipeline.composite import Composite
from pipeline.errors import WeightsMissing
from pipeline.options import RestoreOptions
from pipeline.picture import Picture
from pipeline.selection import found, select
from pipeline.types import Compute, Detection, Face, OnProgress, Restoration, Stage, compute_here
from tests import poison
from worker.consumer import create_app
from worker.node import Device
from worker.restoring import Restoring
from worker.sandbox.client import Sandbox, sandbox_bounds
from worker.settings import WorkerSettings

STEPS = int(os.environ.get("TEST_STEPS", "20"))
_HISTORY = Path(os.environ["TEST_HISTORY"])
_WORK_MS = int(os.environ.get("TEST_WORK_MS", "0"))


class SlowResize:
    """Resizes, in steps on the lane, as slowly as it is told to."""

    def require(self, options: RestoreOptions) -> None:
        if options.model not in {None, "preview"}:
            raise WeightsMissing(f"{options.model} is not in /secret/folder: `photomend models fetch {options.model}`")

    def __call__(
        self,
        picture: Picture,
        options: RestoreOptions,
        *,
        on_progress: OnProgress | None = None,
        compute: Compute = compute_here,
    ) -> Restoration:
        began = note("began", seed=options.seed)
        step_s = (options.seed or _WORK_MS) / 1000 / STEPS
        compute(lambda: poison.act(picture.width), stage=Stage.RESTORE, megapixels=512 * 512 / 1e6)
        for step in range(STEPS):
            if on_progress:
                on_progress(Stage.RESTORE, step / STEPS)
            compute(lambda: time.sleep(step_s), stage=Stage.RESTORE, megapixels=512 * 512 / 1e6)
        height, width = (round(side * options.scale) for side in (picture.height, picture.width))
        note("ended")
        return Restoration(
            canvas=Composite(picture, (width, height)),
            faces=(),
            crops=(),
            warnings=(),
            seconds={Stage.RESTORE: time.time() - began},
            model={"name": "slow-resize"},
        )

    def require_detector(self) -> None:
        pass

    def find(
        self,
        picture: Picture,
        options: RestoreOptions,
        *,
        on_progress: OnProgress | None = None,
        compute: Compute = compute_here,
    ) -> Detection:
        """Finds one face, the left half of every picture."""
        note("began", seed=None)
        compute(lambda: None, stage=Stage.DETECT, megapixels=1.0)
        width, height = picture.width, picture.height
        landmarks = np.array([[0.1, 0.3], [0.4, 0.3], [0.25, 0.5], [0.1, 0.7], [0.4, 0.7]]) * [width, height]
        half = Face(box=(0.0, 0.0, width / 2, height - 1.0), landmarks=landmarks.astype(np.float32), score=0.9)
        faces = found(select([half], options, width=width, height=height))
        note("ended")
        return Detection(faces=faces, warnings=(), seconds={Stage.DETECT: 0.5}, model={"name": "left-half"})


def note(event: str, **facts: object) -> float:
    """One line in the history; appended in one write, so that processes do not mix."""
    now = time.time()
    job = structlog.contextvars.get_contextvars().get("job_id")
    line = json.dumps({"at": now, "pid": os.getpid(), "event": event, "job": job, **facts})
    with _HISTORY.open("a") as history:
        history.write(line + "\n")
    return now


_settings = WorkerSettings()
_sandbox = Sandbox(sandbox_bounds(_settings), required=_settings.sandbox_required, module="tests.hostile_zygote")
app = create_app(
    _settings,
    build_engine=lambda: Restoring(
        SlowResize(),
        name="fake",
        # The second is a name that options know, so that a batch can be pinned to it.
        models=[{"name": "slow-resize", "kind": "restorer"}, {"name": "preview", "kind": "restorer"}],
        max_pixels=_settings.max_pixels,
        large_pixels=_settings.large_pixels,
        decode=_sandbox.decode,
    ),
    device=Device(is_lost=poison.is_lost),
)
