"""Every metric that photomend exports: name, labels, what it says, and which process says it. Pure data.

Names, units and labels follow Prometheus' own advice: base units, ``_total`` for what only grows, one label for one
question, and no label that a stranger could fill. Figures of the fleet are read from Redis by whoever is asked, so each
API process tells the same ones: take the ``max`` of them, never the sum. Everything else is summed.

Source: https://prometheus.io/docs/practices/naming/ and https://prometheus.io/docs/practices/instrumentation/
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

#: Start of every name.
PREFIX = "photomend_"


class Kind(StrEnum):
    """Prometheus' types, as they stand in the text format."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Source(StrEnum):
    """Who exports it."""

    FLEET = "fleet"  #: every API process, from Redis: all say the same
    API = "api"
    KEEPER = "keeper"
    WORKER = "worker"  #: the supervisor, for all processes that it runs
    ALL = "all"  #: each of these


#: Upper bounds of histograms, in the metric's own unit. Waits: from a free worker to a backlog of a night.
WAITS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0, 14400.0)
#: Stages: a face on a GPU takes milliseconds, a large scan on a CPU minutes.
STAGES_S = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0, 600.0)
#: Answers of the API: they touch Redis once or twice.
ANSWERS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
#: Callbacks: the schedule goes from seconds to three days.
LAGS_S = (0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 43200.0, 259200.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric."""

    name: str  #: as it stands in queries; of a histogram without ``_bucket``, ``_sum`` and ``_count``
    kind: Kind
    help: str
    source: Source
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()  #: upper bounds; histograms only
    #: Counters only: values of the labels that are told from the beginning, as 0. To Prometheus a series that comes
    #: with its first event has not risen by it.
    known: tuple[tuple[str, ...], ...] = ()

    @property
    def series(self) -> tuple[str, ...]:
        """The names that a query may use."""
        if self.kind is not Kind.HISTOGRAM:
            return (self.name,)
        return tuple(f"{self.name}_{part}" for part in ("bucket", "sum", "count"))


def _counter(name: str, text: str, source: Source, *labels: str, known: tuple[tuple[str, ...], ...] = ()) -> Metric:
    return Metric(name=f"{PREFIX}{name}", kind=Kind.COUNTER, help=text, source=source, labels=labels, known=known)


def _each(*words: str) -> tuple[tuple[str, ...], ...]:
    """Values of one label."""
    return tuple((word,) for word in words)


def _gauge(name: str, text: str, source: Source, *labels: str) -> Metric:
    return Metric(name=f"{PREFIX}{name}", kind=Kind.GAUGE, help=text, source=source, labels=labels)


def _histogram(name: str, text: str, source: Source, *labels: str, buckets: tuple[float, ...]) -> Metric:
    return Metric(name=f"{PREFIX}{name}", kind=Kind.HISTOGRAM, help=text, source=source, labels=labels, buckets=buckets)


#: Ends that a process brings upon itself.
FAULTS = (
    "SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE", "exit", "hang", "memory", "out_of_memory",
)  # fmt: skip

BUILD = _gauge("build_info", "1; which version runs as what.", Source.ALL, "version", "component")

# -- the fleet, from Redis

STORE_UP = _gauge("store_up", "1 = Redis answered this scrape; 0 = the fleet's figures are missing.", Source.FLEET)
BACKLOG_WORK = _gauge(
    "backlog_work_seconds",
    "Work that waits, runs or is to come of batches, in measured seconds of one worker process: what to scale on.",
    Source.FLEET,
)
WAITING = _gauge(
    "waiting_jobs",
    "Accepted jobs that no worker has, by priority; suspect: those to run alone since a process died under them.",
    Source.FLEET,
    "priority",
)
SENT = _gauge("sent_jobs", "Of the waiting jobs, those on their way to a worker.", Source.FLEET, "priority")
RUNNING = _gauge("running_jobs", "Jobs that a worker has.", Source.FLEET, "priority")
OLDEST_WAITING = _gauge(
    "oldest_waiting_seconds",
    "Age of the oldest waiting job since its submit; 0 = none waits.",
    Source.FLEET,
    "priority",
)
WORKERS = _gauge("workers", "Worker processes that take jobs and said so lately.", Source.FLEET)
SLOTS = _gauge("slots", "Jobs at a time of these processes, by state: free or busy.", Source.FLEET, "state")
SUBMITTED = _counter(
    "jobs_submitted_total",
    "Jobs that were accepted.",
    Source.FLEET,
    "priority",
    known=_each("interactive", "batch"),
)
JOBS = _counter(
    "jobs_total",
    "Jobs that ended, by state (succeeded, failed, canceled) and the error's code; code is empty where there is none.",
    Source.FLEET,
    "state",
    "code",
    known=(("succeeded", ""), ("failed", "internal"), ("canceled", "")),
)
RETURNED = _counter(
    "jobs_returned_total",
    "Running jobs that went back to wait, by reason: lapsed (their lease ended), released (their worker gave them up), "
    "process_ended (their worker process was gone).",
    Source.FLEET,
    "reason",
    known=_each("lapsed", "released", "process_ended"),
)
RESENT = _counter(
    "jobs_resent_total", "Jobs sent to a worker again since nobody had claimed them.", Source.FLEET, known=((),)
)
SUSPECTED = _counter(
    "jobs_suspected_total",
    "Jobs put into quarantine since a process died or hung under them, by cause, such as SIGSEGV, memory or hang.",
    Source.FLEET,
    "cause",
    known=_each(*FAULTS, "device_lost"),
)
DEAD_LETTERS = _gauge(
    "dead_letters", "Jobs given up as poison or interrupted too often, while their records last.", Source.FLEET
)
FACES = _counter("faces_total", "Faces restored, or found where nothing else was asked for.", Source.FLEET, "tenant")
MEGAPIXELS = _counter("megapixels_total", "Megapixels of the pictures of jobs that succeeded.", Source.FLEET, "tenant")
GPU_SECONDS = _counter(
    "gpu_seconds_total",
    "Seconds that devices, GPUs or not, worked for jobs that succeeded.",
    Source.FLEET,
    "tenant",
)
CALLBACKS_WAITING = _gauge("callbacks_waiting", "Callbacks to be delivered, those tried before too.", Source.FLEET)
CALLBACKS_UNDELIVERED = _gauge("callbacks_undelivered", "Callbacks that were given up.", Source.FLEET)
BATCHES = _gauge("batches", "Batches that have not ended, by state.", Source.FLEET, "state")
BATCH_ITEMS = _gauge("batch_items", "Items of batches that have not ended, by state.", Source.FLEET, "state")

# -- the API

HTTP_SECONDS = _histogram(
    "http_request_duration_seconds",
    "From a request to the head of its answer, by route as documented; other: no such route.",
    Source.API,
    "method",
    "route",
    "status",
    buckets=ANSWERS_S,
)

# -- the keeper

LOOP_PASSED = _gauge(
    "keeper_loop_last_pass_timestamp_seconds",
    "When a loop (feeder, sweeper, callbacks, batches, decisions) last ended a round without a fault; Unix time.",
    Source.KEEPER,
    "loop",
)
LOOP_FAILURES = _counter("keeper_loop_failures_total", "Rounds of a loop that failed.", Source.KEEPER, "loop")
CALLBACK_ATTEMPTS = _counter(
    "callback_attempts_total",
    "Deliveries by outcome: delivered, retry, gave_up, gone (HTTP 410), held (its receiver is busy; not tried).",
    Source.KEEPER,
    "outcome",
    known=_each("delivered", "retry", "gave_up", "gone", "held"),
)
CALLBACK_LAG = _histogram(
    "callback_lag_seconds", "From an event to the delivery of its callback.", Source.KEEPER, buckets=LAGS_S
)
CALLBACK_BREAKERS = _gauge(
    "callback_breakers_open", "Receivers left alone since they do not answer, in this keeper's view.", Source.KEEPER
)

# -- workers

PROCESSES = _gauge("worker_processes", "Processes that the supervisor runs now.", Source.WORKER)
PROCESS_EXITS = _counter(
    "worker_process_exits_total",
    "Ends of worker processes by cause: a signal's name (SIGKILL: by somebody outside), out_of_memory (the kernel says "
    "so), memory, hang, device_lost, exit (a library ended the program), recycled, told, other.",
    Source.WORKER,
    "cause",
    known=_each(*FAULTS, "SIGKILL", "device_lost", "recycled", "told", "other"),
)
RESIDENT_MEMORY = _gauge(
    "worker_resident_memory_bytes", "Memory that a worker process holds in RAM.", Source.WORKER, "process"
)
DEVICE_MEMORY = _gauge(
    "worker_device_memory_bytes", "Memory of its GPU that a worker process' tensors take.", Source.WORKER, "process"
)
QUEUE_WAIT = _histogram(
    "queue_wait_seconds", "From submit to the first claim by a worker.", Source.WORKER, "priority", buckets=WAITS_S
)
STAGE_SECONDS = _histogram(
    "stage_seconds",
    "Time of a job that succeeded in a stage: fetch, decode, detect, align, restore, parse, identify, upsample, blend, "
    "encode, store; waits for the device are in it.",
    Source.WORKER,
    "stage",
    buckets=STAGES_S,
)
ATTEMPTS = _counter(
    "attempts_total",
    "Attempts at jobs by ending: succeeded, failed, canceled, released, outage, refused, lost, secluded, not_alone.",
    Source.WORKER,
    "ending",
    known=_each("succeeded", "failed", "canceled", "released", "outage", "refused", "lost", "secluded", "not_alone"),
)
LEASES_LOST = _counter(
    "leases_lost_total",
    "Leases lost under a running job: fenced (another attempt has it), lost (Redis out of reach), hung (no progress).",
    Source.WORKER,
    "reason",
    known=_each("fenced", "lost", "hung"),
)
LANE_SECONDS = _counter(
    "lane_seconds_total", "Time that lanes were there; less their busy time it is their idle time.", Source.WORKER
)
LANE_BUSY = _counter(
    "lane_busy_seconds_total",
    "Time that lanes computed in, by stage; warm_up is none of a job's.",
    Source.WORKER,
    "stage",
)
LANE_RUNS = _counter("lane_runs_total", "Runs of lanes; one may serve several jobs.", Source.WORKER, "stage")
LANE_ITEMS = _counter("lane_items_total", "Faces, or pieces that run alone, in these runs.", Source.WORKER, "stage")
LANE_PLACES = _counter(
    "lane_places_total", "Places that these runs had: items to places is how full they were.", Source.WORKER, "stage"
)
DEVICE_OOM = _counter(
    "device_out_of_memory_total",
    "Device work that did not fit into memory and was tried again smaller, or failed.",
    Source.WORKER,
)

#: All of the above: what is not in it is not exported.
CATALOGUE: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))

#: What Prometheus' client library and Prometheus itself add, as far as dashboards and alerts may count on it.
STANDARD = frozenset({"up", "process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds"})


def of(*sources: Source) -> tuple[Metric, ...]:
    """Those that these export."""
    return tuple(metric for metric in CATALOGUE if metric.source in sources)


def series(metrics: Iterable[Metric] = CATALOGUE) -> frozenset[str]:
    """The names that queries may use."""
    return frozenset(name for metric in metrics for name in metric.series)
