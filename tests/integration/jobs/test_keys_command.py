"""``photomend tenants`` and ``photomend keys`` over a real Redis."""

from __future__ import annotations

import dataclasses
import json

import pytest
from typer.testing import CliRunner

from jobs.model import ObjectRef, TenantId
from jobs.settings import JobsSettings
from jobs.store import JobStore, Upload
from photomend.cli import app
from tests import samples


@pytest.fixture
def run(redis_settings: JobsSettings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PHOTOMEND_REDIS_URL", redis_settings.redis_url)

    def call(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, list(words))
        assert result.exit_code == code, result.output
        return result.output

    return call


def test_a_tenant_is_set_up_gets_a_key_that_opens_and_loses_it(run, redis_settings):
    store = JobStore.connect(redis_settings)
    run("tenants", "create", "acme", "--weight", "3", "--max-unfinished", "10")
    key = run("keys", "create", "--tenant", "acme", "--label", "shop").split()[-1]
    checked = store.keys.check(key)
    assert (checked.tenant, checked.label) == ("acme", "shop")
    (listed,) = json.loads(run("keys", "list", "--json"))
    assert (listed["id"], listed["tenant"], listed["revoked_at"]) == (checked.id, "acme", None)
    assert key not in run("keys", "list")
    run("keys", "revoke", key)
    assert store.keys.check(key) is None
    assert "revoked" in run("keys", "list", "--tenant", "acme")
    store.close()


def test_a_tenant_is_changed_member_by_member_and_deleted_with_its_keys(run, redis_settings):
    store = JobStore.connect(redis_settings)
    run("tenants", "create", "acme", "--weight", "3", "--max-unfinished", "10")
    run("tenants", "set", "acme", "--max-unfinished", "none")
    shown = json.loads(run("tenants", "show", "acme", "--json"))
    assert (shown["weight"], shown["max_unfinished"]) == (3, None)
    made = json.loads(run("keys", "create", "--tenant", "acme", "--scopes", "read", "--days", "1", "--json"))
    assert [words["keys"] for words in json.loads(run("tenants", "list", "--json"))] == [[made["id"]]]
    assert "acme" in run("tenants", "list")
    run("tenants", "delete", "acme")
    assert store.keys.check(made["key"]) is None
    assert not store.tenants.exists(TenantId("acme"))
    store.close()


def test_a_tenant_is_shown_with_what_it_has_used_today(run, redis_settings, monkeypatch):
    store = JobStore.connect(redis_settings)
    run("tenants", "create", "acme", "--megapixels-a-day", "1000", "--keep-uploads", "90m", "--keep-results", "30d")
    acme = TenantId("acme")
    store.submit(samples.job(tenant=acme, input_bytes=1_000_000))
    upload = Upload(
        id="upl_1", tenant=acme, ref=ObjectRef.parse("s3://b-b/u"), content_type="image/png", size=1_234_567
    )
    store.register_upload(upload)
    store.register_upload(dataclasses.replace(upload, id="upl_2", tenant=TenantId("other")))
    words = json.loads(run("tenants", "show", "acme", "--json"))
    assert (words["upload_ttl_s"], words["result_ttl_s"], words["record_ttl_s"]) == (5400, 30 * 86400, None)
    used = words["used"]
    assert (used["unfinished"], used["upload_bytes_today"]) == (1, 1_234_567)
    assert 0 < used["megapixels_today"] < 100
    assert 0 < used["day_ends_in_s"] <= 86400
    shown = " ".join(run("tenants", "show", "acme").split())
    assert "upload_bytes_today 1,234,567" in shown
    assert f"megapixels_today {used['megapixels_today']:,} of 1,000" in shown
    assert words["spent"] == {"gpu_s": {"today": 0, "month": 0, "year": 0}}
    store._redis.hset("{photomend}:spent:acme", str(int(store._redis.time()[0]) // 86_400), "7200")
    monkeypatch.setenv("PHOTOMEND_GPU_HOUR_PRICE", "2.5")
    words = json.loads(run("tenants", "show", "acme", "--json"))
    assert words["spent"]["cost"] == {"today": 5.0, "month": 5.0, "year": 5.0, "currency": "EUR"}
    assert "today 7,200.0 s 5.00 EUR" in " ".join(run("tenants", "show", "acme").split())
    run("tenants", "set", "acme", "--keep-results", "none", "--keep-records", "400d")
    words = json.loads(run("tenants", "show", "acme", "--json"))
    assert (words["upload_ttl_s"], words["result_ttl_s"], words["record_ttl_s"]) == (5400, None, 400 * 86400)
    store._redis.hset("{photomend}:used:acme", "day", "1")
    assert store.tenants.usage(acme).upload_bytes_today == 0, "what was used on another day"
    store.close()


@pytest.mark.parametrize("text", ["7", "d", "-1d", "1w", "soon"])
def test_a_time_without_a_unit_is_asked_for_again(run, text):
    output = run("tenants", "create", "acme", "--keep-results", text, code=2)
    assert "--keep-results" in output


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("keys", "create", "--tenant", "nobody"), "no tenant"),
        (("tenants", "show", "nobody"), "no tenant"),
        (("keys", "revoke", "nothing"), "no key"),
        (("tenants", "create", "No Body"), "lower-case"),
        (("tenants", "create", "acme", "--weight", "0"), "weight"),
        (("tenants", "create", "acme", "--keep-uploads", "0s"), "kept for"),
    ],
)
def test_what_is_wrong_is_one_sentence(run, words, says):
    output = run(*words, code=1)
    assert says in output
    assert "Traceback" not in output
