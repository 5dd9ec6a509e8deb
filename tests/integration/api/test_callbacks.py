"""A job's callbacks as its owner sees them over HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from api import limits
from jobs.blobs import BlobStore
from jobs.keys import Scope
from jobs.model import Tenant, TenantId
from jobs.settings import JobsSettings
from photomend.demo.receiver import CallbackReceiver
from photomend.stack.ports import free_ports
from tests.conftest import CALLBACK_SECRET
from tests.integration.api.conftest import ALLOWED_CALLBACK, Service, make_settings, problem

URL = f"http://{ALLOWED_CALLBACK}/hook?order=7"


def finished(service: Service) -> str:
    job_id: str = service.submit(callback={"url": URL})["id"]
    service.finish(service.claim(job_id))
    return job_id


def test_the_owner_sees_attempts_and_the_last_error(service: Service) -> None:
    job_id = finished(service)
    (delivery,) = service.store.due_callbacks(limit=9, lease_s=30)
    service.store.callback_failed(delivery.id, retry_in_s=None, error="HTTP 500")
    answer = service.call("GET", f"/v1/jobs/{job_id}/callbacks")
    assert answer.status_code == 200
    (told,) = answer.json()["callbacks"]
    assert told.pop("occurred_at").endswith("Z")
    assert told == {
        "id": delivery.id,
        "event": "job.completed",
        "url": URL,
        "status": "undelivered",
        "attempts": 1,
        "next_attempt_at": None,
        "delivered_at": None,
        "last_error": "HTTP 500",
    }


def test_a_replay_sends_the_same_event_again(service: Service) -> None:
    job_id = finished(service)
    (first,) = service.store.due_callbacks(limit=9, lease_s=30)
    service.store.callback_delivered(first.id)
    assert service.store.due_callbacks(limit=9, lease_s=30) == ()
    answer = service.call("POST", f"/v1/jobs/{job_id}/callbacks/replay")
    assert answer.status_code == 202
    (told,) = answer.json()["callbacks"]
    assert (told["id"], told["status"], told["delivered_at"]) == (first.id, "waiting", None)
    (again,) = service.store.due_callbacks(limit=9, lease_s=30)
    assert (again.id, again.body) == (first.id, first.body)


def test_there_is_nothing_to_replay_before_anything_happened(service: Service) -> None:
    for words in ({}, {"callback": {"url": URL}}):
        job_id = service.submit(**words)["id"]
        assert service.call("GET", f"/v1/jobs/{job_id}/callbacks").json() == {"callbacks": []}
        problem(service.call("POST", f"/v1/jobs/{job_id}/callbacks/replay"), 409, "illegal_state")


def test_nobody_elses_callbacks_are_there(service: Service) -> None:
    for method, path in (("GET", "callbacks"), ("POST", "callbacks/replay")):
        for job_id in ("job_" + "0" * 32, "nonsense"):
            problem(service.call(method, f"/v1/jobs/{job_id}/{path}"), 404, "job_not_found")


@pytest.fixture
def receiver() -> Iterator[CallbackReceiver]:
    with CallbackReceiver(CALLBACK_SECRET) as listening:
        yield listening


def test_a_receiver_is_tried_out_by_one_signed_event(
    redis_settings: JobsSettings, no_storage: BlobStore, receiver: CallbackReceiver
) -> None:
    host = receiver.url.removeprefix("http://").partition("/")[0]
    service = Service(make_settings(redis_settings, callback_allow_hosts=(host,)), blobs=no_storage)
    told = service.call("POST", "/v1/callbacks/test", json={"url": receiver.url}).json()
    heard = receiver.next(timeout_s=20)
    assert heard is not None
    assert (heard.is_genuine, heard.event, heard.message_id) == (True, "callback.test", told["id"])
    assert (told["delivered"], told["status"], told["error"]) == (True, 204, None)
    service.store.close()


def test_a_receiver_that_signs_with_another_secret_or_is_not_there_is_told_of(
    redis_settings: JobsSettings, no_storage: BlobStore
) -> None:
    with CallbackReceiver("whsec_" + "QUJD" * 8) as other:
        host = other.url.removeprefix("http://").partition("/")[0]
        service = Service(make_settings(redis_settings, callback_allow_hosts=(host,)), blobs=no_storage)
        told = service.call("POST", "/v1/callbacks/test", json={"url": other.url}).json()
        assert (told["delivered"], told["status"], told["error"]) == (False, 401, "HTTP 401")
    told = service.call("POST", "/v1/callbacks/test", json={"url": other.url}).json()
    assert (told["delivered"], told["status"]) == (False, None)
    assert told["error"]
    service.store.close()


def test_a_test_goes_nowhere_that_a_callback_may_not_go(service: Service) -> None:
    for url in ("https://127.0.0.1/", "http://example.com/", "https://user@example.com/", "https://169.254.169.254/"):
        said = problem(service.call("POST", "/v1/callbacks/test", json={"url": url}), 422, "callback_refused")
        assert said["pointer"] == "/url"


def test_tests_are_few_in_a_minute_also_without_keys(
    redis_settings: JobsSettings, no_storage: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WINDOW_S", 36_000.0)
    (free,) = free_ports(1)
    url = f"http://127.0.0.1:{free}/"
    settings = make_settings(redis_settings, callback_allow_hosts=(f"127.0.0.1:{free}",), callback_tests_per_min=2)
    service = Service(settings, blobs=no_storage)
    codes = [service.call("POST", "/v1/callbacks/test", json={"url": url}).status_code for _ in range(3)]
    assert codes == [200, 200, 429]
    service.store.close()


def test_the_secrets_are_read_with_the_scope_admin_only(redis_settings: JobsSettings, no_storage: BlobStore) -> None:
    settings = make_settings(redis_settings, api_keys_required=True)
    service = Service(settings, blobs=no_storage)
    service.store.set_tenant(Tenant(id=TenantId("acme")))
    keys = {
        scope: service.store.keys.create(TenantId("acme"), scopes=[scope])[0] for scope in (Scope.READ, Scope.ADMIN)
    }
    read, admin = ({"Authorization": f"Bearer {key}"} for key in keys.values())
    problem(service.call("GET", "/v1/callbacks/secrets", headers=read), 403, "missing_scope")
    said = service.call("GET", "/v1/callbacks/secrets", headers=admin).json()
    assert tuple(said["secrets"]) == settings.callback_secrets(TenantId("acme"))
    assert CALLBACK_SECRET not in said["secrets"]
    service.store.close()
