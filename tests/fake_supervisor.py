"""``photomend worker`` with the fake restorer's app: ``python -m tests.fake_supervisor APP``."""

from __future__ import annotations

import sys

from jobs import logs
from worker.processes import plan_processes
from worker.settings import WorkerSettings
from worker.supervisor import supervise

if __name__ == "__main__":
    settings = WorkerSettings()
    logs.configure(service="worker-supervisor")
    plans = plan_processes(gpus=(), cpu=1, threads=settings.threads, cores=1)
    sys.exit(supervise(plans, app=sys.argv[1], settings=settings))
