"""What worker processes, their supervisor and the keeper need to know. Only here worker/ reads the environment."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator

from jobs.callbacks import RETRY_AFTER_S
from jobs.environment import SUFFIX, overlaid
from jobs.settings import JobsSettings
from worker.sandbox.confine import Bounds


def default_weights_dir() -> Path:
    """Where ``photomend models fetch`` puts released weights unless told otherwise (XDG base directories)."""
    data_home = os.environ.get("XDG_DATA_HOME")
    base = Path(data_home) if data_home else Path.home() / ".local" / "share"
    return base / "photomend" / "weights"


def default_cache_dir() -> Path:
    """Where exported and compiled networks and measurements are kept (XDG base directories)."""
    cache_home = os.environ.get("XDG_CACHE_HOME")
    base = Path(cache_home) if cache_home else Path.home() / ".cache"
    return base / "photomend"


#: Where nothing else is said.
MAX_PIXELS = 250_000_000


class WorkerSettings(JobsSettings):
    """Settings of one worker process and of the supervisor that starts it."""

    weights_dir: Path = Field(default_factory=default_weights_dir, description="Folder of the released weights")
    allow_preview: bool = Field(
        default=False, description="1 = jobs that name no model may use the preview pack when gfpgan-1.4 is missing"
    )
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="cpu, cuda:N or auto (a GPU if there is one)",
    )
    engine: str = Field(
        default="auto",
        pattern=r"^(auto|torch|openvino|cuda-graph)$",
        description="What runs networks: torch, openvino, cuda-graph or auto (the fastest whose canary agrees)",
    )
    cache_dir: Path = Field(
        default_factory=default_cache_dir,
        description="Folder of exported and compiled networks (at most 4 GB; unused for 60 days go) and measurements;"
        " may be deleted at any time",
    )
    threads: int = Field(default=3, ge=1, le=256, description="Most jobs that one worker process works on at a time")
    least_threads: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="Fewest jobs at a time; between these and threads it takes as many as keep its device busy, by what"
        " the last ones took. Unset = threads. `photomend worker` sets both unless one of them is set",
    )
    max_pixels: int = Field(default=MAX_PIXELS, gt=0, description="Largest picture, by its header, in pixels")
    max_faces: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="Largest faces of a picture that are restored, whatever the job asks for; unset = all",
    )
    large_pixels: int = Field(
        default=50_000_000,
        gt=0,
        description="Of pictures with more pixels, a process works on one at a time",
    )
    drain_s: float = Field(
        default=25.0, ge=1, description="From SIGTERM to exit: what fits is finished, the rest goes back uncharged"
    )
    stage_budget_s: float = Field(
        default=300.0, gt=0, description="Longest silence of a job outside the lane before it counts as hung"
    )
    lane_floor_s: float = Field(
        default=60.0, gt=0, description="Smallest time budget of one piece of device work, whatever was predicted"
    )
    lane_first_s: float = Field(
        default=300.0, gt=0, description="Time budget of device work whose like was not measured yet in this process"
    )
    sandbox_memory_bytes: int | None = Field(
        default=None,
        ge=64 * 1024**2,
        description="Memory that decoding one picture may take; unset = by max_pixels; a small one gets less",
    )
    sandbox_cpu_s: float = Field(
        default=60.0,
        ge=1,
        validate_default=True,
        description="Computing time that decoding one picture may take; in wall-clock time twice that",
    )
    sandbox_required: bool = Field(
        default=False,
        description="1 = take no jobs on a system without seccomp or Landlock; 0 = warn, and rely on limits",
    )
    recycle_mb: float | None = Field(
        default=None,
        gt=0,
        description="A process that holds more memory than this is started anew between jobs; `photomend worker` sets"
        " 75 % of a process' share of the machine's or container's",
    )
    memory_limit_mb: float | None = Field(
        default=None,
        gt=0,
        description="A process that takes more than this ends at once, its jobs are tried again alone; `photomend"
        " worker` sets 95 % of the share",
    )
    recycle_device_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="A process is started anew between jobs when so much of its GPU's memory was allocated for a minute"
        " without pause",
    )
    slots_every_s: float = Field(default=1.0, gt=0, description="How often a worker says how many jobs it could take")
    supervisor_pid: int | None = Field(
        default=None, description="Set by `photomend worker` for its processes, which drain when it is gone"
    )
    metrics_name: str | None = Field(
        default=None, description="Set by `photomend worker` for its processes where it tells metrics: whose they are"
    )
    incarnation: str | None = Field(
        default=None, description="Set by `photomend worker` for its processes: tells one start from the next"
    )
    input_url_timeout_s: float = Field(
        default=60.0, gt=0, description="Longest time that fetching an input from its URL may take, retries included"
    )
    node_name: str = Field(
        default_factory=socket.gethostname, description="How this machine is named in records and logs"
    )

    @field_validator("sandbox_cpu_s")
    @classmethod
    def _decoders_end_before_their_jobs_look_hung(cls, cpu_s: float, others: ValidationInfo) -> float:
        longest_s, budget_s = Bounds(memory_bytes=0, cpu_s=cpu_s).longest_s, others.data.get("stage_budget_s")
        if budget_s is not None and longest_s >= budget_s:
            raise ValueError(
                f"a decoder may then take {longest_s:g} s, and after PHOTOMEND_STAGE_BUDGET_S ({budget_s:g} s) "
                "its job counts as hung"
            )
        return cpu_s


class KeeperSettings(JobsSettings):
    """Settings of the keeper: feeder, sweeper, callback sender and batch runner."""

    alive_path: Path | None = Field(
        default=None,
        description="File that the keeper writes every 5 seconds while all of its loops turn, for"
        " `photomend keeper --check`",
    )
    feed_every_s: float = Field(
        default=0.25,
        gt=0,
        description="How often free slots are matched with waiting jobs at least: a job that comes and a slot that"
        " becomes free are heard of at once",
    )
    batch_share: float = Field(
        default=0.1,
        ge=0,
        le=0.9,
        description="Share of the starts that batch jobs get at least, if any wait",
    )
    sweep_every_s: float = Field(default=1.0, gt=0, description="How often lapsed leases and deadlines are looked for")
    batch_every_s: float = Field(default=0.25, gt=0, description="How often batches are looked after")
    batch_lease_s: float = Field(
        default=60.0, gt=0, description="How long a batch waits for its keeper that fell silent before another takes it"
    )
    batch_window: int = Field(
        default=256,
        ge=1,
        le=5000,
        description="Jobs of one batch that wait or run at a time; the rest is in its manifest",
    )
    max_pixels: int = Field(
        default=MAX_PIXELS, gt=0, description="Largest picture that workers take, as dry runs of batches judge it"
    )
    callback_every_s: float = Field(default=0.25, gt=0, description="How often due callbacks are looked for")
    callback_timeout_s: float = Field(default=15.0, gt=0, description="Longest time that one delivery may take")
    callback_threads: int = Field(default=32, ge=1, le=256, description="Callbacks delivered at a time by one keeper")
    callback_threads_per_host: int = Field(
        default=4, ge=1, le=256, description="Of these, to one receiver (scheme, host and port)"
    )
    callback_shut_s: float = Field(
        default=30.0, gt=0, description="How long a receiver is left alone that did not answer three callbacks running"
    )
    callback_schedule_s: tuple[float, ...] = Field(
        default=RETRY_AFTER_S,
        description="JSON list: seconds before each further attempt of a callback; after the last it is given up",
    )


def environment_with(forced: dict[str, str], *, defaults: dict[str, str]) -> dict[str, str]:
    """This process' environment for a child: ``defaults`` where a variable is not set, ``forced`` whatever is set."""
    unsaid = {name: value for name, value in defaults.items() if f"{name}{SUFFIX}" not in os.environ}
    return overlaid(unsaid | os.environ, forced)


#: What the process that decodes strangers' pictures keeps of the environment: no secrets, nothing of ours.
_HARMLESS = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")
#: One thread each: a process that forks must have no other.
_ONE_THREAD = {"VIPS_CONCURRENCY": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
#: Symbols are looked up once and for all children: a fifth of a small picture's decoding in a fresh child.
_LINKED_AT_ONCE = {"LD_BIND_NOW": "1"}
#: Large buffers lie in huge pages where the kernel has them on request: a fresh process pays for each page that it
#: touches first. Only the GNU C library reads it. Source: its manual, "Memory Allocation Tunables".
_HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


def decoder_environment(path: Sequence[str]) -> dict[str, str]:
    """The environment of the decoder's zygote; ``path`` is where it is to find modules."""
    kept = {name: os.environ[name] for name in _HARMLESS if name in os.environ}
    return kept | _ONE_THREAD | _LINKED_AT_ONCE | _HUGE_PAGES | {"PYTHONPATH": os.pathsep.join(path)}


def visible_gpus() -> str | None:
    """``CUDA_VISIBLE_DEVICES`` as the operator set it."""
    return os.environ.get("CUDA_VISIBLE_DEVICES")
