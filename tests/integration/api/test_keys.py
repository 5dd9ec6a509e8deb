"""Keys at the door: who is let in, as whom, for what, and for how long after a revocation."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import Callable, Iterator

import httpx
import pytest
from typer.testing import CliRunner

from api.keys import KEPT_S, Callers
from api.waiting import until_ended
from jobs.blobs import BlobStore
from jobs.connection import PREFIX
from jobs.errors import KeyNotFound, TenantNotFound, TooManyKeys
from jobs.keys import Scope, id_in, new_key
from jobs.model import LOCAL_TENANT, Tenant, TenantId
from jobs.settings import JobsSettings
from jobs.store import JobStore
from photomend.cli import app as command
from photomend.client import PhotomendError
from photomend.client.settings import chosen_key
from tests import samples
from tests.integration.api.conftest import Service, make_settings, problem

ACME = TenantId("acme")


@pytest.fixture
def guarded(redis_settings: JobsSettings, no_storage: BlobStore) -> Iterator[Service]:
    """The API where callers need a key."""
    made = Service(make_settings(redis_settings, api_keys_required=True), blobs=no_storage)
    made.store.set_tenant(Tenant(id=ACME))
    yield made
    made.store.close()


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def make_key(service: Service, *scopes: Scope, tenant: TenantId = ACME) -> str:
    return service.store.keys.create(tenant, scopes=scopes or tuple(Scope))[0]


def test_every_call_about_jobs_needs_a_key_and_the_others_need_none(guarded):
    document = guarded.app.openapi()
    open_to_all = {"/livez", "/readyz", "/problems/{code}"}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert ("security" not in operation) == (path in open_to_all), f"{method} {path}"
            if path in open_to_all:
                continue
            answer = guarded.call(method.upper(), path.replace("{job_id}", "job_" + "0" * 32))
            problem(answer, 401, "unauthorized")
            assert answer.headers["www-authenticate"] == 'Bearer realm="photomend"'
    assert guarded.call("GET", "/livez").status_code == 200


def test_a_key_names_its_tenant(guarded):
    key = make_key(guarded)
    job = guarded.call(
        "POST", "/v1/detect", json={"input": "s3://photomend/uploads/acme/a"}, headers=bearer(key)
    ).json()
    assert guarded.store.get(job["id"]).tenant == ACME
    assert guarded.call("GET", f"/v1/jobs/{job['id']}", headers=bearer(key)).status_code == 200


@pytest.mark.parametrize(
    "spoil",
    [
        lambda key: f"Bearer {key[:-1]}",
        lambda key: f"Bearer {key[:-7]}{'x' if key[-7] != 'x' else 'y'}{key[-6:]}",
        lambda key: f"Bearer {key} {key}",
        lambda key: f"Basic {key}",
        lambda key: key,
        lambda key: "Bearer",
        lambda key: "Bearer ",
        lambda key: "Bearer pm_live_",
        lambda key: f"Bearer {new_key()[1]}",
        lambda key: f"Bearer {'x' * 5000}",
    ],
)
def test_whatever_is_no_key_of_ours_is_told_so_in_the_same_words(guarded, spoil: Callable[[str], str]):
    answer = guarded.call("GET", "/v1/jobs", headers={"Authorization": spoil(make_key(guarded))})
    problem(answer, 401, "unauthorized")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


def test_two_keys_in_one_request_are_none(guarded):
    twice = [("Authorization", f"Bearer {make_key(guarded)}")] * 2
    problem(guarded.call("GET", "/v1/jobs", headers=twice), 401, "unauthorized")


def test_a_key_may_do_what_its_scopes_say(guarded):
    read, submit, admin = (make_key(guarded, scope) for scope in (Scope.READ, Scope.SUBMIT, Scope.ADMIN))
    wish = {"json": {"input": "s3://photomend/uploads/acme/a"}}
    refused = guarded.call("POST", "/v1/jobs", headers=bearer(read), **wish)
    problem(refused, 403, "missing_scope")
    assert 'error="insufficient_scope", scope="submit"' in refused.headers["www-authenticate"]
    problem(guarded.call("GET", "/v1/jobs", headers=bearer(submit)), 403, "missing_scope")
    assert guarded.call("GET", "/v1/jobs", headers=bearer(read)).json()["jobs"] == []
    assert guarded.call("POST", "/v1/jobs", headers=bearer(submit), **wish).status_code == 202
    assert guarded.call("POST", "/v1/jobs", headers=bearer(admin), **wish).status_code == 202
    assert len(guarded.call("GET", "/v1/jobs", headers=bearer(admin)).json()["jobs"]) == 2


def test_on_loopback_no_key_is_the_local_tenant_and_a_key_its_own(service):
    service.store.set_tenant(Tenant(id=ACME))
    mine, theirs = service.submit(), make_key(service)
    assert service.store.get(mine["id"]).tenant == LOCAL_TENANT
    problem(service.call("GET", f"/v1/jobs/{mine['id']}", headers=bearer(theirs)), 404, "job_not_found")
    problem(service.call("GET", "/v1/jobs", headers=bearer("nonsense")), 401, "unauthorized")


def test_a_revoked_key_works_in_other_processes_for_as_long_as_it_is_remembered_and_no_longer(redis_settings):
    store, clock = JobStore.connect(redis_settings), [1000.0]
    store.set_tenant(Tenant(id=ACME))
    key, kept = store.keys.create(ACME)
    here, elsewhere = (Callers(store.keys, need_key=True, clock=lambda: clock[0]) for _ in range(2))
    for callers in (here, elsewhere):
        assert callers.find(f"Bearer {key}").tenant == ACME
        assert callers.known(f"Bearer {key}") is not None
    store.keys.revoke(kept.id)
    clock[0] += KEPT_S * 0.99
    assert here.known(f"Bearer {key}") is not None
    clock[0] += KEPT_S * 0.02
    for callers in (here, elsewhere):
        assert callers.known(f"Bearer {key}") is None
        with pytest.raises(Exception, match="unauthorized"):
            callers.find(f"Bearer {key}")
    store.close()


def test_a_stream_of_events_ends_when_its_key_is_revoked(guarded, serve, monkeypatch):
    monkeypatch.setattr("api.keys.KEPT_S", 0.0)
    key, kept = guarded.store.keys.create(ACME)
    job = guarded.store.submit(samples.job(tenant=ACME)).job
    url = f"{serve(guarded)}/v1/jobs/{job.id}/events"
    with httpx.stream("GET", url, headers=bearer(key), timeout=20) as answer:
        lines = answer.iter_lines()
        assert "event: progress" in lines
        claimed = guarded.claim(job.id)
        # Told on the same stream: its key was asked about meanwhile, and is good.
        assert any('"processing"' in line for line in lines)
        guarded.store.keys.revoke(kept.id)
        rest = list(lines)
    assert not any(line.startswith("event: end") for line in rest)
    guarded.finish(claimed)
    assert httpx.get(url, headers=bearer(key), timeout=20).status_code == 401


def test_a_call_that_waits_for_the_end_waits_no_longer_than_its_key_is_good(guarded):
    job, asked = guarded.store.submit(samples.job(tenant=ACME)).job, []

    async def welcome() -> bool:
        asked.append(job.id)
        return len(asked) < 3

    waited = until_ended(guarded.app.state.service, ACME, job, seconds=60, welcome=welcome)
    assert asyncio.run(waited) == job
    assert len(asked) == 3


def test_the_command_line_shows_the_callers_key_and_says_where_to_get_one(guarded, serve, monkeypatch):
    url, wish = serve(guarded), "s3://photomend/uploads/acme/a.jpg"
    key, kept = guarded.store.keys.create(ACME)

    def submit(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(command, ["submit", wish, *words])
        return done.exit_code, done.output

    monkeypatch.setenv("PHOTOMEND_API_URL", url)
    code, said = submit()
    assert code == 1
    assert "[unauthorized]" in said
    assert "PHOTOMEND_API_KEY" in said
    assert "photomend keys create" in said
    assert submit("--api-key", key)[0] == 0
    # As `$(cat file)` may give it elsewhere than in a POSIX shell.
    monkeypatch.setenv("PHOTOMEND_API_KEY", f"{key}\n")
    assert submit()[0] == 0
    assert len(guarded.store.list(ACME).jobs) == 2
    guarded.store.keys.revoke(kept.id)
    for name in guarded.app.state.service.callers._kept.copy():
        guarded.app.state.service.callers._kept.pop(name)
    code, said = submit()
    assert code == 1
    assert "revoked" in said
    assert key not in said


@pytest.mark.parametrize("text", ["pm_live_a pm_live_b", "pm_live_ä", "pm_live_a\nX-Other: 1"])
def test_what_cannot_be_a_key_is_not_sent(text):
    with pytest.raises(PhotomendError, match="key") as caught:
        chosen_key(text)
    assert text not in str(caught.value)


def test_an_expired_key_opens_nothing(guarded):
    key, kept = guarded.store.keys.create(ACME, expires_in_s=1e-6)
    problem(guarded.call("GET", "/v1/jobs", headers=bearer(key)), 401, "unauthorized")
    assert not kept.is_active(guarded.store.keys.now())


def test_what_the_store_keeps_tells_nothing_of_the_key(guarded):
    key, kept = guarded.store.keys.create(ACME, label="shop")
    record = guarded.store._redis.hgetall(f"{PREFIX}key:{kept.id}")
    secret = key.rpartition("_")[2]
    assert record["sha256"] == hashlib.sha256(key.encode()).hexdigest()
    assert not any(secret[:12] in value for value in record.values())
    assert kept.sha256 not in repr(kept)
    assert (id_in(key), key.count("_")) == (kept.id, 3)


def test_two_keys_for_the_same_scopes_are_active_at_most(guarded):
    first, _ = (guarded.store.keys.create(ACME)[1] for _ in range(2))
    with pytest.raises(TooManyKeys):
        guarded.store.keys.create(ACME)
    guarded.store.keys.create(ACME, scopes=[Scope.ADMIN])
    guarded.store.keys.revoke(first.id)
    guarded.store.keys.create(ACME)
    assert [key.revoked_at is None for key in guarded.store.keys.list(ACME)] == [False, True, True, True]
    with pytest.raises(TenantNotFound):
        guarded.store.keys.create(TenantId("nobody"))
    with pytest.raises(KeyNotFound):
        guarded.store.keys.revoke(first.id, tenant=TenantId("other"))


def test_the_time_of_the_last_use_is_known_to_the_minute(guarded):
    key, kept = guarded.store.keys.create(ACME)
    assert kept.used_at is None
    guarded.call("GET", "/v1/jobs", headers=bearer(key))
    used = guarded.store.keys.get(kept.id).used_at
    assert used is not None
    guarded.store.keys.note_use(kept)
    assert guarded.store.keys.get(kept.id).used_at == used


@pytest.mark.parametrize(
    "forge", [{"tenant": "victim"}, {"scopes": "admin"}, {"expires_at": ""}, {"code": "AAAAAAAAAAAAAAAAAAAAAA"}]
)
def test_a_writer_to_redis_gives_no_key_more_than_it_has(guarded, forge):
    key, kept = guarded.store.keys.create(ACME, scopes=[Scope.READ], expires_in_s=3600)
    guarded.store._redis.hset(f"{PREFIX}key:{kept.id}", mapping=forge)
    problem(guarded.call("GET", "/v1/jobs", headers=bearer(key)), 401, "unauthorized")


def test_a_writer_to_redis_makes_no_key_of_its_own(guarded):
    key_id, key = new_key()
    _, kept = guarded.store.keys.create(ACME)
    record = guarded.store._redis.hgetall(f"{PREFIX}key:{kept.id}")
    own = record | {"sha256": hashlib.sha256(key.encode()).hexdigest()}
    guarded.store._redis.hset(f"{PREFIX}key:{key_id}", mapping=own)
    problem(guarded.call("GET", "/v1/jobs", headers=bearer(key)), 401, "unauthorized")
    assert dataclasses.asdict(guarded.store.keys.get(key_id))["tenant"] == ACME
