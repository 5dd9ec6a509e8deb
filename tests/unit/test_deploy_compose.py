"""The compose file by the Compose specification, and the secrets that it hands over."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from redis.backoff import NoBackoff
from redis.retry import Retry

from jobs.settings import JobsSettings
from jobs.store import JobStore
from photomend.stack.ports import free_ports
from photomend.stack.process import Child
from photomend.stack.redis import find_binary
from tests.tools import tool
from tests.unit.test_deployment import check_command
from worker.settings import WorkerSettings

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
DEPLOY = ROOT / "deploy"
BASE = {"redis", "seaweedfs", "bucket", "api", "keeper", "worker"}
PROFILES = {
    (): set(),
    ("gpu",): {"worker-gpu0"},
    ("gpus-2",): {f"worker-gpu{number}" for number in range(2)},
    ("gpus-4",): {f"worker-gpu{number}" for number in range(4)},
    ("gpus-8",): {f"worker-gpu{number}" for number in range(8)},
    ("observability",): {"prometheus", "grafana"},
    ("tools",): {"fetch-weights"},
}


def faults_of(file: Path) -> str:
    """What the Compose specification's schema has against the file; empty = nothing."""
    line = [tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "--no-cache", str(file)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stderr
    return "" if done.returncode == 0 else done.stdout


@pytest.fixture(scope="module")
def everything() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text())


def test_the_file_fits_the_specification():
    assert faults_of(FILE) == ""


def test_the_specification_would_refuse_a_word_that_it_does_not_know(tmp_path, everything):
    words = copy.deepcopy(everything)
    words["services"]["api"]["memory_limit"] = "1G"
    other = tmp_path / "docker-compose.yml"
    other.write_text(yaml.safe_dump(words))
    assert "memory_limit" in faults_of(other)


@pytest.mark.parametrize("profiles", PROFILES, ids=lambda profiles: "+".join(profiles) or "none")
def test_a_profile_adds_what_it_is_named_for(profiles, everything):
    # Compose's rule: services without a profile always run, others with one of theirs.
    running = {
        name
        for name, words in everything["services"].items()
        if not words.get("profiles") or set(words["profiles"]) & set(profiles)
    }
    assert running == BASE | PROFILES[profiles]


def test_whatever_a_service_names_is_declared(everything):
    used = set()
    for words in everything["services"].values():
        assert set(words.get("depends_on", ())) <= set(everything["services"])
        assert set(words.get("secrets", ())) <= set(everything["secrets"])
        for volume in words.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).is_file(), source
            else:
                used.add(source)
    assert used == set(everything["volumes"])


def test_what_prometheus_asks_answers_there(everything):
    asked = yaml.safe_load((DEPLOY / "observability" / "prometheus.yml").read_text())["scrape_configs"]
    targets = {
        one["job_name"]: place for one in asked for group in one.get("static_configs", ()) for place in group["targets"]
    }
    assert targets == {"prometheus": "127.0.0.1:9090", "seaweedfs": "seaweedfs:9327"}
    assert "-metricsPort=9327" in everything["services"]["seaweedfs"]["command"]
    (ours,) = (names for one in asked for names in one.get("dns_sd_configs", ()))
    processes = {
        name: words["environment"]
        for name, words in everything["services"].items()
        if {"api", "keeper", "worker"} & set(words.get("command", ())[1:2])
    }
    assert set(ours["names"]) == set(processes)
    for environment in processes.values():
        assert environment["PHOTOMEND_METRICS_PORT"] == str(ours["port"])
        assert environment["PHOTOMEND_METRICS_HOST"] == "0.0.0.0"
    (source,) = yaml.safe_load((DEPLOY / "observability" / "grafana" / "datasources.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"


def test_with_the_file_for_traces_every_process_sends_them_to_jaeger_and_only_this_machine_sees_it(everything):
    file = DEPLOY / "observability" / "traces.yml"
    assert faults_of(file) == ""
    added = yaml.safe_load(file.read_text())["services"]
    jaeger = added.pop("jaeger")
    ours = {
        n for n, one in everything["services"].items() if {"api", "keeper", "worker"} & set(one.get("command", ())[1:2])
    }
    assert set(added) == ours, "and nothing that only the file for traces knows"
    sent_to = {one["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"] for one in added.values()}
    assert sent_to == {"http://jaeger:4318"}
    assert {one["environment"]["PHOTOMEND_TRACES"] for one in added.values()} == {"1"}
    assert "0.0.0.0:4318" in jaeger["command"][1]
    assert jaeger["ports"] == ["127.0.0.1:16686:16686"]
    assert {"cpus", "memory", "pids"} <= set(jaeger["deploy"]["resources"]["limits"])


def test_a_keeper_is_asked_by_its_own_check_whether_it_lives(everything):
    keeper = everything["services"]["keeper"]
    word, *check = keeper["healthcheck"]["test"]
    assert word == "CMD"
    check_command(check)
    assert keeper["environment"]["PHOTOMEND_ALIVE_PATH"].startswith("/tmp/")
    assert "/tmp" in keeper["tmpfs"]


def test_prometheus_has_the_alerts_and_grafana_the_dashboard_where_they_look(everything):
    def inside(service: str) -> dict[str, str]:
        return {place.split(":")[1]: place.split(":")[0] for place in everything["services"][service]["volumes"]}

    prometheus = yaml.safe_load((DEPLOY / "observability" / "prometheus.yml").read_text())
    (rules,) = prometheus["rule_files"]
    assert inside("prometheus")[rules] == "./deploy/observability/alerts.yml"
    (provider,) = yaml.safe_load((DEPLOY / "observability" / "grafana" / "dashboards.yml").read_text())["providers"]
    folder = provider["options"]["path"]
    assert inside("grafana")[f"{folder}/photomend.json"] == "./deploy/observability/grafana/photomend.json"


def test_each_gpu_has_one_worker_that_does_without_no_other(everything):
    workers = {name: words for name, words in everything["services"].items() if name.startswith("worker-gpu")}
    for name, words in workers.items():
        (device,) = words["deploy"]["resources"]["reservations"]["devices"]
        assert device["device_ids"] == [name.removeprefix("worker-gpu")]
        assert device["capabilities"] == ["gpu"]
        assert words["command"] == ["photomend", "worker", "--gpus", "all"]
    assert len(workers) == 8


def test_everything_is_limited_and_what_lasts_is_started_again(everything):
    for name, words in everything["services"].items():
        limits = words["deploy"]["resources"]["limits"]
        assert {"cpus", "memory", "pids"} <= set(limits), name
        assert name == "fetch-weights" or words["restart"] in {"unless-stopped", "on-failure"}


def test_our_containers_can_write_nowhere_but_into_volumes(everything):
    ours = {
        name: words
        for name, words in everything["services"].items()
        if words["image"].startswith("photomend-") and name != "fetch-weights"
    }
    assert {"api", "keeper", "worker", "worker-gpu7"} <= set(ours)
    for words in ours.values():
        assert words["read_only"]
        assert words["cap_drop"] == ["ALL"]
        assert words["security_opt"] == ["no-new-privileges:true"]
        # A worker's scratch must be a disk, the default of TMPDIR would be memory.
    assert set(ours["worker"]["volumes"]) == {"weights:/weights:ro", "cache:/cache", "scratch:/scratch"}


def test_no_secret_stands_in_the_file_or_in_an_environment(everything):
    for words in everything["services"].values():
        names = set(words.get("environment") or {})
        assert not {
            name for name in names if re.search("SECRET|PASSWORD|REDIS_URL", name) and not name.endswith("_FILE")
        }
    for name, words in everything["secrets"].items():
        assert words["file"] == f"./deploy/secrets/{name}"


def test_only_who_signs_callbacks_gets_their_secret(everything):
    def has(name: str) -> set[str]:
        return set(everything["services"][name]["secrets"])

    assert "PHOTOMEND_CALLBACK_SECRET" in has("api") & has("keeper")
    assert "PHOTOMEND_CALLBACK_SECRET" not in has("worker") | has("worker-gpu0")
    assert has("redis") == {"redis.acl"}


@pytest.fixture(scope="module")
def secrets(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "secrets"
    subprocess.run([str(DEPLOY / "secrets.sh"), str(folder)], check=True)
    return folder


def test_every_secret_of_the_file_is_made_and_nobody_else_can_enter_their_folder(secrets, everything):
    assert {path.name for path in secrets.iterdir()} == set(everything["secrets"])
    assert secrets.stat().st_mode & 0o777 == 0o700
    # Bind mounts keep the owner: users inside containers are others.
    assert {path.stat().st_mode & 0o777 for path in secrets.iterdir()} == {0o644}


def test_secrets_that_exist_are_kept(secrets):
    before = {path.name: path.read_text() for path in secrets.iterdir()}
    subprocess.run([str(DEPLOY / "secrets.sh"), str(secrets)], check=True)
    assert {path.name: path.read_text() for path in secrets.iterdir()} == before


def test_the_settings_of_the_services_are_valid_values(secrets, everything, monkeypatch):
    monkeypatch.delenv("PHOTOMEND_SIGNING_SECRET")
    for service in ("worker", "api"):
        for name, value in everything["services"][service]["environment"].items():
            monkeypatch.setenv(name, value.replace("/run/secrets", str(secrets)))
    settings = WorkerSettings()
    assert settings.redis_url == (secrets / "PHOTOMEND_REDIS_URL").read_text().strip()
    assert settings.s3_endpoint_url == "http://seaweedfs:8333"
    assert settings.callback_secret is not None
    assert settings.signing_secret is not None
    (identity,) = json.loads((secrets / "s3.json").read_text())["identities"]
    assert settings.s3_access_key_id is not None
    assert settings.s3_secret_access_key is not None
    assert identity["credentials"] == [
        {
            "accessKey": settings.s3_access_key_id.get_secret_value(),
            "secretKey": settings.s3_secret_access_key.get_secret_value(),
        }
    ]


@pytest.fixture(scope="module")
def guarded(secrets, tmp_path_factory) -> Iterator[tuple[str, int]]:
    """A server with the deployed ACL, and beside it an administrator to ask: photomend's URL there, and the port."""
    (port,) = free_ports(1)
    folder = tmp_path_factory.mktemp("redis")
    acl = folder / "redis.acl"
    acl.write_text((secrets / "redis.acl").read_text() + "user admin on nopass ~* &* +@all\n")
    where = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--aclfile", str(acl)]
    server = Child("Redis", [find_binary(), str(DEPLOY / "redis.conf"), *where], log=folder / "log")
    try:
        server.wait_until(lambda: "Ready to accept connections" in server.output(), timeout_s=30)
        url = (secrets / "PHOTOMEND_REDIS_URL").read_text().strip()
        yield url.replace("@redis:6379", f"@127.0.0.1:{port}"), port
    finally:
        server.stop()


def test_the_services_may_do_all_that_they_do_in_redis(guarded):
    url, port = guarded
    scripts = [path.read_text() for path in (ROOT / "jobs" / "lua").rglob("*.lua")]
    called = {name for script in scripts for name in re.findall(r"""redis\.p?call\(['"](\w+)['"]""", script)}
    assert "HSET" in called
    # And what the client and Celery's transport call.
    called |= {"LPUSH", "BRPOP", "LLEN", "PUBLISH", "MULTI", "EXEC", "WATCH", "WAIT", "PING", "INFO", "SCAN", "DEL"}
    with redis.Redis(port=port, username="admin", password="any", decode_responses=True) as admin:
        for name in sorted(called):
            arity = int(admin.execute_command("COMMAND", "INFO", name)[name.lower()]["arity"])
            words = [name, *["1"] * (abs(arity) - 1)]
            assert admin.execute_command("ACL", "DRYRUN", "photomend", *words) in {"OK", b"OK"}, name
        for words in (["EVALSHA", "1", "0"], ["SCRIPT", "LOAD", "return 1"], ["CONFIG", "GET", "appendonly"]):
            assert admin.execute_command("ACL", "DRYRUN", "photomend", *words) == "OK"
    store = JobStore.connect(JobsSettings(redis_url=url))
    assert not store.keys.any_active()
    store.close()


def test_the_services_may_not_empty_or_change_the_server(guarded):
    url, _ = guarded
    with redis.Redis.from_url(url) as client:
        for words in (
            ["FLUSHALL"],
            ["CONFIG", "SET", "appendonly", "no"],
            ["KEYS", "*"],
            ["SHUTDOWN"],
            ["ACL", "LIST"],
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*words)


def test_others_may_ask_whether_it_lives_and_nothing_else(guarded):
    _, port = guarded
    with redis.Redis(port=port, username="probe", password="probe", protocol=2) as probe:
        assert probe.execute_command("PING")
        with pytest.raises(redis.exceptions.NoPermissionError):
            probe.execute_command("GET", "key")
    with (
        redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as nobody,
        pytest.raises(redis.exceptions.AuthenticationError),
    ):
        nobody.execute_command("PING")
