"""The kernel prefers the lane's thread to those of jobs."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

import pytest

from worker.lane import Lane
from worker.lane_priority import HOST_NICE, step_back

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="niceness of one thread is Linux'")


def own_nice() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def on_a_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_a_job_s_thread_and_those_that_it_starts_step_back_and_the_lane_does_not() -> None:
    before, seen = own_nice(), dict[str, int]()
    lane = Lane(floor_s=1.0, first_s=1.0)

    def job() -> None:
        step_back()
        step_back()
        seen["job"] = own_nice()
        on_a_thread(lambda: seen.update(beats=own_nice()))
        seen["lane"] = lane.submit(own_nice, megapixels=0, label="restore").result(timeout=30)

    on_a_thread(job)
    lane.stop(timeout_s=10)
    expected = max(before, HOST_NICE)
    assert seen == {"job": expected, "beats": expected, "lane": before}


def test_the_main_thread_never_steps_back() -> None:
    before = own_nice()
    step_back()
    assert own_nice() == before
