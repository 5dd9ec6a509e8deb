"""A fleet of real processes tells figures that add up, also over the death of a worker process."""

from __future__ import annotations

import os
import signal
import socket
import sys

import pytest

from jobs.metrics.catalogue import Source, of, series
from tests.fleet import FAKE_APP, Fleet, wait_for
from tests.scraped import Figures, scrape

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

WORK_S = 0.02


def free_ports(count: int) -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [str(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def test_jobs_are_told_by_api_keeper_and_worker_and_a_killed_process_takes_nothing_back(fleet: Fleet) -> None:
    api, keeper, worker, door = free_ports(4)
    fleet.keeper(PHOTOMEND_METRICS_PORT=keeper)
    supervised = [sys.executable, "-m", "tests.fake_supervisor", FAKE_APP]
    fleet.command("supervisor", supervised, PHOTOMEND_METRICS_PORT=worker, PHOTOMEND_THREADS="2")
    fleet.command("api", [sys.executable, "-m", "api"], PHOTOMEND_METRICS_PORT=api, PHOTOMEND_API_PORT=door)

    def told_by(port: str) -> Figures:
        return scrape(f"http://127.0.0.1:{port}/metrics")

    photo = fleet.upload()
    first = wait_for(fleet.store.slots, what="a worker is ready", within_s=100)[0]
    ends = [fleet.ended(fleet.submit(photo, work_s=WORK_S)).state for _ in range(3)]
    assert [str(state) for state in ends] == ["succeeded"] * 3

    def published() -> Figures | None:
        figures = told_by(worker)
        return figures if figures.sum("photomend_lane_runs_total", stage="restore") >= 3 * 21 else None

    before = wait_for(published, what="the lane's figures are told")
    assert before("photomend_attempts_total", ending="succeeded") == 3
    assert before("photomend_queue_wait_seconds_count", priority="interactive") == 3
    assert before("photomend_stage_seconds_count", stage="restore") == 3
    assert 0 < before.sum("photomend_lane_busy_seconds_total", stage="restore") < before("photomend_lane_seconds_total")
    assert before("photomend_worker_processes") == 1
    assert before("photomend_worker_resident_memory_bytes", process="cpu0") > 10e6

    # The process is killed; what it counted stays, and the next one goes on from there.
    os.kill(int(first.worker.split(":")[1]), signal.SIGKILL)
    wait_for(
        lambda: any(slots.worker != first.worker for slots in fleet.store.slots()),
        what="another process is ready",
        within_s=100,
    )
    failed = fleet.ended(fleet.submit(fleet.upload(b"no picture", key="in/broken.png")))
    assert str(failed.state) == "failed"
    wait_for(lambda: told_by(worker)("photomend_attempts_total", ending="failed") == 1, what="the failure is counted")
    after = told_by(worker)
    assert after("photomend_attempts_total", ending="succeeded") == 3
    assert after("photomend_queue_wait_seconds_count", priority="interactive") == 4
    assert after.sum("photomend_worker_process_exits_total") == 1
    assert after("photomend_lane_seconds_total") >= before("photomend_lane_seconds_total")

    def is_counted() -> Figures | None:
        figures = told_by(api)
        return figures if figures("photomend_running_jobs", priority="interactive") == 0 else None

    fleet_wide = wait_for(is_counted, what="nothing runs any more")
    assert fleet_wide("photomend_jobs_submitted_total", priority="interactive") == 4
    assert fleet_wide("photomend_jobs_total", state="succeeded", code="") == 3
    assert failed.failure is not None
    assert fleet_wide("photomend_jobs_total", state="failed", code=failed.failure.code) == 1
    assert fleet_wide("photomend_megapixels_total", tenant="local") > 0
    assert fleet_wide("photomend_gpu_seconds_total", tenant="local") >= 3 * WORK_S * 0.9
    assert fleet_wide("photomend_workers") == 1
    assert fleet_wide("photomend_backlog_work_seconds") == 0
    # The same on the API's own port, where on loopback no key is needed.
    assert scrape(f"http://127.0.0.1:{door}/metrics")("photomend_store_up") == 1

    told = told_by(keeper)
    for loop in ("feeder", "sweeper", "batches", "callbacks"):
        assert told("photomend_keeper_loop_last_pass_timestamp_seconds", loop=loop) > 0
        assert told("photomend_keeper_loop_failures_total", loop=loop) == 0

    # Of what each of them is said to export nothing is missing, but what has not happened.
    names = {name for figures in (after, told, fleet_wide) for name, _ in figures.values}
    labelled = {metric for metric in of(*Source) if metric.labels}
    assert series([metric for metric in of(*Source) if metric not in labelled]) - names == set()


def test_a_port_that_is_taken_ends_a_process_with_a_sentence(fleet: Fleet) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = fleet.keeper(PHOTOMEND_METRICS_PORT=port)
        assert process.wait(60) != 0
    said = fleet.log("keeper")
    assert "PHOTOMEND_METRICS_HOST and _PORT" in said
    assert port in said
    assert "Traceback" not in said
