"""What a tenant may use in a day: estimated at submit, put right at the end, and never more than that."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest

from jobs.connection import PREFIX
from jobs.errors import DailyQuotaExceeded
from jobs.model import ObjectRef, Tenant, TenantId
from jobs.retention import Upload
from tests import samples

ACME = TenantId("acme")
MEGAPIXEL = 400_000  # bytes, as estimated


def used(store, kind: str = "megapixels") -> float:
    return float(store._redis.hget(f"{PREFIX}used:{ACME}", kind) or 0)


def test_an_estimate_is_charged_at_submit_and_put_right_by_what_became_of_the_job(store):
    store.set_tenant(Tenant(id=ACME, megapixels_a_day=10))
    job = store.submit(samples.job(tenant=ACME, input_bytes=6 * MEGAPIXEL)).job
    assert used(store) == pytest.approx(6)
    with pytest.raises(DailyQuotaExceeded, match="10 megapixels a day") as refused:
        store.submit(samples.job(tenant=ACME, input_bytes=5 * MEGAPIXEL))
    assert 0 < refused.value.retry_after_s <= 86400
    store.claim(job.id, worker="w", lease_s=30)
    store.commit(job.id, epoch=1, result=dataclasses.replace(samples.result(), metrics={"megapixels": 2.5}))
    assert used(store) == pytest.approx(2.5)
    other = store.submit(samples.job(tenant=ACME, input_bytes=5 * MEGAPIXEL)).job
    store.cancel(other.id, tenant=ACME)
    assert used(store) == pytest.approx(2.5)


def test_many_at_once_do_not_overshoot(store):
    store.set_tenant(Tenant(id=ACME, megapixels_a_day=5))

    def submit(_: int) -> bool:
        try:
            store.submit(samples.job(tenant=ACME, input_bytes=MEGAPIXEL))
        except DailyQuotaExceeded:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(submit, range(20))) == 5


def test_a_new_day_begins_anew_and_yesterdays_jobs_do_not_touch_it(store):
    store.set_tenant(Tenant(id=ACME, megapixels_a_day=5))
    store.submit(samples.job(tenant=ACME, input_bytes=5 * MEGAPIXEL))
    store._redis.hset(f"{PREFIX}used:{ACME}", "day", "1")
    job = store.submit(samples.job(tenant=ACME, input_bytes=5 * MEGAPIXEL)).job
    assert used(store) == pytest.approx(5)
    store._redis.hset(f"{PREFIX}used:{ACME}", "day", "99999")
    store.cancel(job.id, tenant=ACME)
    assert used(store) == pytest.approx(5)


def test_uploads_count_by_their_declared_bytes(store):
    store.set_tenant(Tenant(id=ACME, upload_bytes_a_day=100))

    def register(number: int, size: int) -> Upload:
        ref = ObjectRef(bucket="photomend", key=f"uploads/acme/upl_{number:032x}")
        upload = Upload(id=f"upl_{number:032x}", tenant=ACME, ref=ref, content_type="image/png", size=size)
        return store.register_upload(upload)

    assert register(1, 60).expires_at > 0
    with pytest.raises(DailyQuotaExceeded, match="100 bytes"):
        register(2, 41)
    register(3, 40)
    assert used(store, "bytes") == 100
