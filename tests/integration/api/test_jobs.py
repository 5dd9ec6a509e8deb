"""Reading, listing, watching, canceling and deleting jobs."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta, timezone

import httpx
import pytest

from jobs.backlog import Slots
from jobs.codec import VERSION
from jobs.model import LOCAL_TENANT, Job, JobId, ObjectRef, TenantId, new_job_id
from photomend.client import parse_events
from tests.integration.api.conftest import Service, make_settings, problem


def events_of(text: str) -> list[tuple[str, str]]:
    return [(e.kind, e.job.status) for e in parse_events(text.splitlines())]


def test_a_job_is_read_with_a_tag_that_holds_until_it_changes(service):
    said = service.submit()
    first = service.call("GET", said["urls"]["self"])
    assert first.json() == said
    assert first.headers["retry-after"] == "1"
    same = service.call("GET", said["urls"]["self"], headers={"If-None-Match": f'W/"x", {first.headers["etag"]}'})
    assert same.status_code == 304
    assert same.content == b""
    assert same.headers["etag"] == first.headers["etag"]
    job = service.claim(said["id"])
    service.beat(job, "detect", 20)
    changed = service.call("GET", said["urls"]["self"], headers={"If-None-Match": first.headers["etag"]})
    assert changed.status_code == 200
    assert changed.headers["etag"] != first.headers["etag"]
    assert changed.json()["progress"] == {"stage": "detect", "percent": 20}


@pytest.mark.parametrize(
    "call", [("GET", ""), ("POST", "/cancel"), ("DELETE", ""), ("GET", "/result"), ("GET", "/events")]
)
@pytest.mark.parametrize("job_id", ["job_" + "0" * 32, "nonsense", "job_x", "{photomend}:seq"])
def test_a_job_that_does_not_exist_is_not_found_by_any_call(service, call, job_id):
    problem(service.call(call[0], f"/v1/jobs/{job_id}{call[1]}"), 404, "job_not_found")


def test_another_tenants_job_is_not_found(service):
    job = Job(id=new_job_id(), tenant=TenantId("other"), input=ObjectRef.parse("s3://photos/b.jpg"))
    service.store.submit(job)
    for method, tail in (("GET", ""), ("POST", "/cancel"), ("DELETE", ""), ("GET", "/result"), ("GET", "/events")):
        problem(service.call(method, f"/v1/jobs/{job.id}{tail}"), 404, "job_not_found")
    assert service.call("GET", "/v1/jobs").json()["jobs"] == []


def test_jobs_are_listed_newest_first_page_by_page_and_by_status(service):
    ids = [service.submit()["id"] for _ in range(5)]
    service.call("POST", f"/v1/jobs/{ids[2]}/cancel")
    seen, cursor = [], None
    while True:
        page = service.call("GET", "/v1/jobs", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        seen += [job["id"] for job in page["jobs"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == ids[::-1]
    canceled = service.call("GET", "/v1/jobs", params={"status": "canceled"}).json()
    assert [job["id"] for job in canceled["jobs"]] == [ids[2]]


def test_a_job_that_only_a_newer_version_can_read_is_named_beside_the_others(service):
    ids = [service.submit()["id"] for _ in range(4)]
    for job_id in ids[1:3]:
        service.store._redis.hset(f"{{photomend}}:job:{job_id}", "v", VERSION + 1)
    problem(service.call("GET", f"/v1/jobs/{ids[1]}"), 500, "unreadable_record")

    page = service.call("GET", "/v1/jobs", params={"limit": 3}).json()
    assert [job["id"] for job in page["jobs"]] == [ids[3]]
    assert page["unreadable"] == [ids[2], ids[1]]
    rest = service.call("GET", "/v1/jobs", params={"limit": 3, "cursor": page["next_cursor"]}).json()
    assert [job["id"] for job in rest["jobs"]] == [ids[0]]
    assert set(rest) == {"jobs", "next_cursor"}, "where all can be read, nothing is said of it"


def test_jobs_of_a_period_are_listed_whatever_its_zone(service):
    ids = [service.submit()["id"] for _ in range(3)]
    middle = service.store.get(ids[1]).created_at

    def listed(**period: str) -> list[str]:
        answer = service.call("GET", "/v1/jobs", params=period)
        assert answer.status_code == 200, answer.text
        return [job["id"] for job in answer.json()["jobs"]][::-1]

    for zone in (UTC, timezone(timedelta(hours=-3, minutes=-30))):
        text = datetime.fromtimestamp(middle, zone).isoformat(timespec="microseconds")
        assert listed(created_after=text) == ids[1:]
        assert listed(created_before=text) == ids[:1]
    said = service.call("GET", f"/v1/jobs/{ids[1]}").json()["created_at"]
    assert ids[1] in listed(created_after=said), "as a job says it"
    assert listed(created_after="2999-01-01T00:00:00Z") == []


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/v1/jobs?created_after=yesterday", "created_after"),
        ("/v1/jobs?created_after=1769857200", "created_after"),
        ("/v1/jobs?created_before=2026-02-30T00:00:00Z", "created_before"),
        ("/v1/jobs?created_before=2026-01-31T00:00:00", "created_before"),
        ("/v1/jobs?created_after=2026-01-31T00:00:00+01:00", "created_after"),
        ("/v1/jobs?limit=0", "limit"),
        ("/v1/jobs?limit=many", "limit"),
        ("/v1/jobs?status=lost", "status"),
        ("/v1/jobs?page=2", "page"),
        ("/v1/jobs/job_" + "0" * 32 + "/result?part=../secret", "part"),
        ("/v1/jobs/job_" + "0" * 32 + "/result?piece=mask", "piece"),
    ],
)
def test_a_wrong_query_is_refused_with_the_parameters_name(service, path, parameter):
    assert problem(service.call("GET", path), 422, "invalid_request")["parameter"] == parameter


def test_a_cursor_that_no_page_gave_is_refused(service):
    problem(service.call("GET", "/v1/jobs?cursor=abc"), 422, "invalid_request")


def test_a_waiting_job_is_canceled_at_once_and_again_without_harm(service):
    path = f"/v1/jobs/{service.submit()['id']}"
    first = service.call("POST", f"{path}/cancel")
    assert first.json()["status"] == "canceled"
    assert first.headers["etag"]
    assert service.call("POST", f"{path}/cancel").json() == first.json()
    problem(service.call("GET", f"{path}/result"), 409, "job_canceled")


def test_a_running_job_is_asked_to_stop(service):
    said = service.submit()
    job = service.claim(said["id"])
    answer = service.call("POST", f"/v1/jobs/{job.id}/cancel").json()
    assert (answer["status"], answer["cancel_requested"]) == ("processing", True)
    service.store.canceled(job.id, epoch=job.epoch)
    assert service.call("GET", f"/v1/jobs/{job.id}").json()["status"] == "canceled"


def test_a_result_is_a_redirect_to_a_signed_url_that_only_a_succeeded_job_has(service):
    said = service.submit()
    path = f"/v1/jobs/{said['id']}/result"
    answer = service.call("GET", path)
    problem(answer, 409, "result_not_ready")
    assert answer.headers["retry-after"] == "1"
    job = service.claim(said["id"])
    problem(service.call("GET", path), 409, "result_not_ready")
    service.finish(job)
    answer = service.call("GET", path)
    assert answer.status_code == 303
    assert answer.headers["cache-control"] == "no-store"
    assert "X-Amz-Signature=" in answer.headers["location"]
    missing = problem(service.call("GET", path, params={"part": "mask"}), 404, "part_not_found")
    assert "outputs" in missing["detail"]
    read = service.call("GET", f"/v1/jobs/{said['id']}").json()
    assert read["urls"]["result"] == path
    assert read["output"]["parts"][0]["part"] == "image"
    assert "X-Amz" not in json.dumps(read)


def test_a_failed_job_says_why_in_its_record_and_instead_of_a_result(service):
    said = service.submit()
    service.fail(service.claim(said["id"]))
    error = service.call("GET", f"/v1/jobs/{said['id']}").json()["error"]
    assert error["code"] == "image_truncated"
    assert "byte 7" in error["detail"]
    assert problem(service.call("GET", f"/v1/jobs/{said['id']}/result"), 409, "job_failed")["error"] == error


def test_a_deleted_jobs_result_is_gone_at_once_and_its_objects_and_record_with_the_next_sweep(service):
    place = service.call("POST", "/v1/uploads", json={"content_type": "image/png", "size": 9}).json()
    said = service.call("POST", "/v1/jobs", json={"upload_id": place["upload_id"]}).json()
    path = f"/v1/jobs/{said['id']}"
    problem(service.call("DELETE", path), 409, "illegal_state")
    job = service.claim(said["id"])
    problem(service.call("DELETE", path), 409, "illegal_state")
    result_key = service.finish(job).result.artifacts[0].ref.key
    assert service.call("DELETE", path).status_code == 204
    problem(service.call("GET", f"{path}/result"), 410, "result_expired")
    assert service.call("DELETE", path).status_code == 204
    service.store.sweep()
    expired = service.store.expired_objects()
    assert {ref.key for e in expired for ref in e.refs} == {result_key, job.input.key}
    # The record goes last: it is what names the objects.
    assert service.call("GET", path).json()["status"] == "expired"
    service.store.forget_objects(expired)
    # The sweeper looks again after a minute; don't wait for it.
    service.store._redis.zadd("{photomend}:retire", {said["id"]: 0})
    service.store.sweep()
    problem(service.call("GET", path), 404, "job_not_found")
    problem(service.call("POST", "/v1/jobs", json={"upload_id": place["upload_id"]}), 404, "upload_not_found")


def test_an_upload_that_another_job_waits_for_outlives_a_delete(service):
    place = service.call("POST", "/v1/uploads", json={"content_type": "image/png", "size": 9}).json()
    done, waiting = (service.call("POST", "/v1/jobs", json={"upload_id": place["upload_id"]}).json() for _ in range(2))
    service.finish(service.claim(done["id"]))
    service.call("DELETE", f"/v1/jobs/{done['id']}")
    service.store.sweep()
    upload = service.store.get(JobId(waiting["id"])).input
    assert upload not in [ref for e in service.store.expired_objects() for ref in e.refs]
    service.finish(service.claim(waiting["id"]))
    service.store.sweep()
    assert upload in [ref for e in service.store.expired_objects() for ref in e.refs]


def test_events_tell_every_state_in_order_and_end_with_the_whole_job(service, serve):
    url = serve(service)
    said = service.submit()
    kinds, percents = [], []
    with httpx.stream("GET", f"{url}{said['urls']['events']}", timeout=10) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = parse_events(answer.iter_lines())
        assert next(events).job.status == "queued"
        job = service.claim(said["id"])
        for percent in (10, 50, 90):
            service.beat(job, "restore", percent)
            event = next(e for e in events if e.job.percent == percent)
            assert (event.kind, event.job.stage) == ("progress", "restore")
            percents.append(event.revision)
        service.finish(job)
        kinds = list(events)
    assert percents == sorted(percents)
    assert [e.kind for e in kinds] == ["end"]
    assert kinds[0].job.status == "succeeded"
    assert kinds[0].job.raw == service.call("GET", said["urls"]["self"]).json()


def test_a_reader_that_comes_back_hears_only_what_it_has_not_seen(service):
    said = service.submit()
    job = service.finish(service.claim(said["id"]))
    path = said["urls"]["events"]
    all_of_it = service.call("GET", path)
    assert events_of(all_of_it.text) == [("end", "succeeded")]
    assert f"id: {job.revision}\n" in all_of_it.text
    assert all_of_it.headers["cache-control"] == "no-store"
    late = service.call("GET", path, headers={"Last-Event-ID": str(job.revision - 1)})
    assert events_of(late.text) == [("end", "succeeded")]
    done = service.call("GET", path, headers={"Last-Event-ID": str(job.revision)})
    assert done.status_code == 204
    assert done.content == b""
    for wrong in ("x", "+0.0", "-1"):
        problem(service.call("GET", path, headers={"Last-Event-ID": wrong}), 422, "invalid_request")


def finish_after(service, job_id, seconds):
    def work():
        time.sleep(seconds)
        service.finish(service.claim(job_id))

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_caller_that_prefers_to_wait_is_answered_when_the_job_has_ended(service):
    said = service.submit()
    worker = finish_after(service, said["id"], 0.3)
    began = time.monotonic()
    answer = service.call("GET", said["urls"]["self"], headers={"Prefer": "respond-async, wait=20"})
    worker.join()
    assert answer.json()["status"] == "succeeded"
    assert answer.headers["preference-applied"] == "wait=20"
    assert time.monotonic() - began < 10


def test_a_wait_that_is_too_short_answers_as_things_are(service):
    headers = {"Prefer": "wait=1", "Idempotency-Key": "k"}
    began = time.monotonic()
    first = service.call("POST", "/v1/jobs", json={"input": "s3://photos/a.jpg"}, headers=headers)
    assert 0.9 < time.monotonic() - began < 10
    assert (first.status_code, first.json()["status"]) == (202, "queued")
    service.finish(service.claim(first.json()["id"]))
    again = service.call("POST", "/v1/jobs", json={"input": "s3://photos/a.jpg"}, headers=headers)
    assert (again.status_code, again.json()["status"]) == (200, "succeeded")
    assert "retry-after" not in again.headers


def test_a_silent_stream_is_kept_alive_by_comments(redis_settings, no_storage, serve):
    service = Service(make_settings(redis_settings, events_keepalive_s=0.1), blobs=no_storage)
    path = service.submit()["urls"]["events"]
    with httpx.stream("GET", serve(service) + path, timeout=10) as answer:
        line = next(line for line in answer.iter_lines() if line.startswith(":"))
    assert line == ": still here"
    service.store.close()


def test_open_streams_end_when_the_server_stops(service, serve):
    path = service.submit()["urls"]["events"]
    url, ended = serve(service) + path, threading.Event()

    def read():
        with httpx.stream("GET", url, timeout=30) as answer:
            for _ in answer.iter_lines():
                started.set()
        ended.set()

    started = threading.Event()
    reader = threading.Thread(target=read)
    reader.start()
    assert started.wait(10)
    assert not ended.is_set()
    service.app.state.service.stopping.set()
    assert ended.wait(5)
    reader.join()


def test_the_models_of_the_fleet_are_told_once_with_their_licences(service):
    assert service.call("GET", "/v1/models").json() == {"models": [], "workers": 0}
    preview = {"name": "preview", "sha256": "ab", "licence": "Apache-2.0", "kind": "restorer"}
    other = {"name": "gfpgan-1.4", "sha256": "cd", "licence": "Apache-2.0", "kind": "restorer"}
    for worker, models in (("w1", (preview,)), ("w2", (preview, other))):
        service.store.publish_slots(
            Slots(worker=worker, queues=("restore.interactive",), free=1, total=1, models=models, heartbeat_s=30)
        )
    said = service.call("GET", "/v1/models").json()
    assert said == {"models": [other | {"workers": 1}, preview | {"workers": 2}], "workers": 2}


def test_the_local_tenant_is_whose_jobs_are_submitted(service):
    assert service.store.get(JobId(service.submit()["id"])).tenant == LOCAL_TENANT
