"""Getting the models ready, and saying plainly when they cannot be."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import structlog

from pipeline.errors import PipelineError
from pipeline.types import Stage
from worker.engine import Engine
from worker.lane import Lane
from worker.lane_figures import WARM_UP

T = TypeVar("T")

logger = structlog.get_logger(__name__)

#: How long to wait before the weights folder is looked at again (seconds): someone may be fetching into it.
RETRY_S = 10.0


class Readiness:
    """Builds the engine once per process, behind a lock, and warms it up on the lane before anyone counts on it."""

    def __init__(self, build: Callable[[], Engine], lane: Lane) -> None:
        self._build = build
        self._lane = lane
        self._lock = threading.Lock()
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine | None:
        """The engine once it is warm, else None: then this process takes no jobs."""
        return self._engine

    def prepare(self) -> bool:
        """Try to become ready; whether it is. What is missing is logged with what to do about it."""
        with self._lock:
            if self._engine is not None:
                return True
            try:
                engine = self._build()
                engine.warm_up(self._compute)
            except PipelineError as error:
                problem, code = str(error), error.code
            else:
                self._engine = engine
                logger.info("ready", engine=engine.name, models=[_name(m) for m in engine.models()])
                return True
        logger.error(
            "not ready: this worker takes no jobs until its models can be loaded",
            code=code,
            problem=problem,
            retry_in_s=RETRY_S,
        )
        return False

    def _compute(self, work: Callable[[], T], *, stage: Stage, megapixels: float) -> T:
        # A label of its own: loading and first runs say nothing about how long the work takes later.
        return self._lane.submit(work, megapixels=megapixels, label=f"{WARM_UP} {stage.value}").result()


def _name(model: dict[str, Any]) -> str:
    return str(model.get("name"))
