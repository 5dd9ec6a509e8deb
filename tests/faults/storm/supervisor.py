"""``photomend worker`` over the storm's app: ``python -m tests.faults.storm.supervisor PROCESSES``."""

from __future__ import annotations

import sys

from jobs import logs
from worker import supervisor
from worker.processes import plan_processes
from worker.settings import WorkerSettings

#: A storm kills each process every few seconds; the product's own patience with that is not what is measured.
supervisor.RESTART_S = (0.1, 1.0)

if __name__ == "__main__":
    settings = WorkerSettings()
    logs.configure(service="worker-supervisor")
    plans = plan_processes(gpus=(), cpu=int(sys.argv[1]), threads=settings.threads, cores=1)
    sys.exit(supervisor.supervise(plans, app="tests.faults.storm.worker:app", settings=settings))
