"""What a worker says that jobs take of it."""

from __future__ import annotations

import pytest

from jobs.metrics.instruments import new_registry, text
from jobs.model import LOCAL_TENANT, Job, ObjectRef, Result, new_job_id
from tests.scraped import Figures
from worker.lane_figures import LaneFigures
from worker.meter import Efforts, Meter

#: Estimated: two megapixels.
JOB = Job(id=new_job_id(), tenant=LOCAL_TENANT, input=ObjectRef(bucket="b", key="k"), input_bytes=800_000)
FACES = ({"status": "restored"}, {"status": "restored"}, {"status": "rejected"})
RESULT = Result(artifacts=(), width=1, height=1, faces=FACES, metrics={"megapixels": 8.0, "decode_s": 0.3})
DEVICE_S = {"detect": 0.1, "restore": 0.5, "parse": 0.1, "upsample": 1.6}


def test_before_the_first_job_nothing_is_known():
    assert Efforts().effort(threads=4) is None


def test_a_process_whose_device_is_the_bottleneck_takes_what_the_device_takes():
    efforts = Efforts()
    efforts.learn(JOB, RESULT, host_s=4.0, device_s=DEVICE_S)
    effort = efforts.effort(threads=8)
    assert effort is not None
    assert effort.job_s == pytest.approx(0.1)
    assert effort.face_s == pytest.approx(0.3)
    assert effort.faces == 2
    assert effort.megapixel_s == pytest.approx(0.2)
    assert effort.megapixels == pytest.approx(4.0)
    # As many as were measured take as long as was measured.
    assert effort.seconds(jobs=10, estimated=20) == pytest.approx(23.0)


def test_a_process_whose_threads_are_the_bottleneck_takes_longer():
    efforts = Efforts()
    efforts.learn(JOB, RESULT, host_s=7.7, device_s=DEVICE_S)
    effort = efforts.effort(threads=2)
    assert effort is not None
    # (2.3 s of the device + 7.7 s beside it) / 2 jobs at a time.
    assert effort.seconds(jobs=1, estimated=2) == pytest.approx(5.0)


def test_the_first_jobs_count_alike_and_later_ones_move_the_mean():
    efforts = Efforts()
    for host_s in (1.0, 3.0):
        efforts.learn(JOB, RESULT, host_s=host_s, device_s={})
    effort = efforts.effort(threads=1)
    assert effort is not None
    assert effort.job_s == pytest.approx(2.0)
    for _ in range(200):
        efforts.learn(JOB, RESULT, host_s=10.0, device_s={})
    effort = efforts.effort(threads=1)
    assert effort is not None
    assert effort.job_s == pytest.approx(10.0, rel=0.01)


def test_figures_of_the_lane_and_the_device_are_added_up_by_what_is_new():
    registry = new_registry("worker")
    meter = Meter(process="gpu0", registry=registry)
    for runs, elapsed_s in ((2, 10.0), (5, 30.0)):
        by = {"restore": runs, "warm-up detect": 1}
        meter.lane(
            LaneFigures(
                elapsed_s=elapsed_s,
                busy_s={label: float(n) for label, n in by.items()},
                runs=by,
                items={label: 3 * n for label, n in by.items()},
                places={label: 4 * n for label, n in by.items()},
            )
        )
        meter.device(allocated_bytes=1000 * runs, shortages=runs)
    told = Figures(text(registry).decode())
    assert told("photomend_lane_seconds_total") == 30
    assert told("photomend_lane_busy_seconds_total", stage="restore") == 5
    assert told("photomend_lane_busy_seconds_total", stage="warm_up") == 1
    assert told("photomend_lane_items_total", stage="restore") == 15
    assert told("photomend_lane_places_total", stage="restore") == 20
    assert told("photomend_device_out_of_memory_total") == 5
    assert told("photomend_worker_device_memory_bytes", process="gpu0") == 5000
