"""The README's how-tos do what they say: each snippet is run as it stands, against the whole service.

Which are run, and that all others say why they are not, is in ``tests/unit/test_readme.py``.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import httpx
import pytest

from jobs import callbacks
from jobs.blobs import BlobStore
from jobs.model import ObjectRef
from photomend.stack.ports import free_ports
from tests import javascript, services
from tests.readme import README, Snippet, snippets

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

ADDRESS = "http://127.0.0.1:8080"
#: What runs a snippet of each language, which lies in a file.
SUFFIXES = {"sh": ".sh", "python": ".py", "js": ".mjs"}


def snippet(title: str, language: str, number: int = 0) -> Snippet:
    return [one for one in snippets() if one.title == title and one.language == language and not one.reason][number]


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Where a reader of the README sits: a folder with pictures in it, and a service that runs."""

    folder: Path
    env: dict[str, str]
    api_url: str

    def run(self, one: Snippet, *words: str, before: str = "") -> str:
        """Run it as it stands but for the service's address; what it printed."""
        done = self.try_(one, *words, before=before)
        assert done.returncode == 0, f"{one.title}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def try_(self, one: Snippet, *words: str, before: str = "") -> subprocess.CompletedProcess[str]:
        command = [*self.command(one, before=before), *words]
        return subprocess.run(
            command, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False, timeout=120
        )

    def command(self, one: Snippet, *, before: str = "") -> list[str]:
        file = self.folder / f"snippet{SUFFIXES[one.language]}"
        file.write_text(before + one.code.replace(ADDRESS, self.api_url))
        return {
            "sh": ["bash", "-euo", "pipefail", str(file)],
            "python": [sys.executable, str(file)],
            "js": [javascript.node()[0], str(file)],
        }[one.language]

    def picture(self, name: str) -> tuple[int, ...]:
        found = cv2.imread(str(self.folder / name))
        assert found is not None, name
        (self.folder / name).unlink()
        return found.shape


@pytest.fixture(scope="module")
def desk(stack, photo, tmp_path_factory) -> Desk:
    folder = tmp_path_factory.mktemp("desk")
    for name in ("old.jpg", "group.jpg"):
        shutil.copy(photo, folder / name)
    curl = shutil.which("curl")
    if curl is None:
        services.missing("no curl: apt-get install curl")
    programs = folder / "bin"
    programs.mkdir()
    # The same but for its status: a refusal must not look like success.
    (programs / "curl").write_text(f'#!/bin/sh\nexec {curl} --fail-with-body "$@"\n')
    (programs / "photomend").write_text(f'#!/bin/sh\nexec {sys.executable} -m photomend "$@"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    settings = stack.settings
    told = {
        "PHOTOMEND_API_URL": stack.api_url,
        "PHOTOMEND_REDIS_URL": settings.redis_url,
        "PYTHONPATH": str(README.parent),
        "PATH": f"{programs}:{os.environ['PATH']}",
    }
    scan = ObjectRef(bucket=settings.bucket, key="scans/old.tif")
    done, data = cv2.imencode(".tif", cv2.imread(str(photo)))
    assert done
    BlobStore.connect(settings).put(scan, data.tobytes(), content_type="image/tiff")
    return Desk(folder=folder, env={**os.environ, **told}, api_url=stack.api_url)


@pytest.fixture
def jobs(stack) -> Callable[[], list[dict[str, Any]]]:
    def newest_first() -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = httpx.get(f"{stack.api_url}/v1/jobs").json()["jobs"]
        return listed

    return newest_first


def test_the_shell_submits_watches_and_fetches(desk, jobs):
    said = desk.run(snippet("Submit a photo", "sh"))
    assert "event: end" in said
    assert desk.picture("mended.jpg") == (512, 512, 3)
    by_command, by_uri, by_file = jobs()[:3]
    assert {by_file["status"], by_command["status"]} == {"succeeded"}
    assert by_uri["input"] == "s3://photomend/scans/old.tif"
    with httpx.stream("GET", desk.api_url + by_uri["urls"]["events"], timeout=90) as events:
        assert '"status":"succeeded"' in events.read().decode().replace(": ", ":")


def test_python_restores_and_watches(desk, jobs):
    said = desk.run(snippet("Submit a photo", "python"))
    assert "mended.jpg 1 " in said
    assert desk.picture("mended.jpg") == (512, 512, 3)
    assert jobs()[0]["metadata"]["order"] == "4711"
    assert jobs()[0]["status"] == "succeeded"


def test_javascript_restores_watches_and_tells_what_is_refused(desk, jobs):
    one = snippet("Submit a photo", "js")
    said = desk.run(one, "old.jpg", "mended.jpg")
    assert said.splitlines()[-1].startswith("succeeded")
    assert desk.picture("mended.jpg") == (512, 512, 3)
    assert jobs()[0]["metadata"]["order"] == "4711"
    (desk.folder / "letter.txt").write_text("Dear aunt")
    refused = desk.try_(one, "letter.txt", "no.jpg")
    assert refused.returncode == 1
    assert "The file is not a picture that we read (image_unreadable)" in refused.stderr


def test_the_shell_finds_faces(desk, jobs):
    desk.run(snippet("Choose which faces are restored", "sh"))
    assert (jobs()[0]["kind"], jobs()[0]["metadata"]) == ("detect", {})


def test_python_verifies_a_callback(desk, stack):
    secret = stack.settings.callback_secret.get_secret_value()
    body = json.dumps({"type": "job.completed", "data": {"id": "job_1"}})
    given = {"body": body, "headers": callbacks.headers([secret], "msg_1", body, time.time())}
    before = "".join(f"{name} = {value!r}\n" for name, value in given.items())
    before += f"NEW_SECRET = {secret!r}\nOLD_SECRET = 'whsec_{'A' * 32}'\n"
    one = snippet("Receive callbacks", "python")
    desk.run(one, before=before)
    forged = desk.try_(one, before=before + "body += ' '\n")
    assert "VerificationError" in forged.stderr


def test_javascript_receives_a_callback_and_turns_away_a_forged_one(desk, stack):
    javascript.install_standardwebhooks(desk.folder)
    (port,) = free_ports(1)
    one = snippet("Receive callbacks", "js")
    assert "listen(9000," in one.code
    secrets = httpx.get(f"{desk.api_url}/v1/callbacks/secrets").json()["secrets"]
    with receiving(desk, one, port=port, secret=secrets[0]) as received:
        url = f"http://127.0.0.1:{port}/hook"
        signed_by_nobody = {"webhook-id": "msg_1", "webhook-timestamp": str(int(time.time()))}
        signed_by_nobody["webhook-signature"] = "v1,AAAA"
        assert httpx.post(url, json={"type": "job.completed"}, headers=signed_by_nobody).status_code == 400
        answer = httpx.post(f"{desk.api_url}/v1/callbacks/test", json={"url": url}, timeout=30).json()
        assert answer["delivered"], answer
        assert received().startswith("callback.test ")


@contextmanager
def receiving(desk: Desk, one: Snippet, *, port: int, secret: str) -> Iterator[Callable[[], str]]:
    """Its server while it runs; gives what it says next."""
    command = desk.command(one)
    script = Path(command[-1])
    script.write_text(script.read_text().replace("listen(9000,", f"listen({port},"))
    env = desk.env | {"CALLBACK_SECRET": secret}
    with subprocess.Popen(command, cwd=desk.folder, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            give_up_at = time.monotonic() + 60
            while True:
                assert process.poll() is None
                assert time.monotonic() < give_up_at
                try:
                    httpx.get(f"http://127.0.0.1:{port}/")
                except httpx.ConnectError:
                    time.sleep(0.05)
                else:
                    break
            assert process.stdout
            yield process.stdout.readline
        finally:
            process.kill()


def test_an_operator_sets_a_tenant_up_and_gives_it_a_key(desk):
    one = snippet("Give tenants keys", "sh")
    said = desk.run(dataclasses.replace(one, code=f"{one.code}echo $key\n"))
    key = re.search(r"^pm_live_[0-9a-z]{12}_\w+$", said, re.MULTILINE)
    assert key is not None
    assert desk.picture("mended.jpg") == (512, 512, 3)
    headers = {"Authorization": f"Bearer {key[0]}"}
    (job,) = httpx.get(f"{desk.api_url}/v1/jobs", headers=headers).json()["jobs"]
    assert job["status"] == "succeeded"
    denied = httpx.post(f"{desk.api_url}/v1/jobs", json={"input": "s3://photomend/scans/old.tif"}, headers=headers)
    assert denied.json()["code"] == "input_denied"
    allowed = httpx.post(f"{desk.api_url}/v1/jobs", json={"input": "s3://acme-photos/old.tif"}, headers=headers)
    assert allowed.status_code == 202
