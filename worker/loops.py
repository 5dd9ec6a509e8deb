"""A loop that nothing ends but its owner: what the keeper's threads run in."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from jobs.errors import JobsError

logger = structlog.get_logger(__name__)

#: First and longest wait after a failed round (seconds), doubling in between.
BACK_OFF_S = (0.5, 15.0)


def repeat(
    name: str,
    step: Callable[[], object],
    *,
    every_s: float,
    stop: threading.Event,
    on_round: Callable[[str, bool], object] = lambda _name, _went_well: None,
) -> None:
    """Call ``step`` every ``every_s`` seconds until ``stop`` is set, whatever it raises.

    ``on_round(name, went_well)`` is called after each.
    """
    failures = 0
    while not stop.is_set():
        try:
            step()
        except JobsError as error:
            failures += 1
            wait_s = _back_off(failures)
            logger.warning("round failed, trying again", loop=name, error=str(error), wait_s=wait_s)
        # A border: one unforeseen answer must not end what every job depends on.
        except Exception:
            failures += 1
            wait_s = _back_off(failures)
            logger.exception("round failed by a fault of ours", loop=name, wait_s=wait_s)
        else:
            if failures:
                logger.info("works again", loop=name, after_failures=failures)
            failures, wait_s = 0, every_s
        on_round(name, failures == 0)
        stop.wait(wait_s)


def _back_off(failures: int) -> float:
    first_s, longest_s = BACK_OFF_S
    return float(min(first_s * 2 ** min(failures - 1, 10), longest_s))
