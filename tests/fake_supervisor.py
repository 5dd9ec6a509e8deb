"""``photomend worker`` with the fake restorer's app: ``python -m tests.fake_supervisor APP``."""

from __future__ import annotations

import signal
import sys

from jobs import logs
from worker.processes import plan_processes
from worker.settings import WorkerSettings
from worker.supervisor import Supervisor

if __name__ == "__main__":
    logs.configure(service="worker-supervisor")
    plans = plan_processes(gpus=(), cpu=1, threads=2, cores=1)
    supervisor = Supervisor(plans, app=sys.argv[1], grace_s=WorkerSettings().drain_s)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, supervisor.on_signal)
    sys.exit(supervisor.run())
