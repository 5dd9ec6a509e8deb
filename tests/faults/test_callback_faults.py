"""Receivers that are down, slow, hostile or gone, and keepers that die: told at least once, at nobody else's cost.

A keeper over a real Redis; events are made by cancelling jobs, so no worker and no storage is needed.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from standardwebhooks import Webhook

import worker.keeper
from jobs.model import JobId, ObjectRef
from jobs.outbox import CallbackRecord, DeliveryState
from jobs.settings import JobsSettings
from photomend.stack.ports import free_ports
from tests.conftest import CALLBACK_SECRET
from tests.faults.proxy import LOOPBACK, Proxy
from tests.fleet import Fleet, wait_for
from worker.settings import KeeperSettings

pytestmark = pytest.mark.slow

PHOTO = ObjectRef(bucket="photos", key="a.jpg")
#: The schedule of three days, a hundred thousand times as fast.
SCHEDULE = [0.1, 0.1, 0.1, 0.1]
TIMEOUT_S = 1.0
FAST: dict[str, object] = {
    "callback_schedule_s": SCHEDULE,
    "callback_timeout_s": TIMEOUT_S,
    "callback_shut_s": 0.2,
    "callback_every_s": 0.05,
}
Answer = Callable[[socket.socket, int], None]


def says(status: str) -> Answer:
    return lambda line, _: line.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())


def drips(line: socket.socket, _: int) -> None:
    line.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        time.sleep(TIMEOUT_S / 5)
        line.sendall(b"X-Slow: 1\r\n")


def never_ends(line: socket.socket, _: int) -> None:
    line.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        line.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")


@dataclass
class Receiver:
    """Hears requests, each in a thread of its own, and lets ``answer`` (the line, how many came before) reply."""

    answer: Answer = field(default_factory=lambda: says("204 No Content"))
    port: int = 0
    heard: list[tuple[float, str, dict[str, str], bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.create_server((LOOPBACK, self.port), backlog=256)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def url(self, path: str = "/hook") -> str:
        return f"http://{LOOPBACK}:{self.port}{path}"

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def bodies(self) -> list[dict[str, object]]:
        return [json.loads(body) for *_, body in self.heard]

    def ids(self) -> list[str]:
        return [headers["webhook-id"] for _, _, headers, _ in self.heard]

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._hear, args=(self._listener.accept()[0],), daemon=True).start()

    def _hear(self, line: socket.socket) -> None:
        with line, suppress(OSError, ValueError), line.makefile("rb") as file:
            path = file.readline().decode().split()[1]
            headers = {}
            while text := file.readline().decode().strip():
                name, _, value = text.partition(": ")
                headers[name.lower()] = value
            body = file.read(int(headers["content-length"]))
            self.heard.append((time.time(), path, headers, body))
            self.answer(line, len(self.heard) - 1)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def fleet(redis_settings: JobsSettings, tmp_path: Path) -> Iterator[Fleet]:
    """Callbacks may go anywhere on loopback."""
    allowed = redis_settings.model_copy(update={"callback_allow_hosts": (LOOPBACK,)})
    fleet = Fleet(allowed, tmp_path, **{f"PHOTOMEND_{name.upper()}": json.dumps(value) for name, value in FAST.items()})
    yield fleet
    fleet.close()


@pytest.fixture
def keep(fleet: Fleet) -> Iterator[Callable[..., None]]:
    """Starts a keeper in this process, which saves each test the start of one; time runs fast in it."""
    stop, threads = threading.Event(), []

    def start(**words: object) -> None:
        given = fleet.settings.model_dump() | FAST | words
        thread = threading.Thread(target=worker.keeper.run, args=(KeeperSettings(**given), stop), daemon=True)
        thread.start()
        threads.append(thread)

    yield start
    stop.set()
    for thread in threads:
        thread.join(20)


def end_of_a_job(fleet: Fleet, url: str) -> JobId:
    """A job that has just ended, so that ``url`` is to be told."""
    job_id = fleet.submit(PHOTO, callback=url)
    fleet.store.cancel(job_id)
    return job_id


def record(fleet: Fleet, job_id: JobId) -> CallbackRecord:
    (found,) = fleet.store.callbacks(job_id)
    return found


def settled(fleet: Fleet, job_id: JobId, state: DeliveryState, *, within_s: float = 30.0) -> CallbackRecord:
    wait_for(lambda: record(fleet, job_id).state is state, what=f"the callback is {state}", within_s=within_s)
    return record(fleet, job_id)


def test_a_receiver_that_is_down_for_the_whole_schedule_is_told_by_a_replay(
    fleet: Fleet, keep: Callable[..., None]
) -> None:
    port = free_ports(1)[0]
    keep()
    job_id = end_of_a_job(fleet, f"http://{LOOPBACK}:{port}/hook")
    given_up = settled(fleet, job_id, DeliveryState.UNDELIVERED)
    assert given_up.attempts == len(SCHEDULE) + 1
    assert given_up.error, "the fault: nobody answered, and the record says so"

    receiver = Receiver(port=port)
    try:
        assert fleet.store.replay_callbacks([given_up.id]) == (given_up.id,)
        settled(fleet, job_id, DeliveryState.DELIVERED)
        ((_, _, headers, body),) = receiver.heard
        assert headers["webhook-id"] == given_up.id
        assert Webhook(CALLBACK_SECRET).verify(body, headers)["data"]["id"] == job_id
    finally:
        receiver.close()


def test_a_receiver_that_comes_back_within_the_schedule_is_told_without_anyones_help(
    fleet: Fleet, keep: Callable[..., None]
) -> None:
    port = free_ports(1)[0]
    keep(callback_schedule_s=[0.2, 0.5, 1, 2, 2, 2])
    job_id = end_of_a_job(fleet, f"http://{LOOPBACK}:{port}/hook")
    wait_for(lambda: record(fleet, job_id).attempts >= 2, what="two attempts fail: the fault struck")
    receiver = Receiver(port=port)
    try:
        settled(fleet, job_id, DeliveryState.DELIVERED)
        assert len(receiver.heard) == 1
    finally:
        receiver.close()


def test_a_flapping_receiver_hears_of_every_job(fleet: Fleet, keep: Callable[..., None], receiver: Receiver) -> None:
    answers = [says("500 Oops"), lambda line, _: line.close(), says("204 No Content"), says("503 Busy")]
    receiver.answer = lambda line, before: answers[before % len(answers)](line, before)
    keep(callback_schedule_s=[0.1] * 30)
    job_ids = [end_of_a_job(fleet, receiver.url()) for _ in range(20)]
    for job_id in job_ids:
        settled(fleet, job_id, DeliveryState.DELIVERED)
    assert len(receiver.heard) > 20, "the fault: some were told more than once"
    assert {str(body["data"]["id"]) for body in receiver.bodies()} == set(job_ids)  # type: ignore[index]
    assert len(set(receiver.ids())) == 20, "a repeated delivery keeps its id"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (drips, "Error"),
        (says("302 Found\r\nLocation: http://127.0.0.1:1/"), "HTTP 302"),
        (says("500 Oops"), "HTTP 500"),
        (lambda line, _: line.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"), "Error"),
    ],
    ids=["slow-loris", "redirect", "error", "not HTTP"],
)
def test_anything_but_a_plain_yes_is_a_failed_attempt_that_the_owner_can_read(
    fleet: Fleet, keep: Callable[..., None], receiver: Receiver, answer: Answer, error: str
) -> None:
    receiver.answer = answer
    keep(callback_schedule_s=[0.1])
    job_id = end_of_a_job(fleet, receiver.url())
    told = settled(fleet, job_id, DeliveryState.UNDELIVERED)
    assert len(receiver.heard) == told.attempts == 2
    assert error in (told.error or "")


def test_an_endless_body_is_a_yes_and_is_not_read(fleet: Fleet, keep: Callable[..., None], receiver: Receiver) -> None:
    receiver.answer = never_ends
    keep()
    settled(fleet, end_of_a_job(fleet, receiver.url()), DeliveryState.DELIVERED, within_s=10)
    assert len(receiver.heard) == 1


def test_a_receiver_without_tls_is_not_spoken_to_in_the_clear(
    fleet: Fleet, keep: Callable[..., None], receiver: Receiver
) -> None:
    keep(callback_schedule_s=[0.1])
    job_id = end_of_a_job(fleet, receiver.url().replace("http:", "https:"))
    assert settled(fleet, job_id, DeliveryState.UNDELIVERED).error
    assert receiver.heard == []


def test_a_keeper_killed_between_the_post_and_its_record_sends_it_again_under_the_same_id(
    fleet: Fleet, receiver: Receiver
) -> None:
    keeper = fleet.keeper("first")

    def kills(line: socket.socket, before: int) -> None:
        if before == 0:
            os.kill(keeper.pid, signal.SIGKILL)
        says("204 No Content")(line, before)

    receiver.answer = kills
    job_id = end_of_a_job(fleet, receiver.url())
    wait_for(lambda: receiver.heard, what="the callback arrives")
    assert keeper.wait() == -signal.SIGKILL, "the fault: it died after the POST"
    assert record(fleet, job_id).state is DeliveryState.WAITING, "the fault: and before its record"

    fleet.keeper("second")
    settled(fleet, job_id, DeliveryState.DELIVERED, within_s=40)
    assert len(receiver.heard) == 2
    assert len(set(receiver.ids())) == 1
    assert len({body for *_, body in receiver.heard}) == 1


def test_an_endpoint_that_is_gone_hears_nothing_more_until_somebody_says_that_it_is_back(
    fleet: Fleet, keep: Callable[..., None], receiver: Receiver
) -> None:
    receiver.answer = says("410 Gone")
    keep()
    settled(fleet, end_of_a_job(fleet, receiver.url("/old?job=1")), DeliveryState.UNDELIVERED)
    assert len(receiver.heard) == 1, "the fault: it said 410, and was believed"

    receiver.answer = says("204 No Content")
    late = settled(fleet, end_of_a_job(fleet, receiver.url("/old?job=2")), DeliveryState.UNDELIVERED)
    assert "410" in (late.error or "")
    settled(fleet, end_of_a_job(fleet, receiver.url("/new")), DeliveryState.DELIVERED)
    assert [path for _, path, _, _ in receiver.heard] == ["/old?job=1", "/new"]

    fleet.store.replay_callbacks([late.id])
    settled(fleet, late.job_id, DeliveryState.DELIVERED)
    settled(fleet, end_of_a_job(fleet, receiver.url("/old?job=3")), DeliveryState.DELIVERED)


#: Deliveries to the receiver that is well, and to the one that is not.
WELL, ILL = 100, 300
HANG_S = 15.0


def test_a_receiver_in_a_black_hole_does_not_delay_the_others(
    fleet: Fleet, receiver: Receiver, record_property: Callable[[str, object], None]
) -> None:
    fleet.keeper(
        PHOTOMEND_CALLBACK_SCHEDULE_S="[600, 600]",
        PHOTOMEND_CALLBACK_SHUT_S="30",
        PHOTOMEND_CALLBACK_TIMEOUT_S=str(HANG_S),
    )
    wait_for(lambda: "keeper works" in fleet.log("keeper"), what="the keeper works")
    p99_s(fleet, receiver)  # what is slow at first only
    alone_s = p99_s(fleet, receiver)
    with Proxy(receiver.port) as hole:
        hole.partition()
        held = [end_of_a_job(fleet, f"http://{LOOPBACK}:{hole.port}/hook") for _ in range(ILL)]
        wait_for(lambda: hole.struck["swallowed"], what="deliveries hang: the fault struck")
        beside_s = p99_s(fleet, receiver)
        tried = Counter(record(fleet, job_id).attempts for job_id in held)
        assert hole.connections < ILL / 3, "most were not even tried"
        assert sum(tried.values()) == ILL
    record_property("p99_alone_s", round(alone_s, 3))
    record_property("p99_beside_a_black_hole_s", round(beside_s, 3))
    # One delivery that hangs takes so long; nobody waited for as much as one of them.
    assert beside_s < HANG_S


def p99_s(fleet: Fleet, receiver: Receiver) -> float:
    """From the end of a job to its callback, over jobs that end one after the other."""
    ended_at: dict[str, float] = {}
    for _ in range(WELL):
        job_id = fleet.submit(PHOTO, callback=receiver.url())
        ended_at[job_id] = time.time()
        fleet.store.cancel(job_id)
        time.sleep(0.005)

    def waits_s() -> list[float]:
        told = {json.loads(body)["data"]["id"]: at for at, _, _, body in list(receiver.heard)}
        return sorted(told[job_id] - at for job_id, at in ended_at.items() if job_id in told)

    wait_for(lambda: len(waits_s()) == WELL, what="all are told", within_s=30)
    return waits_s()[int(0.99 * WELL)]
