"""Uploads and results through a real S3 server, and the Python client and the commands over a real socket."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

import httpx
import pytest
from typer.testing import CliRunner

from jobs.errors import ObjectMissing
from jobs.model import JobId
from jobs.object_names import plain_name
from photomend import Client
from photomend.cli import app
from photomend.client import JobFailed, ProblemError, Unreachable, UnsupportedFile, WaitTimeout, answers, calls
from tests.integration.api.conftest import PNG, Service, make_settings, problem


def finish_soon(service, *, data=None, fail=False):
    """A worker that does the next job as soon as it is there."""

    def work():
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            waiting = service.call("GET", "/v1/jobs", params={"status": "queued"}).json()["jobs"]
            if waiting:
                job = service.claim(waiting[0]["id"])
                service.beat(job, "restore", 50)
                time.sleep(0.7)
                service.fail(job) if fail else service.finish(job, data)
                return
            time.sleep(0.05)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_an_upload_by_a_presigned_url_is_the_job_s_input(full_service):
    service = full_service
    words = {"content_type": "image/png", "size": len(PNG), "filename": "Großmutter & ich.png"}
    place = service.call("POST", "/v1/uploads", json=words).json()
    assert httpx.put(place["url"], content=PNG, headers=place["headers"]).is_success
    said = service.call("POST", "/v1/jobs", json={"upload_id": place["upload_id"]}).json()
    job = service.store.get(JobId(said["id"]))
    assert plain_name(job.input) == "Großmutter _ ich.png"
    assert service.blobs.get(job.input, max_bytes=10_000) == PNG


def test_a_presigned_url_takes_no_other_type_and_no_other_place(full_service):
    place = full_service.call("POST", "/v1/uploads", json={"content_type": "image/png", "size": len(PNG)}).json()
    wrong_type = httpx.put(place["url"], content=PNG, headers=place["headers"] | {"Content-Type": "text/html"})
    assert wrong_type.status_code == 403
    elsewhere = place["url"].replace(place["upload_id"], "upl_" + "0" * 32)
    assert httpx.put(elsewhere, content=PNG, headers=place["headers"]).status_code == 403


def test_a_file_in_a_form_is_stored_and_named_by_the_job(full_service):
    service = full_service
    files = {"file": ("../../old photo.jpg", PNG, "text/html")}
    answer = service.call("POST", "/v1/jobs", files=files, data={"scale": "1.5", "outputs": "image, mask", "seed": "7"})
    assert answer.status_code == 202, answer.text
    job = service.store.get(JobId(answer.json()["id"]))
    assert (job.options.scale, job.options.outputs, job.options.seed) == (1.5, ("image", "mask"), 7)
    assert (job.input.bucket, job.input_bytes) == (service.settings.bucket, len(PNG))
    assert plain_name(job.input) == "old photo.jpg"
    info = service.blobs.head(job.input)
    # The bytes decide about the type, not the caller.
    assert info.content_type == "image/png"
    assert info.metadata["sha256"] == hashlib.sha256(PNG).hexdigest()


@pytest.mark.parametrize(
    "name",
    [
        'a"; filename="b.html',
        "a\r\nSet-Cookie: own=ed\r\n\r\n<script>.png",
        "../../../etc/passwd",
        "C:\\Windows\\system32\\evil.png",
        "photo\u202egnp.exe",
        "Großmutter & 祖母 🖼.png",
        "%0d%0aX-Own: ed.png",
        "a;b=c, d.png",
        "\x00\x1b[31m.png",
        ".htaccess",
        " ",
    ],
)
def test_no_name_of_a_file_means_anything_but_a_name_to_whoever_downloads_it(full_service, name):
    """From the caller's mouth to what the storage says of the picture: one header, one safe name, a fixed type."""
    service = full_service
    place = service.call("POST", "/v1/uploads", json={"content_type": "image/png", "size": 5, "filename": name})
    assert place.status_code == 201, place.text
    headers = place.json()["headers"]
    assert httpx.put(place.json()["url"], content=b"<html", headers=headers).is_success
    submitted = service.call("POST", "/v1/jobs", json={"upload_id": place.json()["upload_id"]})
    job = service.claim(submitted.json()["id"])
    service.finish(job, data=b"<html", filename=f"{plain_name(job.input)}-restored.png")
    for part in ("image", "input"):
        told = service.call(
            "GET", f"/v1/jobs/{job.id}/result", params={"part": part}, headers={"Accept": "application/json"}
        )
        assert told.headers["x-content-type-options"] == "nosniff"
        answer = httpx.get(told.json()["url"])
        # No web page, whatever the bytes are.
        assert answer.status_code == 200
        kinds = {"image/png"} if part == "image" else {"image/png", "image/jpeg"}
        assert answer.headers["content-type"] in kinds
        (disposition,) = answer.headers.get_list("content-disposition")
        form = re.fullmatch(
            r"""attachment; filename="([\w.\- ]*)"; filename\*=UTF-8''([\w.%~-]+)""", disposition, re.ASCII
        )
        assert form, disposition
        clear = unquote(form[2])
        assert clear.isprintable()
        assert not set(clear) & set("/\\\"'<>;:%\u202e")
        assert not {"set-cookie", "x-own"} & set(answer.headers)


def test_the_same_file_under_the_same_key_is_one_job_and_one_object(full_service):
    service, headers = full_service, {"Idempotency-Key": "order-7"}
    first = service.call("POST", "/v1/jobs", files={"file": ("a.png", PNG)}, headers=headers)
    again = service.call("POST", "/v1/jobs", files={"file": ("b.png", PNG)}, headers=headers)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json()["id"] == first.json()["id"]
    other = service.call("POST", "/v1/jobs", files={"file": ("a.png", PNG + b"1")}, headers=headers)
    problem(other, 422, "idempotency_mismatch")


def test_a_file_larger_than_allowed_is_refused(full_service):
    big = PNG + bytes(full_service.settings.max_upload_bytes)
    problem(full_service.call("POST", "/v1/jobs", files={"file": ("a.png", big)}), 413, "body_too_large")
    # Beyond what the form around it may add, it is not even read to its end.
    bigger = big + bytes(200_000)
    problem(full_service.call("POST", "/v1/jobs", files={"file": ("a.png", bigger)}), 413, "body_too_large")


def test_a_bucket_that_is_not_there_is_our_fault_and_not_the_callers(full_service):
    service = full_service
    settings = service.settings.model_copy(update={"bucket": "no-such-bucket-here"})
    object.__setattr__(service.app.state.service, "settings", settings)
    problem(service.call("POST", "/v1/jobs", files={"file": ("a.png", PNG)}), 503, "storage_unavailable")


def test_it_is_ready_when_redis_and_the_storage_answer(full_service):
    said = full_service.call("GET", "/readyz")
    assert said.status_code == 200
    assert said.json() == {"status": "ready", "checks": {"store": "ok", "storage": "ok"}}


def test_the_client_submits_waits_and_downloads(client, full_service, tmp_path):
    photo = tmp_path / "old.png"
    photo.write_bytes(PNG)
    sent, heard = [], []
    worker = finish_soon(full_service, data=b"restored")
    job = client.submit(photo, options={"scale": 1}, metadata={"a": "b"}, on_upload=lambda *n: sent.append(n))
    done = client.wait(job.id, timeout_s=20, on_progress=heard.append)
    worker.join()
    assert sent[-1] == (len(PNG), len(PNG))
    assert done.status == "succeeded"
    assert done.raw["metadata"] == {"a": "b"}
    assert ("restore", 50) in {(j.stage, j.percent) for j in heard}
    assert client.download(job.id, to=tmp_path / "new.png").read_bytes() == b"restored"
    assert [j.id for j in client.list()] == [job.id]
    now = datetime.now(UTC)
    assert [j.id for j in client.list(created_after=now - timedelta(days=1), created_before=now)] == [job.id]
    assert list(client.list(created_after=now)) == list(client.list(created_before=now - timedelta(days=1))) == []
    with pytest.raises(ProblemError) as caught:
        client.download(job.id, part="mask", to=tmp_path / "mask.png")
    assert caught.value.code == "part_not_found"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new.png", "old.png"]
    client.delete(job.id)
    assert client.get(job.id).status == "expired"


def test_the_client_finds_faces_in_one_call(client, full_service, tmp_path):
    photo = tmp_path / "group.png"
    photo.write_bytes(PNG)
    worker = finish_soon(full_service)
    job = client.detect(photo, options={"max_faces": 3}, timeout_s=20)
    worker.join()
    assert job.raw["kind"] == "detect"
    assert [face["score"] for face in job.faces] == [0.9]
    assert client.submit("s3://photos/a.jpg", kind="detect").raw["kind"] == "detect"
    form = {"file": ("group.png", PNG), "faces": (None, "g5k2p,10,20,110,140"), "outputs": (None, "image,provenance")}
    said = full_service.call("POST", "/v1/detect", files=form).json()
    assert said["options"]["faces"] == ["g5k2p", [10, 20, 110, 140]]


def test_the_client_sends_large_files_past_the_api(client, full_service, tmp_path, monkeypatch):
    monkeypatch.setattr(calls, "DIRECT_UPLOAD_BYTES", 100)
    photo = tmp_path / "old.png"
    photo.write_bytes(PNG * 3000)
    sent = []
    job = client.submit(photo, on_upload=lambda *n: sent.append(n))
    stored = full_service.store.get(JobId(job.id))
    assert full_service.blobs.get(stored.input, max_bytes=10**6) == PNG * 3000
    assert plain_name(stored.input) == "old.png"
    assert sent[-1] == (len(PNG) * 3000,) * 2
    assert len(sent) > 1
    photo.write_bytes(b"BM" * 300)
    with pytest.raises(UnsupportedFile):
        client.submit(photo)


def test_the_client_hears_events_and_raises_what_a_job_failed_of(client, full_service):
    job = client.submit("s3://photos/a.jpg")
    events = client.stream_events(job.id)
    first = next(events)
    assert (first.kind, first.job.status) == ("progress", "queued")
    worker = finish_soon(full_service, fail=True)
    told = [(event.kind, event.job.status) for event in events]
    worker.join()
    assert ("progress", "processing") in told
    assert told[-1] == ("end", "failed")
    with pytest.raises(JobFailed) as caught:
        client.wait(job.id)
    assert caught.value.code == "image_truncated"
    assert "byte 7" in str(caught.value)


def test_the_client_says_who_refused_and_why(client, full_service, serve):
    with pytest.raises(ProblemError) as caught:
        client.submit("s3://photos/a.jpg", options={"scale": 99})
    assert (caught.value.status, caught.value.code, caught.value.pointer) == (422, "invalid_option", "/options/scale")
    job = client.submit("s3://photos/a.jpg")
    with pytest.raises(WaitTimeout):
        client.wait(job.id, timeout_s=0.2)
    assert client.cancel(job.id).status == "canceled"
    with pytest.raises(FileNotFoundError):
        client.submit("/no/such/file.jpg")
    with Client("http://127.0.0.1:9", retries=0) as nobody, pytest.raises(Unreachable):
        nobody.get(job.id)
    assert client.models() == ()


def test_the_commands_submit_follow_and_cancel(full_service, serve, tmp_path):
    url, run = serve(full_service), CliRunner().invoke
    photo, out = tmp_path / "old.png", tmp_path / "new.png"
    photo.write_bytes(PNG)
    worker = finish_soon(full_service, data=b"restored")
    words = ["submit", str(photo), "-s", "1", "--option", "seed=7", "--label", "order=7", "-o", str(out), "--json"]
    answer = run(app, [*words, "--url", url])
    worker.join()
    assert answer.exit_code == 0, answer.output
    assert out.read_bytes() == b"restored"
    said = json.loads(answer.stdout)
    assert (said["status"], said["options"]["seed"], said["metadata"]) == ("succeeded", 7, {"order": "7"})
    again = run(app, ["status", said["id"], "--url", url])
    assert (again.exit_code, again.stdout.strip()) == (0, said["id"])
    assert "1 face" in again.stderr
    waiting = run(app, ["submit", "s3://photos/a.jpg", "--url", url])
    canceled = run(app, ["cancel", waiting.stdout.strip(), "--url", url])
    assert "canceled" in canceled.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["submit", "s3://photos/a.jpg", "--option", "colour=blue"], "Unknown option"),
        (["submit", "/no/such/file.jpg"], "No such file"),
        (["submit", "nothing"], "No such file"),
        (["status", "job_1"], "job_not_found"),
        (["cancel", "job_1"], "job_not_found"),
    ],
)
def test_a_command_that_is_refused_says_one_sentence_and_fails(service, serve, words, sentence):
    answer = CliRunner().invoke(app, [*words, "--url", serve(service)])
    assert answer.exit_code == 1
    assert sentence in answer.stderr
    assert "Traceback" not in answer.output
    assert answer.stdout == ""


def test_a_command_without_a_service_says_how_to_start_one(monkeypatch):
    monkeypatch.setattr(answers, "FIRST_PAUSE_S", 0.01)
    answer = CliRunner().invoke(app, ["status", "job_1", "--url", "http://127.0.0.1:9"])
    assert answer.exit_code == 1
    assert "photomend up" in answer.stderr


def test_a_failed_submit_leaves_no_file_behind_for_good(jobs_settings):
    """The upload is registered before it is stored, so that the sweeper finds what no job uses."""
    service = Service(make_settings(jobs_settings, max_waiting_jobs=1))
    service.submit()
    problem(service.call("POST", "/v1/jobs", files={"file": ("a.png", PNG)}), 429, "quota_exceeded")
    redis = service.store._redis
    (name,) = redis.zrange("{photomend}:uploads", 0, -1)
    redis.zadd("{photomend}:uploads", {name: 0})
    service.store.sweep()
    (expired,) = service.store.expired_objects()
    service.blobs.delete(expired.refs)
    with pytest.raises(ObjectMissing):
        service.blobs.head(expired.refs[0])
    service.store.close()
