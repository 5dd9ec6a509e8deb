"""Several jobs' inputs in one run: who shares, who does not, and that a bad one fails alone."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import CancelledError, Future

import pytest

from pipeline.forward import Forward, Room
from tests.unit.worker.clock import FakeClock
from worker.lane import Lane
from worker.order import Standing

#: Long, so that a busy machine's other thread comes in time; over at once when the room is full.
LINGER_S = 20.0
ROOM = Room(8)


class Network:
    """Doubles numbers; notes what it was given at a time, and fails on what it is told to."""

    def __init__(self) -> None:
        self.runs: list[tuple[int, ...]] = []
        self.poison: set[int] = set()
        self.weak: set[int] = set()  #: results that are computed again

    def job(self, *inputs: int, room: Room, key: Hashable = "net") -> Job:
        return Job(self, inputs, room, key)


class Job:
    """One picture's own view of the network."""

    def __init__(self, network: Network, inputs: tuple[int, ...], room: Room, key: Hashable) -> None:
        self._network = network
        self.repeated, self.heard = 0, 0
        self.work = Forward(
            key=key, run=self._run, inputs=inputs, room=room, notes=self, on_shared=lambda _: self._hear()
        )

    def _run(self, inputs: Sequence[int]) -> list[int]:
        self._network.runs.append(tuple(inputs))
        if bad := self._network.poison & set(inputs):
            raise ValueError(f"cannot do {bad}")
        self.repeated += len(self._network.weak & set(inputs))
        return [2 * one for one in inputs]

    def _hear(self) -> None:
        self.heard += 1


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def lane() -> Iterator[Lane]:
    lane = Lane(floor_s=5, first_s=50, linger_s=LINGER_S, clock=FakeClock())
    yield lane
    assert lane.stop(timeout_s=5)


class Busy:
    """The lane is kept busy while jobs queue up behind."""

    def __init__(self, lane: Lane) -> None:
        self._opened = threading.Event()
        self._lane, entered = lane, threading.Event()

        def work() -> None:
            entered.set()
            assert self._opened.wait(20)

        self._future = lane.submit(work, megapixels=0, label="busy")
        assert entered.wait(20)

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self._opened.set()
        self._future.result(20)


def send(lane: Lane, job: Job, *, label: str = "restore") -> Future[list[int]]:
    return lane.submit(job.work, megapixels=1, label=label)


def test_inputs_of_several_jobs_share_a_run_up_to_the_room(lane: Lane, network: Network) -> None:
    room = Room(4)
    jobs = [network.job(n, 10 * n, room=room) for n in (1, 2, 3)]
    with Busy(lane):
        futures = [send(lane, job) for job in jobs]
    assert [future.result(20) for future in futures] == [[2, 20], [4, 40], [6, 60]]
    assert network.runs == [(1, 10, 2, 20), (3, 30)]
    assert [job.heard for job in jobs] == [0, 1, 0]


def test_the_devices_time_of_a_shared_run_is_told_by_inputs_and_is_never_counted_twice(network: Network) -> None:
    clock = FakeClock()
    lane = Lane(floor_s=5, first_s=50, linger_s=LINGER_S, clock=clock)
    spent: dict[str, float] = {}

    class Slow(Network):
        def job(self, *inputs: int, room: Room, key: Hashable = "net") -> Job:
            job = super().job(*inputs, room=room, key=key)
            run = job._run
            job._run = lambda given: (clock.sleep(6.0), run(given))[1]  # type: ignore[method-assign]
            job.work = Forward(
                key=key, run=job._run, inputs=inputs, room=room, notes=job, on_shared=lambda _: job._hear()
            )
            return job

    slow, room = Slow(), Room(3)
    with Busy(lane):
        futures = [
            lane.submit(
                slow.job(*inputs, room=room).work, megapixels=1, label="restore",
                on_spent=lambda seconds, name=name: spent.update({name: seconds}),
            )
            for name, inputs in (("one", (1,)), ("two", (2, 3)), ("alone", (4,)))
        ]  # fmt: skip
    assert [future.result(20) for future in futures] == [[2], [4, 6], [8]]
    assert slow.runs == [(1, 2, 3), (4,)]
    assert spent == {"one": 2.0, "two": 4.0, "alone": 6.0}
    assert lane.stop(timeout_s=5)


def test_a_room_for_one_runs_them_in_turn(lane: Lane, network: Network) -> None:
    room = Room(1)
    with Busy(lane):
        futures = [send(lane, network.job(n, room=room)) for n in (1, 2)]
    assert [future.result(20) for future in futures] == [[2], [4]]
    assert network.runs == [(1,), (2,)]


def test_other_keys_and_plain_work_keep_their_order(lane: Lane, network: Network) -> None:
    room, seen = Room(8), []
    with Busy(lane):
        futures = [
            send(lane, network.job(1, room=room)),
            send(lane, network.job(2, room=room, key="another")),
            lane.submit(lambda: seen.append(len(network.runs)), megapixels=1, label="plain"),
            send(lane, network.job(3, room=room)),
            send(lane, network.job(4, room=room, key=None)),
            send(lane, network.job(5, room=room, key=None)),
        ]
    for future in futures:
        future.result(20)
    assert network.runs == [(1, 3), (2,), (4,), (5,)]
    assert seen == [2]


def test_jobs_that_could_share_runs_take_turns_so_that_they_stay_together(lane: Lane, network: Network) -> None:
    room, standings = Room(2), [Standing(), Standing()]
    lane.ended(Standing(spent_s=5.0))
    with Busy(lane):
        futures = [
            lane.submit(network.job(n, room=room, key=n).work, megapixels=1, label="x", standing=standings[n % 2])
            for n in (10, 11, 20, 21)
        ]
    for future in futures:
        future.result(60)
    assert network.runs == [(10,), (11,), (20,), (21,)]


def test_a_bad_input_fails_alone(lane: Lane, network: Network) -> None:
    network.poison = {2}
    with Busy(lane):
        good, bad, other = [send(lane, network.job(n, room=ROOM)) for n in (1, 2, 3)]
    assert good.result(20) == [2]
    assert other.result(20) == [6]
    with pytest.raises(ValueError, match=r"cannot do \{2\}"):
        bad.result(20)
    assert network.runs == [(1, 2, 3), (1,), (2,), (3,)]


def test_what_had_to_be_computed_again_is_told_to_its_own_job(lane: Lane, network: Network) -> None:
    network.weak = {2}
    jobs = [network.job(n, room=ROOM) for n in (1, 2)]
    with Busy(lane):
        futures = [send(lane, job) for job in jobs]
    assert [future.result(20) for future in futures] == [[2], [4]]
    assert [job.repeated for job in jobs] == [0, 1]


def test_a_cancelled_job_is_not_taken_along(lane: Lane, network: Network) -> None:
    with Busy(lane):
        first, gone, last = [send(lane, network.job(n, room=ROOM)) for n in (1, 2, 3)]
        assert gone.cancel()
    assert (first.result(20), last.result(20)) == ([2], [6])
    with pytest.raises(CancelledError):
        gone.result(20)
    assert network.runs == [(1, 3)]


def test_a_lane_with_room_waits_a_moment_for_another_job_and_not_for_the_same(lane: Lane, network: Network) -> None:
    room = Room(2)
    # One sender alone: it is never waited for, so its two pieces run one by one.
    for n in (1, 2):
        send(lane, network.job(n, room=room)).result(20)
    assert network.runs == [(1,), (2,)]
    found: list[list[int]] = []

    def another(n: int) -> None:
        found.append(send(lane, network.job(n, room=room)).result(20))

    threads = [threading.Thread(target=another, args=(n,)) for n in (3, 4)]
    with Busy(lane):
        threads[0].start()
        while len(lane._waiting) < 1:
            threading.Event().wait(0.001)
    threads[1].start()
    for thread in threads:
        thread.join(20)
    assert sorted(found) == [[6], [8]]
    assert sorted(network.runs[2]) == [3, 4]


def test_the_budget_is_that_of_the_whole_run(lane: Lane, network: Network) -> None:
    with Busy(lane):
        futures = [send(lane, network.job(n, room=ROOM)) for n in (1, 2, 3)]
    for future in futures:
        future.result(20)
    figures = lane.figures()
    assert (figures.runs["restore"], figures.items["restore"], figures.fill("restore")) == (1, 3, 3.0)
    assert figures.fill("nothing") == 0
    assert lane.figures().since(figures).runs["restore"] == 0


def test_the_idle_share_is_the_time_without_work() -> None:
    clock = FakeClock()
    lane = Lane(floor_s=5, first_s=50, clock=clock)
    lane.submit(lambda: clock.sleep(3.0), megapixels=1, label="x").result(20)
    lane.submit(lambda: None, megapixels=1, label="x").result(20)
    clock.now += 1.0
    assert lane.figures().idle_share == pytest.approx(0.25)
    assert lane.figures().busy_s == {"x": 3.0}
    assert lane.figures().working_s == 3.0
    lane.submit(lambda: None, megapixels=1, label="warm-up x").result(20)
    lane.submit(lambda: None, megapixels=1, label="x").result(20)
    told = {"elapsed_s": 4.0, "idle_share": 0.25, "busy_s": {"x": 3.0}, "runs": {"x": 3}, "fill": {"x": 1.0}}
    assert lane.figures().words() == told
    assert lane.stop(timeout_s=5)
