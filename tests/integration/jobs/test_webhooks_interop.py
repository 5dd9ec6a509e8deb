"""Our callbacks and our ``verify`` against the published standardwebhooks libraries of Python and JavaScript."""

from __future__ import annotations

import base64
import json
import random
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from jobs import callbacks
from photomend import webhooks
from tests import javascript

CASES = 40


def secret(rng: random.Random) -> str:
    return "whsec_" + base64.b64encode(rng.randbytes(rng.choice([24, 32, 64]))).decode()


def body(rng: random.Random) -> str:
    """An event with whatever JSON may hold: other scripts, controls, surrogate pairs, nothing."""
    text = "".join(rng.choices('\t"A\\ä\u2028中\U0001f5bc', k=rng.randrange(60)))
    return json.dumps({"type": "job.completed", "data": {"id": text}}, ensure_ascii=rng.random() < 0.5)


class Peer:
    """The JavaScript library in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, **words: Any) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    """The library as its registry has it, with the versions and hashes of the lock file."""
    folder = tmp_path_factory.mktemp("js")
    node = javascript.install_standardwebhooks(folder)
    command = [node, str(folder / "peer.mjs")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Peer(process)
        assert process.stdin
        process.stdin.close()
        assert process.wait(10) == 0


def test_the_python_library_takes_what_we_send_by_either_secret_while_they_change() -> None:
    rng = random.Random(7)
    for _ in range(CASES):
        new, old, other, text = secret(rng), secret(rng), secret(rng), body(rng)
        headers = callbacks.headers([new, old], "msg_1", text, time.time())
        for one in (new, old):
            assert Webhook(one).verify(text, headers) == json.loads(text)
            assert webhooks.verify(text, headers, one) == json.loads(text)
        with pytest.raises(WebhookVerificationError):
            Webhook(other).verify(text, headers)
        with pytest.raises(webhooks.VerificationError):
            webhooks.verify(text, headers, other)


def test_we_take_what_the_python_library_signs() -> None:
    rng = random.Random(8)
    for _ in range(CASES):
        key, text, now = secret(rng), body(rng), int(time.time())
        signature = Webhook(key).sign("msg_2", datetime.fromtimestamp(now, UTC), text)
        headers = {"Webhook-Id": "msg_2", "Webhook-Timestamp": str(now), "Webhook-Signature": signature}
        assert webhooks.verify(text.encode(), headers, [secret(rng), key]) == json.loads(text)


def test_the_javascript_library_takes_what_we_send_and_nothing_else(peer: Peer) -> None:
    rng = random.Random(9)
    for _ in range(CASES):
        new, old, other, text = secret(rng), secret(rng), secret(rng), body(rng)
        headers = callbacks.headers([new, old], "msg_1", text, time.time())
        for one in (new, old):
            assert peer.ask(do="verify", secret=one, body=text, headers=headers) == {"event": json.loads(text)}
        assert "error" in peer.ask(do="verify", secret=other, body=text, headers=headers)
        assert "error" in peer.ask(do="verify", secret=new, body=text + " ", headers=headers)


def test_we_take_what_the_javascript_library_signs(peer: Peer) -> None:
    rng = random.Random(10)
    for _ in range(CASES):
        key, text, now = secret(rng), body(rng), int(time.time())
        signature = peer.ask(do="sign", secret=key, id="msg_3", at=now, body=text)["signature"]
        headers = {"webhook-id": "msg_3", "webhook-timestamp": str(now), "webhook-signature": signature}
        assert webhooks.verify(text, headers, key) == json.loads(text)
        with pytest.raises(webhooks.VerificationError):
            webhooks.verify(text + " ", headers, key)
