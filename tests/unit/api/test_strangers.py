"""What a browser sends on a foreign page's behalf is refused; programs and our own pages are not."""

from __future__ import annotations

import asyncio
import json

import pytest

from api.strangers import Doorkeeper, is_loopback

HERE = "127.0.0.1:8080"


async def _app(scope, receive, send):
    await send({"type": "http.response.start", "status": 202, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


def _ask(method="POST", *, guards_host=True, allow_hosts=(), **headers):
    """Status and problem code of one request to a guarded app that answers 202 to whatever it gets."""
    sent = []

    async def receive():
        raise AssertionError("a refused request's body is not read")

    async def send(message):
        sent.append(message)

    named = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": "/v1/jobs", "headers": named, "query_string": b""}
    asyncio.run(Doorkeeper(_app, guards_host=guards_host, allow_hosts=allow_hosts)(scope, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"]).get("code")


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:3000", "http://127.0.0.1", "file://", "["]
)
@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT"])
def test_a_foreign_page_cannot_change_anything(method, origin):
    assert _ask(method, host=HERE, origin=origin) == (403, "foreign_origin")


@pytest.mark.parametrize("host", [HERE, "localhost:8080", "[::1]:8080", "127.0.0.1", "LOCALHOST"])
def test_programs_and_our_own_pages_are_served(host):
    assert _ask(host=host) == (202, None)
    assert _ask(host=host, origin=f"http://{host}") == (202, None)


@pytest.mark.parametrize(
    "host", ["evil.example:8080", "127.0.0.1.evil.example", "", "127.0.0.1@evil.example", "192.0.2.1", "["]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_on_loopback_a_name_that_leads_here_from_elsewhere_is_refused_even_to_read(method, host):
    assert _ask(method, host=host, origin=f"http://{host}") == (421, "unexpected_host")


def test_behind_a_gateway_any_name_may_lead_here_and_its_pages_may_call():
    assert _ask(host="photos.example", origin="https://photos.example", guards_host=False) == (202, None)
    assert _ask(host="photos.example", origin="https://evil.example", guards_host=False) == (403, "foreign_origin")


def test_the_operator_allows_names_with_any_port_or_one():
    assert _ask(host="mend.lan:8080", allow_hosts=["Mend.LAN"]) == (202, None)
    assert _ask(host=HERE, origin="http://localhost:3000", allow_hosts=["localhost:3000"]) == (202, None)
    assert _ask(host=HERE, origin="http://localhost:3001", allow_hosts=["localhost:3000"]) == (403, "foreign_origin")


def test_a_foreign_page_may_read_what_no_cors_header_lets_it_see():
    assert _ask("GET", host=HERE, origin="https://evil.example") == (202, None)


@pytest.mark.parametrize(
    ("name", "is_us"), [("127.8.9.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False)]
)
def test_loopback_is_the_machine_itself(name, is_us):
    assert is_loopback(name) is is_us
