"""API, keeper and worker as processes: pictures from URLs, one request's id through all of them, and no secret told.

Canaries stand wherever a caller or an operator may put a secret. Everything is then done that goes well and that goes
wrong with them, and every line that a process logged and every error that a caller was answered is looked through.
"""

from __future__ import annotations

import io
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from jobs.callbacks import tenant_secret
from jobs.keys import Scope
from jobs.model import LOCAL_TENANT, Tenant, TenantId
from jobs.settings import JobsSettings
from photomend import webhooks
from photomend.stack.ports import free_ports
from photomend.stack.redis import RedisServer
from photomend.stack.swift import S3Server
from tests.conftest import CALLBACK_SECRET, SIGNING_SECRET
from tests.fleet import LEASE_S, Fleet, png, wait_for

OLD_SECRET = "whsec_Y2FuYXJ5LW9sZC1jYWxsYmFjay1zZWNyZXQtMTIzNDU2Nzg="
#: Path, headers and body of a request.
Heard = tuple[str, dict[str, str], bytes]
MB = 1_000_000
BIG = 48 * MB


def canary(what: str) -> str:
    """A value that stands in one place only and means nothing."""
    return f"canary{what}Q7x9"


class Site(BaseHTTPRequestHandler):
    """A receiver of callbacks and a place that pictures are fetched from."""

    heard: list[Heard]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.heard.append((self.path, dict(self.headers.items()), body))
        self._answer(500 if self.path.startswith("/bad") else 204)

    def do_GET(self) -> None:
        self.heard.append((self.path, dict(self.headers.items()), b""))
        path = self.path.partition("?")[0]
        if path == "/photo.png":
            self._answer(200, png())
        elif path == "/large.png":
            self._answer(200, bytes(60 * MB))
        elif path == "/moved":
            self._answer(302, location="/photo.png")
        else:
            self._answer(404)

    def _answer(self, status: int, body: bytes = b"", location: str | None = None) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        if location:
            self.send_header("location", location)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class Scene:
    """The processes, the site, and what the API answered."""

    def __init__(self, fleet: Fleet, api: str, site: str, heard: list[Heard], api_pid: int) -> None:
        self.fleet = fleet
        self.site = site
        self.heard = heard
        self.api_pid = api_pid
        self.errors: list[str] = []
        self.client = httpx.Client(base_url=api, timeout=50)

    def call(self, method: str, path: str, **words: Any) -> httpx.Response:
        answer = self.client.request(method, path, **words)
        if answer.status_code >= 400:
            self.errors.append(f"{dict(answer.headers)} {answer.text}")
        return answer

    def submit(self, headers: dict[str, str] | None = None, **words: Any) -> dict[str, Any]:
        answer = self.call("POST", "/v1/jobs", json=words, headers=headers)
        assert answer.status_code == 202, answer.text
        said: dict[str, Any] = answer.json()
        return said

    def ended(self, job: dict[str, Any]) -> dict[str, Any]:
        def end() -> dict[str, Any] | None:
            said: dict[str, Any] = self.client.get(job["urls"]["self"], headers={"Prefer": "wait=5"}).json()
            return said if said["status"] in {"succeeded", "failed", "canceled"} else None

        found: dict[str, Any] = wait_for(end, what="the job ends")
        return found

    def lines(self, process: str, event: str) -> list[dict[str, Any]]:
        # A last line may be half written.
        whole, _, _ = self.fleet.log(process).rpartition("\n")
        said = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
        return [line for line in said if line["event"] == event]


@pytest.fixture(scope="module")
def scene(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("canaries")
    heard: list[Heard] = []
    site = ThreadingHTTPServer(("127.0.0.1", 0), type("OurSite", (Site,), {"heard": heard}))
    thread = threading.Thread(target=site.serve_forever, daemon=True)
    thread.start()
    redis = RedisServer(folder / "redis")
    redis.start()
    host = f"127.0.0.1:{site.server_port}"
    settings = JobsSettings(
        redis_url=redis.url,
        s3_endpoint_url=s3_server.endpoint_url,
        s3_region=s3_server.region,
        s3_access_key_id=s3_server.access_key,
        s3_secret_access_key=s3_server.secret_key,
        bucket=f"canaries-{folder.name[-1]}{int(time.time())}",
        callback_secret=CALLBACK_SECRET,
        callback_secret_previous=OLD_SECRET,
        callback_allow_hosts=(host,),
        input_urls=True,
        input_allow_hosts=(host,),
        lease_s=LEASE_S,
        max_upload_bytes=50 * MB,
    )
    (port,) = free_ports(1)
    fleet = Fleet(settings, folder)
    fleet.blobs.ensure_bucket(settings.bucket)
    api = fleet.command("api", [sys.executable, "-m", "photomend", "api", "--port", str(port)])
    fleet.keeper(PHOTOMEND_CALLBACK_SCHEDULE_S="[0.2]")
    fleet.worker()
    made = Scene(fleet, f"http://127.0.0.1:{port}", f"http://{host}", heard, api.pid)
    wait_for(lambda: _is_up(made), what="the API answers")
    yield made
    made.client.close()
    fleet.close()
    redis.stop()
    site.shutdown()
    site.server_close()
    thread.join(5)


def _is_up(scene: Scene) -> bool:
    try:
        return scene.client.get("/readyz").is_success
    except httpx.TransportError:
        return False


def test_one_request_is_followed_from_the_api_to_the_callback_by_its_id(scene: Scene) -> None:
    scene.fleet.upload()
    job = scene.submit(
        {"X-Request-Id": "trace-4711"},
        input=f"s3://{scene.fleet.settings.bucket}/in/photo.png",
        callback={"url": f"{scene.site}/hook", "events": ["job.started", "job.completed"]},
    )
    assert scene.ended(job)["status"] == "succeeded"
    who = {"request_id": "trace-4711", "job_id": job["id"], "tenant": "local"}
    for process, event in (("w", "job started"), ("w", "job succeeded"), ("keeper", "callback delivered")):
        told = wait_for(lambda p=process, e=event: scene.lines(p, e), what=f"{process} logs {event}")
        assert {name: told[-1].get(name) for name in who} == who, (process, event)
    (line,) = wait_for(
        lambda: [x for x in scene.lines("api", "request") if x["request_id"] == "trace-4711"], what="the API logs it"
    )
    assert (line["method"], line["route"], line["status"]) == ("POST", "/v1/jobs", 202)
    (_, headers, body), *_ = wait_for(
        lambda: [x for x in scene.heard if x[0] == "/hook" and b"job.completed" in x[2]], what="the end is told"
    )
    for secret in (CALLBACK_SECRET, OLD_SECRET):
        assert webhooks.verify(body, headers, tenant_secret(secret, LOCAL_TENANT))["data"]["id"] == job["id"]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/photo.png?sig=1", None),
        ("/nothing.png", "input_not_found"),
        ("/moved", "input_unreachable"),
        ("/large.png", "input_too_many_bytes"),
    ],
)
def test_a_picture_is_fetched_from_a_url_or_the_job_fails_with_a_code(
    scene: Scene, path: str, code: str | None
) -> None:
    job = scene.ended(scene.submit(input=scene.site + path))
    assert (job["error"] or {}).get("code") == code, job
    assert job["input"] == (scene.site + path).replace("?sig=1", "?…")
    assert job["status"] == ("failed" if code else "succeeded")


def test_a_picture_is_not_fetched_from_where_the_operator_does_not_say(scene: Scene) -> None:
    answer = scene.call("POST", "/v1/jobs", json={"input": scene.fleet.settings.redis_url.replace("redis", "http")})
    assert (answer.status_code, answer.json()["code"]) == (422, "input_refused")


def test_an_upload_of_another_type_or_checksum_than_declared_is_not_used(scene: Scene) -> None:
    data = png()
    for change, sent in (({"content_type": "image/jpeg"}, data), ({"sha256": "0" * 64}, data)):
        words = {"content_type": "image/png", "size": len(data)} | change
        place = scene.call("POST", "/v1/uploads", json=words).json()
        assert httpx.put(place["url"], content=sent, headers=place["headers"]).is_success
        job = scene.ended(scene.submit(upload_id=place["upload_id"]))
        assert job["error"]["code"] == "input_changed", change


def memory_kb(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1])


def test_a_large_file_in_a_form_goes_through_without_being_held_in_memory(scene: Scene) -> None:
    scene.call("POST", "/v1/jobs", files={"file": ("small.png", png())})
    before = memory_kb(scene.api_pid, "VmHWM")
    data = png() + bytes(BIG)
    answer = scene.call("POST", "/v1/jobs", files={"file": ("big.png", data)})
    assert answer.status_code == 202, answer.text
    grown = memory_kb(scene.api_pid, "VmHWM") - before
    assert grown * 1000 < BIG / 2, f"{grown} KB for a file of {BIG // 1000} KB"


def told_of_in_a_picture(plant: Callable[[str], str]) -> bytes:
    """A picture that holds a canary in each kind of words that a file may have."""
    exif = Image.Exif()
    exif[0x010E], exif[0x013B] = plant("Description"), plant("Artist")
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + plant("Comment").encode()
    exif.get_ifd(0x8825)[0x001D] = plant("Gps")
    words = PngImagePlugin.PngInfo()
    words.add_text("Comment", plant("Text"))
    words.add_text("Title", plant("Packed"), zip=True)
    words.add_itxt("XML:com.adobe.xmp", f"<x:xmpmeta xmlns:x='adobe:ns:meta/'><a>{plant('Xmp')}</a></x:xmpmeta>")
    buffer = io.BytesIO()
    # Noise: the end of the file is pixels, so that what is cut off there is a picture cut off.
    noise = np.random.default_rng(1).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "PNG", exif=exif, pnginfo=words)
    data = buffer.getvalue()
    assert canary("Artist").encode() in data
    return data


def secrets_of_a_tenant(scene: Scene, plant: Callable[[str], str]) -> set[str]:
    """A key while it opens and afterwards, wherever a caller may put it; and what callbacks are signed with."""
    acme = TenantId("acme")
    scene.fleet.store.set_tenant(Tenant(id=acme))
    key, kept = scene.fleet.store.keys.create(acme, scopes=[Scope.ADMIN])
    opens = {"Authorization": f"Bearer {key}"}
    assert scene.call("GET", "/v1/jobs", headers=opens).status_code == 200
    secrets = set(scene.call("GET", "/v1/callbacks/secrets", headers=opens).json()["secrets"])
    assert secrets
    scene.call(
        "POST", "/v1/callbacks/test", headers=opens, json={"url": f"{scene.site}/bad?token={plant('TestToken')}"}
    )
    scene.call(
        "POST", "/v1/callbacks/test", headers=opens, json={"url": f"https://10.0.0.1/?token={plant('TestPrivate')}"}
    )
    for path in (f"/v1/jobs?api_key={key}", f"/v1/jobs/{key}", f"/v1/{key}", f"/v1/jobs?cursor={key}"):
        scene.call("GET", path)
    scene.call("POST", "/v1/jobs", headers={"Idempotency-Key": key, "X-Api-Key": key}, json={"input": f"s3://{key}/a"})
    scene.fleet.store.keys.revoke(kept.id)
    # A process that has just seen it believes it for a moment.
    wait_for(lambda: scene.client.get("/v1/jobs", headers=opens).status_code == 401, what="the key opens nothing")
    assert scene.call("GET", "/v1/jobs", headers=opens).status_code == 401
    return {key.rpartition("_")[2], *(secret.removeprefix("whsec_") for secret in secrets)}


@pytest.mark.timeout(180)
def test_no_canary_is_logged_or_answered_in_an_error(scene: Scene) -> None:
    bucket, site = scene.fleet.settings.bucket, scene.site
    data = png()
    told: set[str] = set()

    def plant(what: str) -> str:
        told.add(canary(what))
        return canary(what)

    # What goes well.
    place = scene.call("POST", "/v1/uploads", json={"content_type": "image/png", "size": len(data)}).json()
    httpx.put(place["url"], content=data, headers=place["headers"]).raise_for_status()
    told.add(dict(httpx.URL(place["url"]).params)["X-Amz-Signature"])
    good = scene.submit(
        {"Idempotency-Key": plant("Key"), "Cookie": f"session={plant('Cookie')}"},
        upload_id=place["upload_id"],
        metadata={"note": plant("Metadata"), "password": plant("Password")},
        callback={"url": f"{site}/ok?token={plant('Token')}"},
    )
    assert scene.ended(good)["metadata"]["note"] == canary("Metadata")
    result = scene.call("GET", f"{good['urls']['self']}/result", params={"part": "image"})
    told.add(dict(httpx.URL(result.headers["location"]).params)["X-Amz-Signature"])
    wordy = told_of_in_a_picture(plant)
    scene.fleet.upload(wordy, key="in/wordy.png")
    assert scene.ended(scene.submit(input=f"s3://{bucket}/in/wordy.png"))["status"] == "succeeded"
    told |= secrets_of_a_tenant(scene, plant)
    # What goes wrong in the worker and the keeper.
    scene.fleet.upload(wordy[:-40], key="in/cut.png")
    # As short as what a message might quote of a file's beginning.
    told.add("s3cr3tQ9")
    scene.fleet.upload(b"s3cr3tQ9 is no picture", key="in/text.png")
    bad = [
        scene.submit(input=f"s3://{bucket}/in/cut.png"),
        scene.submit(input=f"s3://{bucket}/in/text.png"),
        scene.submit(input=f"{site}/nothing?X-Amz-Signature={plant('Signature')}", metadata={"n": plant("Failed")}),
        scene.submit(input=f"s3://{bucket}/nothing", callback={"url": f"{site}/bad?token={plant('BadToken')}"}),
        scene.submit(input=f"http://127.0.0.1:{site.rpartition(':')[2]}/moved?key={plant('Moved')}"),
    ]
    assert {scene.ended(job)["status"] for job in bad} == {"failed"}
    # What is refused at the door.
    for words in (
        {"input": f"https://user:{plant('Userinfo')}@example.com/a.png"},
        {"input": f"http://10.0.0.1/a?token={plant('Private')}"},
        {"input": f"s3://{bucket}/a", "callback": {"url": f"https://u:{plant('Hook')}@example.com/"}},
        {"input": f"s3://{bucket}/a", "callback": {"url": f"https://10.0.0.1/?token={plant('PrivateHook')}"}},
    ):
        assert scene.call("POST", "/v1/jobs", json=words).status_code == 422
    scene.call(
        "POST", "/v1/jobs", content=f'{{"metadata": "{plant("Broken")}', headers={"Content-Type": "application/json"}
    )
    scene.call(
        "POST", "/v1/jobs", json={"input": "s3://b-b/a"}, headers={"Idempotency-Key": f"{plant('BadKey')} ä".encode()}
    )
    scene.call("POST", "/v1/jobs", headers={"Authorization": f"Bearer {plant('Key2')}"}, json={"input": 7})
    scene.call("GET", "/v1/jobs", params={"cursor": plant("Cursor")})
    wait_for(lambda: scene.lines("keeper", "callback given up"), what="the bad callback is given up")
    # What operators gave.
    settings = scene.fleet.settings
    assert settings.s3_secret_access_key is not None
    told |= {CALLBACK_SECRET.removeprefix("whsec_"), OLD_SECRET.removeprefix("whsec_")}
    told |= {settings.s3_secret_access_key.get_secret_value()}
    assert settings.s3_access_key_id is not None
    told |= {settings.s3_access_key_id.get_secret_value()}
    signatures = {
        value for _, headers, _ in scene.heard for name, value in headers.items() if name == "webhook-signature"
    }
    assert signatures, "callbacks were told"
    told |= {SIGNING_SECRET, *signatures}

    logs = {name: scene.fleet.log(name) for name in ("api", "keeper", "w")}
    assert all(logs.values()), "every process has logged something to look through"
    # Some more places where others look.
    public = [scene.client.get(path).text for path in ("/metrics", "/readyz", "/livez", "/v1/models", "/openapi.json")]
    errors = "\n".join([*scene.errors, *public])
    for secret in told:
        for name, text in logs.items():
            assert secret not in text, f"{name} logged {secret}"
        assert secret not in errors, f"an error told {secret}"
