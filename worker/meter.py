"""What one worker process tells of its work: to Prometheus by its supervisor, to the fleet's board as an effort."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from jobs.backlog import BASE_COST, estimated_cost, faces_of
from jobs.effort import Effort
from jobs.metrics import catalogue, instruments
from jobs.metrics.instruments import CollectorRegistry
from jobs.model import Job, Result
from worker.lane_figures import WARM_UP, LaneFigures
from worker.lease import Stop

#: Weight of the newest job in what jobs take; the first ones count alike.
LEARNING_RATE = 0.05
#: Stages whose time on the device grows with the faces; all others but the enlarging take it for every picture.
_FACE_STAGES = ("restore", "parse", "identify")
_UPSAMPLE = "upsample"
#: Of a job's metrics, the times of its stages.
STAGES = (
    "fetch", "decode", "detect", "align", "restore", "parse", "identify", "upsample", "blend", "encode", "store",
)  # fmt: skip
#: As a label: a warm-up is one thing, whatever it warms.
_WARM_UP_STAGE = "warm_up"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """What a job took and had, in the mean."""

    host_s: float = 0.0  #: outside the lane
    picture_s: float = 0.0  #: of the device, whatever is in the picture
    upsample_s: float = 0.0
    face_s: float = 0.0  #: all of its faces
    faces: float = 0.0
    megapixels: float = 0.0
    estimated: float = 0.0  #: megapixels, by its bytes

    def moved_to(self, new: _Taken, *, by: float) -> _Taken:
        pairs = ((f.name, getattr(self, f.name), getattr(new, f.name)) for f in dataclasses.fields(self))
        return _Taken(**{name: old + by * (now - old) for name, old, now in pairs})


def _taken(job: Job, result: Result, host_s: float, device_s: Mapping[str, float]) -> _Taken:
    face_s, upsample_s = sum(device_s.get(stage, 0.0) for stage in _FACE_STAGES), device_s.get(_UPSAMPLE, 0.0)
    return _Taken(
        host_s=host_s,
        picture_s=max(0.0, sum(device_s.values()) - face_s - upsample_s),
        upsample_s=upsample_s,
        face_s=face_s,
        faces=faces_of(result),
        megapixels=result.metrics.get("megapixels", 0.0),
        estimated=estimated_cost(job.input_bytes) - BASE_COST,
    )


class Efforts:
    """Learns what jobs take from each one that succeeded. Safe from several threads."""

    def __init__(self) -> None:
        self._jobs = 0
        self._mean = _Taken()
        self._lock = threading.Lock()

    def learn(self, job: Job, result: Result, *, host_s: float, device_s: Mapping[str, float]) -> None:
        """``host_s``: what it took outside the lane; ``device_s``: what the lane computed for it, by stage."""
        with self._lock:
            self._jobs += 1
            rate = max(LEARNING_RATE, 1 / self._jobs)
            self._mean = self._mean.moved_to(_taken(job, result, host_s, device_s), by=rate)

    def effort(self, *, threads: int) -> Effort | None:
        """For a process with so many jobs at a time; None before the first job."""
        with self._lock:
            jobs, mean = self._jobs, self._mean
        if not jobs:
            return None
        lane_s = mean.picture_s + mean.upsample_s + mean.face_s
        waits_s = max(0.0, (lane_s + mean.host_s) / max(1, threads) - lane_s)
        return Effort(
            job_s=mean.picture_s + waits_s,
            megapixel_s=mean.upsample_s / mean.megapixels if mean.megapixels > 0 else 0.0,
            face_s=mean.face_s / mean.faces if mean.faces > 0 else 0.0,
            faces=mean.faces,
            megapixels=mean.megapixels / mean.estimated if mean.estimated > 0 else 1.0,
        )


class Meter:
    """The figures of one process. Safe from several threads, but ``lane``, which one at a time may call."""

    def __init__(self, *, process: str = "worker", registry: CollectorRegistry | None = None) -> None:
        """``process``: its name among those of its supervisor."""
        registry = registry or CollectorRegistry()
        self.efforts = Efforts()
        self._process = process
        self._queue_wait = instruments.histogram(catalogue.QUEUE_WAIT, registry)
        self._stages = instruments.histogram(catalogue.STAGE_SECONDS, registry)
        self._attempts = instruments.counter(catalogue.ATTEMPTS, registry)
        self._leases_lost = instruments.counter(catalogue.LEASES_LOST, registry)
        self._lane_s = instruments.counter(catalogue.LANE_SECONDS, registry)
        self._lane_busy_s = instruments.counter(catalogue.LANE_BUSY, registry)
        self._lane_runs = instruments.counter(catalogue.LANE_RUNS, registry)
        self._lane_items = instruments.counter(catalogue.LANE_ITEMS, registry)
        self._lane_places = instruments.counter(catalogue.LANE_PLACES, registry)
        self._shortages = instruments.counter(catalogue.DEVICE_OOM, registry)
        self._device_memory = instruments.gauge(catalogue.DEVICE_MEMORY, registry)
        self._lane_before = LaneFigures(elapsed_s=0.0, busy_s={}, runs={}, items={}, places={})
        self._shortages_before = 0

    def claimed(self, job: Job) -> None:
        """Its first attempt has begun, or a further one, which says nothing of how long jobs wait."""
        if job.epoch == 1 and job.started_at is not None:
            self._queue_wait.labels(str(job.priority)).observe(max(0.0, job.started_at - job.created_at))

    def succeeded(self, job: Job, result: Result, *, host_s: float, device_s: Mapping[str, float]) -> None:
        """``host_s``: what it took outside the lane; ``device_s``: what the lane computed for it, by stage."""
        for stage in STAGES:
            if (seconds := result.metrics.get(f"{stage}_s")) is not None:
                self._stages.labels(stage).observe(seconds)
        self.efforts.learn(job, result, host_s=host_s, device_s=device_s)

    def attempted(self, ending: str) -> None:
        self._attempts.labels(ending).inc()

    def lost(self, reason: Stop) -> None:
        """A lease, under a running job."""
        self._leases_lost.labels(reason.value).inc()

    def lane(self, now: LaneFigures) -> None:
        """Add what came since the last call."""
        new, self._lane_before = now.since(self._lane_before), now
        self._lane_s.inc(max(0.0, new.elapsed_s))
        for told, by_label in (
            (self._lane_busy_s, new.busy_s),
            (self._lane_runs, new.runs),
            (self._lane_items, new.items),
            (self._lane_places, new.places),
        ):
            for label, value in by_label.items():
                told.labels(_WARM_UP_STAGE if label.startswith(WARM_UP) else label).inc(max(0.0, value))

    def device(self, *, allocated_bytes: int, shortages: int) -> None:
        """``shortages``: how often memory did not suffice since the process began."""
        self._device_memory.labels(self._process).set(allocated_bytes)
        self._shortages.inc(max(0, shortages - self._shortages_before))
        self._shortages_before = shortages
