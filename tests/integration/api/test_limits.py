"""How often callers may ask: by key and by tenant, told in headers, exact however many ask at once."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from api import limits
from jobs.blobs import BlobStore
from jobs.keys import Scope
from jobs.model import Tenant, TenantId
from jobs.rates import Bucket
from jobs.settings import JobsSettings
from jobs.store import JobStore
from tests.integration.api.conftest import Service, make_settings, problem

ACME, BETA = TenantId("acme"), TenantId("beta")


@pytest.fixture
def limited(redis_settings: JobsSettings, no_storage: BlobStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """Three calls for a key, five for a tenant; in ten hours, so that a slow machine gives none back."""
    monkeypatch.setattr(limits, "WINDOW_S", 36_000.0)
    made = Service(make_settings(redis_settings, key_requests_per_min=3, tenant_requests_per_min=5), blobs=no_storage)
    for tenant in (ACME, BETA):
        made.store.set_tenant(Tenant(id=tenant))
    yield made
    made.store.close()


def key_of(service: Service, tenant: TenantId) -> dict[str, str]:
    return {"Authorization": f"Bearer {service.store.keys.create(tenant, scopes=tuple(Scope))[0]}"}


def test_a_key_is_told_what_is_left_and_then_to_wait(limited: Service) -> None:
    key = key_of(limited, ACME)
    left = []
    for _ in range(3):
        answer = limited.call("GET", "/v1/jobs", headers=key)
        assert answer.status_code == 200
        assert answer.headers["ratelimit-policy"] == '"key";q=3;w=36000, "tenant";q=5;w=36000'
        (key_left, key_full), (tenant_left, _) = re.findall(r'";r=(\d+);t=(\d+)', answer.headers["ratelimit"])
        left.append((int(key_left), int(tenant_left)))
        assert 0 < int(key_full) <= 36_000
    assert left == [(2, 4), (1, 3), (0, 2)]
    refused = limited.call("POST", "/v1/jobs", json={"input": "s3://photos/a.jpg"}, headers=key)
    said = problem(refused, 429, "rate_limited")
    assert said["violated-policies"] == ["key"]
    # One of three in ten hours comes back every 200 minutes.
    assert 11_000 <= int(refused.headers["retry-after"]) <= 12_000
    assert refused.headers["ratelimit"].startswith('"key";r=0;')
    assert limited.call("GET", "/livez", headers=key).status_code == 200


def test_two_keys_share_their_tenants_limit_and_no_other_tenants(limited: Service) -> None:
    one, two, beta = key_of(limited, ACME), key_of(limited, ACME), key_of(limited, BETA)
    good = [limited.call("GET", "/v1/jobs", headers=key).status_code for key in (one, two, one, two, one)]
    assert good == [200] * 5
    said = problem(limited.call("GET", "/v1/jobs", headers=two), 429, "rate_limited")
    assert said["violated-policies"] == ["tenant"]
    assert limited.call("GET", "/v1/jobs", headers=beta).status_code == 200


def test_a_tenants_own_limit_goes_before_the_installations(limited: Service) -> None:
    key = key_of(limited, ACME)
    limited.store.set_tenant(Tenant(id=ACME, requests_per_min=1))
    assert limited.call("GET", "/v1/jobs", headers=key).headers["ratelimit-policy"].endswith('"tenant";q=1;w=36000')
    problem(limited.call("GET", "/v1/jobs", headers=key), 429, "rate_limited")
    limited.store.set_tenant(Tenant(id=ACME, requests_per_min=0))
    answer = limited.call("GET", "/v1/jobs", headers=key)
    assert answer.headers["ratelimit-policy"] == '"key";q=3;w=36000'
    assert limited.store.tenants.get(ACME).requests_per_min == 0
    limited.store.set_tenant(Tenant(id=ACME))
    assert limited.store.tenants.get(ACME).requests_per_min is None


def test_whoever_is_alone_on_the_machine_is_not_limited(limited: Service) -> None:
    answers = [limited.call("GET", "/v1/jobs") for _ in range(7)]
    assert {answer.status_code for answer in answers} == {200}
    assert not any("ratelimit" in answer.headers for answer in answers)


def test_of_many_that_ask_at_once_exactly_so_many_go_on(redis_settings: JobsSettings) -> None:
    """From four clients as from four processes; an hour's window gives nothing back meanwhile."""
    stores = [JobStore.connect(redis_settings) for _ in range(4)]
    buckets = [
        Bucket(name="key", of="k", quota=50, window_s=36000),
        Bucket(name="tenant", of="t", quota=20, window_s=36000),
    ]
    with ThreadPoolExecutor(16) as pool:
        taken = list(pool.map(lambda n: stores[n % 4].rates.take(buckets), range(120)))
    assert sum(answer.is_allowed for answer in taken) == 20
    # What was refused for the tenant's sake took nothing from the key.
    assert stores[0].rates.take([Bucket(name="key", of="k", quota=50, window_s=36000)]).levels[0].left == 29
    for store in stores:
        store.close()


def test_tokens_come_back_with_time(redis_settings: JobsSettings) -> None:
    store = JobStore.connect(redis_settings)
    bucket = Bucket(name="key", of="k", quota=2, window_s=0.4)
    assert [store.rates.take([bucket]).is_allowed for _ in range(2)] == [True, True]
    # It may have been slow enough already to have another one; in the end there is one.
    until = time.monotonic() + 20
    while not (taken := store.rates.take([bucket])).is_allowed:
        assert 0 < taken.retry_after_s <= 0.2
        assert time.monotonic() < until
        time.sleep(taken.retry_after_s)
    store.close()


def test_a_full_installation_says_when_it_has_room(redis_settings: JobsSettings, no_storage: BlobStore) -> None:
    service = Service(make_settings(redis_settings, max_unfinished_jobs=2), blobs=no_storage)
    for _ in range(2):
        service.submit()
    now = service.store._redis.time()[0]
    service.store._redis.hset("{photomend}:load", mapping={"seen": 1e6, "at": now, "rate": 0.25, "work": 100})
    answer = service.call("POST", "/v1/jobs", json={"input": "s3://photos/a.jpg"})
    problem(answer, 503, "overloaded")
    # A tenth of 100 at 0.25 a second; the seconds that this test takes make it a little longer.
    assert 40 <= int(answer.headers["retry-after"]) <= 60
    service.store.close()
