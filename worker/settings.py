"""What worker processes, their supervisor and the keeper need to know. Only here worker/ reads the environment."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from pydantic import Field

from jobs.callbacks import RETRY_AFTER_S
from jobs.settings import JobsSettings


def default_weights_dir() -> Path:
    """Where ``photomend models fetch`` puts released weights unless told otherwise (XDG base directories)."""
    data_home = os.environ.get("XDG_DATA_HOME")
    base = Path(data_home) if data_home else Path.home() / ".local" / "share"
    return base / "photomend" / "weights"


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
    threads: int = Field(default=3, ge=1, le=256, description="Jobs that one worker process works on at a time")
    max_pixels: int = Field(default=250_000_000, gt=0, description="Largest picture, by its header, in pixels")
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
    slots_every_s: float = Field(default=1.0, gt=0, description="How often a worker says how many jobs it could take")
    supervisor_pid: int | None = Field(
        default=None, description="Set by `photomend worker` for its processes, which drain when it is gone"
    )
    node_name: str = Field(
        default_factory=socket.gethostname, description="How this machine is named in records and logs"
    )


class KeeperSettings(JobsSettings):
    """Settings of the keeper: feeder, sweeper and callback sender."""

    feed_every_s: float = Field(default=0.04, gt=0, description="How often free slots are matched with waiting jobs")
    batch_share: float = Field(
        default=0.1,
        ge=0,
        le=0.9,
        description="Share of the starts that batch jobs get at least, if any wait",
    )
    sweep_every_s: float = Field(default=1.0, gt=0, description="How often lapsed leases and deadlines are looked for")
    callback_every_s: float = Field(default=0.25, gt=0, description="How often due callbacks are looked for")
    callback_timeout_s: float = Field(default=15.0, gt=0, description="Longest time that one delivery may take")
    callback_threads: int = Field(default=8, ge=1, le=256, description="Callbacks delivered at a time by one keeper")
    callback_schedule_s: tuple[float, ...] = Field(
        default=RETRY_AFTER_S,
        description="JSON list: seconds before each further attempt of a callback; after the last it is given up",
    )


def environment_with(forced: dict[str, str], *, defaults: dict[str, str]) -> dict[str, str]:
    """This process' environment for a child: ``defaults`` where a variable is not set, ``forced`` whatever is set."""
    return {**defaults, **os.environ, **forced}


def visible_gpus() -> str | None:
    """``CUDA_VISIBLE_DEVICES`` as the operator set it."""
    return os.environ.get("CUDA_VISIBLE_DEVICES")
