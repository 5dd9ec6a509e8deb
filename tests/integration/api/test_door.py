"""The door over a real socket: bodies that are too long or never end, and ids of requests."""

from __future__ import annotations

import hashlib
import re
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from jobs.model import JobId
from tests.integration.api.conftest import PNG, Service, problem

#: Far more than any buffer on the way holds.
ENOUGH = 64 * 1024 * 1024


@pytest.fixture
def dial(service: Service, serve: Callable[[Service], str]) -> Callable[[], socket.socket]:
    """Connections to the API."""
    address = urlsplit(serve(service))

    def connect() -> socket.socket:
        return socket.create_connection((address.hostname or "", address.port or 0), timeout=20)

    return connect


def head(method: str, path: str, *lines: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *lines, "", ""]).encode()


def heard(connection: socket.socket) -> bytes:
    """Everything until the other side closes."""
    said = b""
    while True:
        try:
            chunk = connection.recv(65536)
        except ConnectionResetError:
            return said
        if not chunk:
            return said
        said += chunk


@pytest.mark.parametrize("media_type", ["application/json", "multipart/form-data; boundary=x"])
def test_a_body_that_is_declared_too_long_is_refused_before_a_byte_of_it(
    dial: Callable[[], socket.socket], media_type: str
) -> None:
    with dial() as connection:
        connection.sendall(
            head("POST", "/v1/jobs", f"Content-Type: {media_type}", f"Content-Length: {10**12}", "Expect: 100-continue")
        )
        said = heard(connection)
    # Not even invited to send it.
    assert said.startswith(b"HTTP/1.1 413 ")
    assert b"body_too_large" in said
    assert b"100 Continue" not in said


@pytest.mark.parametrize(
    ("method", "path", "media_type", "status"),
    [
        ("POST", "/v1/jobs", "application/json", b"413"),
        ("POST", "/v1/uploads", "application/json", b"413"),
        ("POST", "/v1/jobs/job_1/cancel", "application/json", b"404"),
        ("GET", "/livez", "text/plain", b"200"),
        ("PUT", "/nothing", "text/plain", b"404"),
    ],
)
def test_a_body_without_length_or_end_is_not_listened_to(
    dial: Callable[[], socket.socket], method: str, path: str, media_type: str, status: bytes
) -> None:
    """Whether the call reads bodies or not: it is answered, and the connection closed, long before the sender ends."""
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    sent = 0
    with dial() as connection:
        connection.sendall(head(method, path, f"Content-Type: {media_type}", "Transfer-Encoding: chunked"))
        try:
            while sent < ENOUGH:
                connection.sendall(chunk)
                sent += len(chunk)
        except OSError:
            pass
        else:
            pytest.fail("it listened to all of it")
    assert sent < ENOUGH
    with dial() as connection:  # the answer, which a sender that goes on may lose
        connection.sendall(head(method, path, f"Content-Type: {media_type}", "Transfer-Encoding: chunked"))
        connection.sendall(chunk * 2)
        said = heard(connection)
    assert said.split(b" ")[1] == status, said[:200]
    assert b"connection: close" in said.lower()


def test_a_request_has_the_id_that_its_caller_gave_or_one_of_ours(service: Service) -> None:
    for given in ("4f9c0d1e-0d3c-4a57-9ac5-7d2f3c4f4b0a", "Root=1-67891233-abcdef012345678912345678", "a"):
        assert service.call("GET", "/livez", headers={"X-Request-Id": given}).headers["x-request-id"] == given
    for given in ("", "a b", "x" * 129, 'a"b', "<script>", "{}", "ä".encode(), "a%0d%0ab"):
        answer = service.call("GET", "/livez", headers={"X-Request-Id": given})
        assert re.fullmatch(r"req_[0-9a-f]{24}", answer.headers["x-request-id"]), given
    twice = service.call("GET", "/nothing", headers=[("X-Request-Id", "one"), ("X-Request-Id", "two")])
    assert twice.headers["x-request-id"].startswith("req_")


def test_no_answer_is_taken_for_something_that_it_is_not(service: Service) -> None:
    for path in ("/livez", "/nothing", "/v1/jobs", "/docs", "/openapi.json", "/v1/jobs/no-such-job"):
        assert service.call("GET", path).headers["x-content-type-options"] == "nosniff", path


def test_a_fault_of_ours_is_answered_with_the_id_to_ask_about(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object, **_words: object) -> None:
        raise RuntimeError("hunter2")

    monkeypatch.setattr(service.store, "get", broken)
    answer = service.call("GET", "/v1/jobs/job_" + "0" * 32, headers={"X-Request-Id": "ask-me"})
    problem(answer, 500, "internal")
    assert answer.headers["x-request-id"] == "ask-me"


def test_a_job_remembers_the_request_that_made_it_and_keeps_it_to_itself(service: Service) -> None:
    answer = service.call("POST", "/v1/jobs", json={"input": "s3://photos/a.jpg"}, headers={"X-Request-Id": "r-1"})
    assert service.store.get(JobId(answer.json()["id"])).request_id == "r-1"
    assert "r-1" not in answer.text


def test_a_file_with_another_checksum_than_its_caller_says_is_refused_unstored(service: Service) -> None:
    """There is no storage here: it is refused before one is asked."""
    form = {"file": ("a.png", PNG)}
    wrong = service.call("POST", "/v1/jobs", files=form, data={"input_sha256": "0" * 64})
    said = problem(wrong, 422, "checksum_mismatch")
    assert said["pointer"] == "/input_sha256"
    right = service.call("POST", "/v1/jobs", files=form, data={"input_sha256": hashlib.sha256(PNG).hexdigest()})
    problem(right, 503, "storage_unavailable")  # it came as far as the storage


def test_what_was_declared_of_an_upload_goes_with_its_job(service: Service) -> None:
    words = {"content_type": "image/png", "size": 9, "sha256": "ab" * 32}
    place = service.call("POST", "/v1/uploads", json=words).json()
    said = service.call("POST", "/v1/jobs", json={"upload_id": place["upload_id"]}).json()
    job = service.store.get(JobId(said["id"]))
    assert (job.input_type, job.input_bytes, job.input_sha256) == ("image/png", 9, "ab" * 32)
    other = {"upload_id": place["upload_id"], "input_sha256": "cd" * 32}
    assert problem(service.call("POST", "/v1/jobs", json=other), 422, "invalid_request")["pointer"] == "/input_sha256"
