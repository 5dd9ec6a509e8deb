"""A process that looks at itself: what makes it leave, with which status, and what becomes of its jobs."""

from __future__ import annotations

import os
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.errors import StoreUnavailable
from jobs.model import Job, JobId
from tests.samples import job
from worker.exits import EXIT_DEVICE_LOST, EXIT_HUNG, EXIT_MEMORY, EXIT_RECYCLED
from worker.flight import Flights
from worker.lane import Computing
from worker.lease import Stop
from worker.settings import WorkerSettings
from worker.watch import Watch

Released = tuple[JobId, bool, str | None]


class Exited(Exception):
    """Raised where the process would have ended."""


class Scene:
    """A process with two jobs in the air: the lane works on the first."""

    def __init__(self) -> None:
        self.released: list[Released] = []
        self.locked = False
        self.overdue: Computing | None = None
        self.grown: str | None = None
        self.kept_by_the_allocator = False
        self.too_large: str | None = None
        self.is_busy = True
        self.is_leaving = False
        self.left_with: int | None = None
        self.said = 0
        self.flights = Flights()
        self._aboard = ExitStack()
        self.first, self.second = (self._fly(computing=computing) for computing in (True, False))
        self.watch = self.over(WorkerSettings(node_name="host"))

    def over(self, settings: WorkerSettings) -> Watch:
        return Watch(
            self,
            settings=settings,
            store=self,
            lane=SimpleNamespace(overdue=lambda: self.overdue),  # type: ignore[arg-type]
            flights=self.flights,
            growth=SimpleNamespace(  # type: ignore[arg-type]
                look=lambda: None,
                reason_to_leave=lambda: self.grown,
                reason_that_stays=self._reason_that_stays,
                reason_to_stop=lambda: self.too_large,
            ),
            exit_process=self._exit,
        )

    def _reason_that_stays(self) -> str | None:
        assert not self.is_busy
        if self.kept_by_the_allocator:
            self.grown = None
        return self.grown

    def leave(self, *, status: int) -> None:
        self.is_leaving, self.left_with = True, status

    def say_what_it_takes(self) -> None:
        self.said += 1

    def release(self, job_id: JobId, *, epoch: int, charge: bool, cause: str | None = None) -> Job:
        self.released.append((job_id, charge, cause))
        return job()

    def lock(self, name: str, *, ttl_s: float) -> bool:
        assert name == "recycle:host"
        return not self.locked

    def _exit(self, status: int) -> None:
        self.left_with = status
        raise Exited

    def _fly(self, *, computing: bool) -> Any:
        flight = SimpleNamespace(
            job=job(epoch=1), pulse=SimpleNamespace(is_computing=computing), lease=SimpleNamespace(stopping=None)
        )
        self._aboard.enter_context(self.flights.aboard(flight))  # type: ignore[arg-type]
        return flight


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_sound_process_stays(scene: Scene) -> None:
    scene.watch.step()
    assert (scene.left_with, scene.released, scene.said) == (None, [], 0)


def test_under_a_hung_lane_only_its_own_job_is_charged_and_accused(scene: Scene) -> None:
    scene.overdue = Computing(label="restore", megapixels=1, since=0, budget_s=1)
    with pytest.raises(Exited):
        scene.watch.step()
    assert scene.left_with == EXIT_HUNG
    assert scene.released == [(scene.first.job.id, True, "hang"), (scene.second.job.id, False, None)]


def test_a_job_that_hangs_outside_the_lane_is_accused_and_the_others_may_finish(scene: Scene) -> None:
    scene.second.lease.stopping = Stop.HUNG
    scene.watch.step()
    assert scene.left_with == EXIT_HUNG
    assert scene.released == [(scene.second.job.id, True, "hang")]


def test_with_a_lost_device_all_jobs_go_back_and_the_one_that_met_it_runs_alone(scene: Scene) -> None:
    with pytest.raises(Exited):
        scene.watch.leave_with_lost_device(RuntimeError("CUDA error: unspecified launch failure"))
    assert scene.left_with == EXIT_DEVICE_LOST
    assert scene.released == [(scene.first.job.id, True, "device_lost"), (scene.second.job.id, False, None)]


def test_past_its_memory_it_ends_and_leaves_its_jobs_to_the_supervisors_reading(scene: Scene) -> None:
    scene.too_large = "900 MB are held"
    with pytest.raises(Exited):
        scene.watch.step()
    assert (scene.left_with, scene.released) == (EXIT_MEMORY, [])


def test_a_process_that_has_grown_becomes_empty_first(scene: Scene) -> None:
    scene.grown = "800 MB are held"
    scene.watch.step()
    assert (scene.watch.is_retiring, scene.left_with, scene.said) == (True, None, 1)
    scene.is_busy = False
    scene.watch.step()
    assert (scene.left_with, scene.released) == (EXIT_RECYCLED, [])


def test_what_jobs_alone_held_does_not_cost_the_process_its_place(scene: Scene) -> None:
    scene.grown = "800 MB are held"
    scene.watch.step()
    scene.grown, scene.is_busy = None, False
    scene.watch.step()
    assert (scene.watch.is_retiring, scene.left_with, scene.said) == (False, None, 2)


def test_nor_does_what_only_the_allocator_kept_of_them(scene: Scene) -> None:
    scene.grown, scene.kept_by_the_allocator = "800 MB are held", True
    scene.watch.step()
    scene.is_busy = False
    scene.watch.step()
    assert (scene.watch.is_retiring, scene.left_with, scene.said) == (False, None, 2)


def test_processes_of_one_machine_do_not_leave_together(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.grown, scene.locked = "800 MB are held", True
    scene.watch.step()
    assert not scene.watch.is_retiring
    scene.locked = False

    def unreachable(name: str, *, ttl_s: float) -> bool:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(scene, "lock", unreachable)
    scene.watch.step()
    assert not scene.watch.is_retiring


def test_a_process_without_its_supervisor_leaves(scene: Scene) -> None:
    here = scene.over(WorkerSettings(node_name="host", supervisor_pid=os.getppid()))
    here.step()
    assert scene.left_with is None
    orphan = scene.over(WorkerSettings(node_name="host", supervisor_pid=1 if os.getppid() != 1 else 2))
    orphan.step()
    assert scene.left_with == 0
