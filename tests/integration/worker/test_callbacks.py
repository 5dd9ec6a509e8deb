"""Callbacks from the outbox through a real keeper to a real receiver."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from jobs.model import ObjectRef
from jobs.settings import JobsSettings
from tests.conftest import CALLBACK_SECRET
from tests.fleet import Fleet, wait_for

pytestmark = pytest.mark.slow


@dataclass
class Receiver:
    """An HTTP server that answers as it was told and keeps what it heard."""

    statuses: list[int]  #: of the first requests; 200 after that
    heard: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?x=1"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    state = Receiver(statuses=[])

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.heard.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(state.statuses.pop(0) if state.statuses else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def listening_fleet(jobs_settings: JobsSettings, tmp_path: Path, receiver: Receiver) -> Iterator[Fleet]:
    """A fleet whose operator allows callbacks to the receiver on this machine."""
    allowed = jobs_settings.model_copy(update={"callback_allow_hosts": (f"127.0.0.1:{receiver.port}",)})
    fleet = Fleet(allowed, tmp_path, PHOTOMEND_CALLBACK_SCHEDULE_S="[0.2, 0.2, 0.2]")
    yield fleet
    fleet.close()


def test_the_end_of_a_job_is_told_with_a_signature_that_verifies(listening_fleet: Fleet, receiver: Receiver) -> None:
    listening_fleet.keeper()
    listening_fleet.worker()
    job_id = listening_fleet.submit(listening_fleet.upload(), callback=receiver.url)
    listening_fleet.ended(job_id)
    wait_for(lambda: receiver.heard, what="a callback arrives")

    headers, body = receiver.heard[0]
    told = Webhook(CALLBACK_SECRET).verify(body, headers)
    assert told["type"] == "job.completed"
    assert told["data"]["id"] == job_id
    assert headers["host"] == f"127.0.0.1:{receiver.port}"
    assert headers["content-type"] == "application/json"
    assert "." not in headers["webhook-id"]
    wait_for(lambda: listening_fleet.store.counts()["outbox"] == 0, what="the outbox is empty")
    assert len(receiver.heard) == 1


def test_a_receiver_that_fails_twice_hears_of_it_a_third_time(listening_fleet: Fleet, receiver: Receiver) -> None:
    receiver.statuses += [503, 302]
    listening_fleet.keeper()
    listening_fleet.worker()
    missing = ObjectRef(bucket=listening_fleet.settings.bucket, key="nothing.png")
    listening_fleet.submit(missing, callback=receiver.url)
    wait_for(lambda: len(receiver.heard) == 3, what="three attempts")

    assert len({headers["webhook-id"] for headers, _ in receiver.heard}) == 1
    assert len({body for _, body in receiver.heard}) == 1
    assert json.loads(receiver.heard[0][1])["type"] == "job.failed"
    wait_for(lambda: listening_fleet.store.counts()["outbox"] == 0, what="the outbox is empty")
    assert len(receiver.heard) == 3


def test_a_receiver_that_is_gone_is_left_alone(listening_fleet: Fleet, receiver: Receiver) -> None:
    receiver.statuses += [410]
    listening_fleet.keeper()
    job_id = listening_fleet.submit(listening_fleet.upload(), callback=receiver.url)
    listening_fleet.store.cancel(job_id)
    wait_for(lambda: "given up" in listening_fleet.log("keeper"), what="the callback is given up")

    assert len(receiver.heard) == 1
    assert listening_fleet.store.counts()["undelivered"] == 1


def test_a_callback_to_this_machine_is_not_sent_unless_the_operator_allows_it(fleet: Fleet, receiver: Receiver) -> None:
    fleet.keeper(PHOTOMEND_CALLBACK_SCHEDULE_S="[]")
    for url in (receiver.url, f"https://localtest.me:{receiver.port}/", f"http://localhost:{receiver.port}/"):
        fleet.store.cancel(fleet.submit(fleet.upload(), callback=url))
    wait_for(lambda: fleet.log("keeper").count("given up") == 3, what="all are given up")
    assert receiver.heard == []


def test_callbacks_outlive_a_keeper_that_is_killed(listening_fleet: Fleet, receiver: Receiver) -> None:
    first = listening_fleet.keeper("first")
    listening_fleet.keeper("second")
    wait_for(lambda: "keeper works" in listening_fleet.log("second"), what="both keepers work")
    first.kill()
    assert first.wait() == -9, "the fault: one keeper was killed"
    job_ids = {listening_fleet.submit(listening_fleet.upload(), callback=receiver.url) for _ in range(5)}
    for job_id in job_ids:
        listening_fleet.store.cancel(job_id)

    wait_for(lambda: len(receiver.heard) == 5, what="all callbacks arrive")
    assert {json.loads(body)["data"]["id"] for _, body in receiver.heard} == job_ids
