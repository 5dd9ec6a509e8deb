"""``photomend keeper``: the light process that feeds the workers, sweeps up and sends callbacks."""

from __future__ import annotations

import signal
import threading
from types import FrameType


def keeper() -> None:
    """Feed workers, recover what was left behind, send callbacks. Needs no GPU; run two or more for safety.

    Example: PHOTOMEND_REDIS_URL=redis://10.0.0.5:6379/0 photomend keeper
    """
    from jobs import logs
    from worker.keeper import run
    from worker.settings import KeeperSettings

    logs.configure(service="keeper")
    stop = threading.Event()

    def leave(_number: int, _frame: FrameType | None) -> None:
        # In a thread: the main thread waits on this very event, and a handler that interrupts it there would wait
        # for the lock that it holds.
        threading.Thread(target=stop.set, daemon=True).start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    run(KeeperSettings(), stop)
