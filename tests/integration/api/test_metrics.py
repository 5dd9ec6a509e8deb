"""GET /metrics: who may read it, that its figures add up, and that no stranger makes series."""

from __future__ import annotations

import pytest

from jobs.backlog import Slots
from jobs.keys import Scope
from jobs.metrics.catalogue import FACES, Source, of
from jobs.model import Failure, Job, JobId, Priority, Result, Tenant, TenantId
from jobs.settings import JobsSettings
from tests.integration.api.conftest import FACE, Service, make_settings
from tests.scraped import Figures


def told(service: Service, **headers: str) -> Figures:
    # A reading is good for a moment: this one is to be new.
    for collector in service.app.state.service.registry._collector_to_names:
        if hasattr(collector, "_known"):
            collector._known = (float("-inf"), None)
    answer = service.call("GET", "/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    return Figures(answer.text)


def commit(service: Service, job: Job, **metrics: float) -> None:
    result = Result(artifacts=(), width=20, height=10, faces=(FACE, FACE | {"status": "rejected"}), metrics=metrics)
    service.store.commit(job.id, epoch=job.epoch, result=result)


def test_every_job_is_counted_once_by_how_it_ended_and_what_it_took(service: Service):
    ids = [service.submit()["id"] for _ in range(4)]
    service.store.take(credits=4, priority=Priority.INTERACTIVE)
    waiting = told(service)
    assert waiting("photomend_waiting_jobs", priority="interactive") == 4
    assert waiting("photomend_sent_jobs", priority="interactive") == 4
    assert waiting("photomend_oldest_waiting_seconds", priority="interactive") > 0
    # Nothing was measured yet: a second a job and one for each megapixel, which a picture of unknown size counts as.
    assert waiting("photomend_backlog_work_seconds") == pytest.approx(8)

    commit(service, service.claim(ids[0]), gpu_s=1.5, megapixels=2.0)
    # The same commit again, after its answer was lost, is no second one.
    done = service.store.get(JobId(ids[0]))
    assert done.result is not None
    service.store.commit(done.id, epoch=done.epoch, result=done.result)
    service.fail(service.claim(ids[1]))
    service.store.cancel(JobId(ids[2]))
    back = service.claim(ids[3])
    service.store.release(back.id, epoch=back.epoch, charge=False)
    service.claim(ids[3])

    now = told(service)
    assert now("photomend_jobs_submitted_total", priority="interactive") == 4
    assert now("photomend_jobs_total", state="succeeded", code="") == 1
    assert now("photomend_jobs_total", state="failed", code="image_truncated") == 1
    assert now("photomend_jobs_total", state="canceled", code="") == 1
    assert now.sum("photomend_jobs_total") == 3
    assert now("photomend_jobs_returned_total", reason="released") == 1
    assert now("photomend_running_jobs", priority="interactive") == 1
    assert now("photomend_waiting_jobs", priority="interactive") == 0
    assert now("photomend_faces_total", tenant="local") == 1
    assert now("photomend_megapixels_total", tenant="local") == 2.0
    assert now("photomend_gpu_seconds_total", tenant="local") == 1.5
    assert now("photomend_backlog_work_seconds") == pytest.approx(2)


def test_work_is_told_by_what_workers_measured_and_remembered_when_none_is_left(service: Service):
    service.submit()
    effort = {"job_s": 0.5, "megapixel_s": 0.25, "face_s": 0.1, "faces": 2.0, "megapixels": 4.0}
    for name, factor in (("slow", 3.0), ("fast", 1.0)):
        told_by = {"worker": name, "queues": (), "free": 1, "total": 2, "heartbeat_s": 60.0}
        words = effort | {part: effort[part] * factor for part in ("job_s", "megapixel_s", "face_s")}
        service.store.publish_slots(Slots(**told_by, effort=words))
    # One job of one estimated megapixel, four of them in truth: (0.5 + 2 * 0.1 + 4 * 0.25) s, twice that in the mean.
    now = told(service)
    assert now("photomend_backlog_work_seconds") == pytest.approx(2 * 1.7)
    assert (now("photomend_workers"), now("photomend_slots", state="free")) == (2, 2)
    for name in ("slow", "fast"):
        service.store.withdraw_slots(name)
    assert told(service)("photomend_backlog_work_seconds") == pytest.approx(1.7)


def test_a_tenants_key_does_not_open_the_figures_of_all(redis_settings: JobsSettings, no_storage):
    service = Service(make_settings(redis_settings, api_keys_required=True), blobs=no_storage)
    service.store.set_tenant(Tenant(id=TenantId("acme")))
    key, _ = service.store.keys.create(TenantId("acme"), scopes=[Scope.ADMIN])
    opener, _ = service.store.keys.create(TenantId("acme"), scopes=[Scope.METRICS])
    assert service.call("GET", "/metrics").status_code == 401
    refused = service.call("GET", "/metrics", headers={"Authorization": f"Bearer {key}"})
    assert (refused.status_code, refused.json()["code"]) == (403, "missing_scope")
    assert told(service, Authorization=f"Bearer {opener}")("photomend_store_up") == 1
    # And it opens nothing else.
    assert service.call("GET", "/v1/jobs", headers={"Authorization": f"Bearer {opener}"}).status_code == 403
    service.store.close()


def test_whatever_strangers_call_there_are_no_more_series(service: Service):
    service.submit()
    service.call("GET", "/v1/jobs")
    before = told(service).labels("photomend_http_request_duration_seconds_count")
    for number in range(30):
        service.call("GET", f"/v1/jobs/job_{number:032x}")
        service.call("GET", f"/nowhere/{number}")
        service.call(f"M{number}", "/v1/jobs")
    after = told(service).labels("photomend_http_request_duration_seconds_count")
    new = [dict(labels) for labels in after - before]
    assert {(labels["route"], labels["status"]) for labels in new} <= {
        ("/v1/jobs/{job_id}", "404"), ("other", "404"), ("/v1/jobs", "405"), ("other", "405"), ("/metrics", "200"),
    }  # fmt: skip
    assert {labels["method"] for labels in new} <= {"GET", "other"}


def test_tenants_beyond_the_first_hundred_are_counted_together(service: Service):
    for number in range(105):
        service.store.set_tenant(Tenant(id=TenantId(f"t{number:03}")))
    for number in (0, 99, 100, 104):
        job = Job(id=JobId(f"job_{number:032x}"), tenant=TenantId(f"t{number:03}"), input=_photo())
        service.store.submit(job)
        commit(service, service.claim(job.id), gpu_s=1.0)
    now = told(service)
    assert now.labels(FACES.name) == {frozenset({("tenant", name)}) for name in ("t000", "t099", "other")}
    assert now(FACES.name, tenant="other") == 2


def test_without_redis_the_scrape_says_so_and_the_api_s_own_figures_are_there(service: Service, monkeypatch):
    from jobs.errors import StoreUnavailable

    service.call("GET", "/livez")
    collector = next(c for c in service.app.state.service.registry._collector_to_names if hasattr(c, "_known"))

    def gone() -> None:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(collector, "_read", gone)
    now = told(service)
    assert now("photomend_store_up") == 0
    assert now("photomend_backlog_work_seconds") is None
    assert now("photomend_http_request_duration_seconds_count", method="GET", route="/livez", status="200") == 1


def _photo():
    from jobs.model import ObjectRef

    return ObjectRef(bucket="photos", key="a.jpg")


def test_the_failures_code_is_told_whatever_else_its_words_hold(service: Service):
    evil = Failure(code="no_image", title='"code":"evil"', detail='{"code":"evil"} \n}')
    service.store.fail(JobId(service.submit()["id"]), epoch=None, failure=evil)
    figures = told(service)
    assert figures("photomend_jobs_total", state="failed", code="no_image") == 1
    assert figures.sum("photomend_jobs_total") == 1


def test_what_can_be_known_is_told_before_it_happens_so_that_the_first_is_an_increase(service: Service):
    fleets = [metric for metric in of(Source.FLEET) if metric.known]
    assert len(fleets) >= 5
    figures = told(service)
    for metric in fleets:
        for values in metric.known:
            assert figures(metric.name, **dict(zip(metric.labels, values, strict=True))) == 0
    service.submit()
    after = told(service)
    assert after("photomend_jobs_submitted_total", priority="interactive") == 1
    assert after.labels("photomend_jobs_submitted_total") == figures.labels("photomend_jobs_submitted_total")
