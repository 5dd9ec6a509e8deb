"""Submitting: what is accepted, what is refused and in which words."""

from __future__ import annotations

import json
import socket

import httpx
import pytest

from jobs.kinds import Kind
from jobs.model import JobId, TenantId
from jobs.object_names import new_upload_id, upload_ref
from jobs.retention import Upload
from tests.integration.api.conftest import ALLOWED_CALLBACK, PNG, Service, make_settings, problem

S3 = "s3://photos/1923/wedding.tif"


def test_a_submit_is_stored_and_told_where_to_look_without_asking_the_storage(service):
    answer = service.call("POST", "/v1/jobs", json={"input": S3, "options": {"scale": 3}, "metadata": {"order": "7"}})
    assert answer.status_code == 202
    said = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{said['id']}"
    assert int(answer.headers["retry-after"]) > 0
    assert (said["status"], said["input"], said["metadata"]) == ("queued", S3, {"order": "7"})
    assert said["options"]["scale"] == 3
    assert said["options"]["background"] == "auto"
    stored = service.store.get(JobId(said["id"]))
    assert stored.options.scale == 3
    assert stored.input.uri == S3


@pytest.mark.parametrize("etag", ["d41d8cd98f00b204e9800998ecf8427e-2", '"d41d8cd98f00b204e9800998ecf8427e-2"'])
def test_a_job_may_say_which_version_of_its_picture_it_means(service, etag):
    said = service.submit(input_etag=etag, input_sha256="ab" * 32)
    job = service.store.get(JobId(said["id"]))
    assert (job.input_etag, job.input_sha256) == ("d41d8cd98f00b204e9800998ecf8427e-2", "ab" * 32)
    service.finish(service.claim(job.id))
    again = service.store.replay(job.id).job
    assert (again.input_etag, again.input_sha256) == (job.input_etag, job.input_sha256)


def test_another_version_is_another_request(service):
    headers, words = {"Idempotency-Key": "k"}, {"input": S3, "input_sha256": "ab" * 32}
    assert service.call("POST", "/v1/jobs", json=words, headers=headers).status_code == 202
    problem(
        service.call("POST", "/v1/jobs", json=words | {"input_sha256": "cd" * 32}, headers=headers),
        422,
        "idempotency_mismatch",
    )


def test_a_job_on_an_upload_reads_the_uploads_object(service):
    place = service.call("POST", "/v1/uploads", json={"content_type": "image/png", "size": 1234}).json()
    said = service.call("POST", "/v1/jobs", json={"upload_id": place["upload_id"]}).json()
    job = service.store.get(JobId(said["id"]))
    assert job.input.key.endswith(place["upload_id"])
    assert job.input_bytes == 1234


@pytest.mark.parametrize(
    ("words", "code", "pointer"),
    [
        ({}, "invalid_request", ""),
        ({"input": S3, "upload_id": "upl_1"}, "invalid_request", ""),
        ({"input": "http://example.com/a.jpg"}, "input_refused", "/input"),
        ({"input": "s3://photos/../secret"}, "invalid_request", "/input"),
        ({"input": "s3://photos/a\x00b"}, "invalid_request", "/input"),
        ({"input": "s3://UPPER/a"}, "invalid_request", "/input"),
        ({"input": 7}, "invalid_request", "/input"),
        ({"input": S3, "input_etag": 'a"b'}, "invalid_request", "/input_etag"),
        ({"input": S3, "input_etag": ""}, "invalid_request", "/input_etag"),
        ({"input": S3, "input_sha256": "AB"}, "invalid_request", "/input_sha256"),
        ({"input": S3, "colour": "blue"}, "invalid_request", "/colour"),
        ({"input": S3, "a/b~c": 1}, "invalid_request", "/a~1b~0c"),
        ({"input": S3, "priority": "urgent"}, "invalid_request", "/priority"),
        ({"input": S3, "deadline_s": -1}, "invalid_request", "/deadline_s"),
        ({"input": S3, "deadline_s": 10**400}, "invalid_request", "/deadline_s"),
        ({"input": S3, "deadline_s": "soon"}, "invalid_request", "/deadline_s"),
        ({"input": S3, "metadata": {"n": 1}}, "invalid_request", "/metadata/n"),
        ({"input": S3, "metadata": {"n": "x" * 513}}, "invalid_request", "/metadata/n"),
        ({"input": S3, "metadata": {f"k{n}": "" for n in range(51)}}, "invalid_request", "/metadata"),
        ({"input": S3, "options": []}, "invalid_request", "/options"),
        ({"input": S3, "options": {"sharpness": 1}}, "invalid_option", "/options/sharpness"),
        ({"input": S3, "options": {"scale": 9}}, "invalid_option", "/options/scale"),
        ({"input": S3, "options": {"scale": 10**400}}, "invalid_option", "/options/scale"),
        ({"input": S3, "options": {"scale": True}}, "invalid_option", "/options/scale"),
        ({"input": S3, "options": {"scale": "2"}}, "invalid_option", "/options/scale"),
        ({"input": S3, "options": {"model": "dall-e"}}, "invalid_option", "/options/model"),
        ({"input": S3, "options": {"background": ["none"]}}, "invalid_option", "/options/background"),
        ({"input": S3, "options": {"bit_depth": {}}}, "invalid_option", "/options/bit_depth"),
        ({"input": S3, "options": {"bit_depth": [8]}}, "invalid_option", "/options/bit_depth"),
        ({"input": S3, "options": {"outputs": []}}, "invalid_option", "/options/outputs"),
        ({"input": S3, "options": {"outputs": ["image", "image"]}}, "invalid_option", "/options/outputs"),
        (
            {"input": S3, "options": {"denoise": 0.2, "background": "none"}},
            "invalid_option",
            "/options/denoise",
        ),
        ({"input": S3, "callback": "https://example.com"}, "invalid_request", "/callback"),
        ({"input": S3, "callback": {"url": "https://example.com", "x": 1}}, "invalid_request", "/callback/x"),
        ({"input": S3, "callback": {"url": "https://a.example", "events": []}}, "invalid_request", "/callback/events"),
        ({"input": S3, "callback": {"url": "http://example.com/"}}, "callback_refused", "/callback/url"),
        ({"input": S3, "callback": {"url": "https://169.254.169.254/"}}, "callback_refused", "/callback/url"),
        ({"input": S3, "callback": {"url": "https://[::1]/"}}, "callback_refused", "/callback/url"),
        ({"input": S3, "callback": {"url": "http://127.0.0.1:9998/"}}, "callback_refused", "/callback/url"),
    ],
)
def test_a_wrong_request_is_refused_with_a_code_and_the_place(service, words, code, pointer):
    said = problem(service.call("POST", "/v1/jobs", json=words), 422, code)
    assert said["pointer"] == pointer
    assert service.call("GET", "/v1/jobs").json()["jobs"] == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b'{"a":1,"a":2}',
        b'{"a":NaN}',
        b"[" * 60_000,
        b'{"a":"\\ud800"}',
        b"\xff\xfe",
        b"1" * 5000,
    ],
    ids=lambda body: repr(body[:12]),
)
def test_a_body_that_is_no_strict_json_object_is_malformed(service, body):
    headers = {"content-type": "application/json"}
    said = problem(service.call("POST", "/v1/jobs", content=body, headers=headers), 400, "malformed_body")
    assert "sys." not in said["detail"]


def test_bodies_of_other_types_and_sizes_are_refused(service):
    said = service.call("POST", "/v1/jobs", content=b"x", headers={"content-type": "text/plain"})
    problem(said, 415, "unsupported_media_type")
    problem(service.call("POST", "/v1/jobs", content=b"{}"), 415, "unsupported_media_type")
    problem(service.call("POST", "/v1/jobs", json={"input": "x" * 70_000}), 413, "body_too_large")


def test_an_endless_body_is_cut_off_while_it_comes(service, serve):
    address = httpx.URL(serve(service))
    with socket.create_connection((address.host, address.port), timeout=10) as line:
        line.sendall(b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
        line.sendall(b"Transfer-Encoding: chunked\r\n\r\n")
        # One chunk more than allowed; the end of the body is never sent.
        for _ in range(service.settings.max_json_bytes // 1024 + 1):
            line.sendall(b"400\r\n" + b" " * 1024 + b"\r\n")
        answer = b""
        while part := line.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 413")
    assert b'"code":"body_too_large"' in answer


def test_callbacks_to_public_https_and_to_the_operators_hosts_are_kept(service):
    public = service.submit(callback={"url": "https://example.com/hook", "events": ["job.failed", "job.completed"]})
    kept = service.store.get(JobId(public["id"])).callback
    assert kept is not None
    assert kept.url == "https://example.com/hook"
    assert set(kept.events) == {"job.completed", "job.failed"}
    assert service.submit(callback={"url": f"http://{ALLOWED_CALLBACK}/hook"})


def test_callbacks_are_refused_where_nothing_could_sign_them(service):
    object.__setattr__(
        service.app.state.service, "settings", service.settings.model_copy(update={"callback_secret": None})
    )
    words = {"input": S3, "callback": {"url": "https://example.com/hook"}}
    said = problem(service.call("POST", "/v1/jobs", json=words), 422, "callback_refused")
    assert "secret" in said["detail"]
    assert said["pointer"] == "/callback"


def test_the_same_key_and_request_is_the_same_job_however_it_is_spelt(service):
    first = service.call("POST", "/v1/jobs", json={"input": S3}, headers={"Idempotency-Key": '"k-1"'})
    # The default said aloud, the key without quotes: the same request.
    words = {"options": {"scale": 2}, "input": S3}
    again = service.call("POST", "/v1/jobs", json=words, headers={"Idempotency-Key": "k-1"})
    assert again.status_code == 202
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert len(service.call("GET", "/v1/jobs").json()["jobs"]) == 1


def test_the_same_key_with_another_request_is_refused(service):
    service.call("POST", "/v1/jobs", json={"input": S3}, headers={"Idempotency-Key": "k"})
    other = service.call("POST", "/v1/jobs", json={"input": S3 + "f"}, headers={"Idempotency-Key": "k"})
    problem(other, 422, "idempotency_mismatch")


@pytest.mark.parametrize("key", ["", '""', "a b", "x" * 256, '"a"b"', "a\\b"])
def test_an_idempotency_key_that_is_none_is_refused(service, key):
    answer = service.call("POST", "/v1/jobs", json={"input": S3}, headers={"Idempotency-Key": key})
    problem(answer, 400, "invalid_idempotency_key")


def test_an_unknown_upload_is_not_found_and_looks_like_anothers(service):
    problem(service.call("POST", "/v1/jobs", json={"upload_id": "upl_" + "0" * 32}), 404, "upload_not_found")
    problem(service.call("POST", "/v1/jobs", json={"upload_id": "../../x"}), 404, "upload_not_found")
    other, name = TenantId("other"), new_upload_id()
    ref = upload_ref(service.settings.bucket, other, name)
    service.store.register_upload(Upload(id=name, tenant=other, ref=ref, content_type="image/png", size=1))
    problem(service.call("POST", "/v1/jobs", json={"upload_id": name}), 404, "upload_not_found")


@pytest.mark.parametrize(
    ("words", "pointer"),
    [
        ({"content_type": "image/svg+xml", "size": 1}, "/content_type"),
        ({"content_type": "image/png", "size": 0}, "/size"),
        ({"content_type": "image/png", "size": 10**12}, "/size"),
        ({"content_type": "image/png", "size": "7"}, "/size"),
        ({"content_type": "image/png", "size": 1, "key": "mine"}, "/key"),
    ],
)
def test_an_upload_of_a_wrong_kind_or_size_is_refused(service, words, pointer):
    assert problem(service.call("POST", "/v1/uploads", json=words), 422, "invalid_request")["pointer"] == pointer


def test_a_tenant_with_too_many_unfinished_jobs_is_told_to_wait(redis_settings, no_storage):
    service = Service(make_settings(redis_settings, max_waiting_jobs=1), blobs=no_storage)
    service.submit()
    answer = service.call("POST", "/v1/jobs", json={"input": S3})
    problem(answer, 429, "quota_exceeded")
    assert int(answer.headers["retry-after"]) > 0
    service.store.close()


def test_a_multipart_form_without_a_picture_is_refused_before_anything_is_stored(service):
    form = {"request": (None, json.dumps({"options": {}}), "application/json")}
    assert problem(service.call("POST", "/v1/jobs", files=form), 422, "invalid_request")["pointer"] == "/file"
    for data in (b"", b"BM......", b"<svg/>", b"%PDF-1.7", b"RIFF\0\0\0\0WAVE"):
        answer = service.call("POST", "/v1/jobs", files={"file": ("a.jpg", data)})
        assert problem(answer, 415, "image_unreadable")["pointer"] == "/file"


@pytest.mark.parametrize(
    ("fields", "status", "code", "pointer"),
    [
        ({"scale": "9"}, 422, "invalid_option", "/options/scale"),
        ({"scale": "big"}, 422, "invalid_option", "/options/scale"),
        ({"colour": "blue"}, 422, "invalid_request", "/colour"),
        ({"request": "{}", "scale": "2"}, 422, "invalid_request", "/request"),
        ({"request": "{"}, 400, "malformed_body", None),
        ({"request": '{"input": "s3://a-b/c"}'}, 422, "invalid_request", "/input"),
        ({"callback_url": "http://10.0.0.1/"}, 422, "callback_refused", "/callback/url"),
    ],
)
def test_wrong_words_beside_a_file_are_refused_before_it_is_stored(service, fields, status, code, pointer):
    answer = service.call("POST", "/v1/jobs", files={"file": ("a.png", PNG)}, data=fields)
    assert problem(answer, status, code).get("pointer") == pointer


def test_a_broken_multipart_form_is_malformed(service):
    headers = {"content-type": "multipart/form-data"}
    problem(service.call("POST", "/v1/jobs", content=b"x", headers=headers), 400, "malformed_body")
    headers = {"content-type": "multipart/form-data; boundary=b"}
    problem(service.call("POST", "/v1/jobs", content=b"nonsense", headers=headers), 400, "malformed_body")


def test_a_file_is_not_taken_where_the_storage_is_away(service):
    answer = service.call("POST", "/v1/jobs", files={"file": ("a.png", PNG)})
    problem(answer, 503, "storage_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert service.call("GET", "/v1/jobs").json()["jobs"] == []


def test_a_form_that_a_foreign_web_page_sends_makes_no_job(service: Service):
    answer = service.call(
        "POST", "/v1/jobs", files={"file": ("a.png", PNG)}, headers={"Origin": "https://evil.example"}
    )
    problem(answer, 403, "foreign_origin")
    assert service.call("GET", "/v1/jobs").json()["jobs"] == []


def test_a_detection_is_a_job_that_only_finds_faces(service):
    words = {"input": S3, "options": {"min_score": 0.7, "outputs": ["image"]}, "metadata": {"order": "7"}}
    answer = service.call("POST", "/v1/detect", json=words)
    assert answer.status_code == 202
    said = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{said['id']}"
    assert (said["kind"], said["status"], said["metadata"]) == ("detect", "queued", {"order": "7"})
    assert said["options"]["outputs"] == ["image"]
    assert service.store.get(JobId(said["id"])).kind is Kind.DETECT
    assert service.call("POST", "/v1/detect", json={"input": S3}).json()["options"]["outputs"] == ["provenance"]
    assert service.call("POST", "/v1/jobs", json={"input": S3}).json()["kind"] == "restore"


def test_a_detection_takes_no_option_that_it_cannot_honour(service):
    answer = service.call("POST", "/v1/detect", json={"input": S3, "options": {"scale": 3}})
    said = problem(answer, 422, "invalid_option")
    assert said["pointer"] == "/options/scale"
    assert "only finds faces" in said["detail"]


def test_the_same_key_for_a_detection_and_a_restoration_is_another_request(service):
    options = {"outputs": ["provenance"]}
    first = service.call("POST", "/v1/detect", json={"input": S3}, headers={"Idempotency-Key": "k"})
    again = service.call("POST", "/v1/detect", json={"input": S3, "options": options}, headers={"Idempotency-Key": "k"})
    assert again.json()["id"] == first.json()["id"]
    other = service.call("POST", "/v1/jobs", json={"input": S3, "options": options}, headers={"Idempotency-Key": "k"})
    problem(other, 422, "idempotency_mismatch")


def test_faces_are_chosen_in_json_and_the_pointer_leads_to_the_wrong_one(service):
    choice = ["g5k2p", [10, 20, 110, 140]]
    said = service.call("POST", "/v1/jobs", json={"input": S3, "options": {"faces": choice}}).json()
    assert said["options"]["faces"] == choice
    answer = service.call("POST", "/v1/jobs", json={"input": S3, "options": {"faces": ["g5k2p", "3"]}})
    assert problem(answer, 422, "invalid_option")["pointer"] == "/options/faces/1"
