"""The compose file and the images fit the code: commands, settings and files that they name exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from api.settings import ApiSettings
from jobs.settings import JobsSettings
from photomend.cli import app
from worker.settings import KeeperSettings, WorkerSettings

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
OURS = {name: words for name, words in SERVICES.items() if words["image"].startswith("photomend-")}
SETTINGS = {"api": ApiSettings, "keeper": KeeperSettings, "worker": WorkerSettings, "models": WorkerSettings}


def readable(settings: type[JobsSettings]) -> set[str]:
    """The variables that a process with these settings reads: each setting, or the file that has it."""
    names = {f"PHOTOMEND_{field.upper()}" for field in settings.model_fields}
    return names | {f"{name}_FILE" for name in names}


def check_command(words: list[str]) -> None:
    """Let the command line's own parser judge the words, without running them."""
    assert words[0] == "photomend"
    group = get_command(app)
    command, rest = group, words[1:]
    while rest and hasattr(command, "commands"):
        assert rest[0] in command.commands, words
        command, rest = command.commands[rest[0]], rest[1:]
    command.make_context(words[-1], list(rest), resilient_parsing=False)


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_service_of_ours_runs_a_command_that_exists(name):
    check_command(OURS[name]["command"])


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_variable_of_a_service_is_a_setting_that_its_process_reads(name):
    given = OURS[name]["environment"]
    assert set(given) <= readable(SETTINGS[OURS[name]["command"][1]])
    assert given
    files = {setting.removesuffix("_FILE"): place for setting, place in given.items() if setting.endswith("_FILE")}
    assert files == {secret: f"/run/secrets/{secret}" for secret in OURS[name].get("secrets", ())}


def test_the_weights_that_are_fetched_are_known():
    entries = tomllib.loads((ROOT / "pipeline" / "weights.toml").read_text())["weights"]
    names = OURS["fetch-weights"]["command"][3:]
    assert names
    assert set(names) <= {entry["name"] for entry in entries if entry.get("url")}


def test_a_variable_that_is_no_setting_would_be_noticed():
    assert "PHOTOMEND_S3_ENDPOINT" not in {f"PHOTOMEND_{field.upper()}" for field in JobsSettings.model_fields}


def test_the_preview_pack_is_not_allowed_in_containers():
    assert all("PHOTOMEND_ALLOW_PREVIEW" not in words["environment"] for words in OURS.values())


def test_nothing_starts_before_what_it_needs_is_healthy():
    for name, words in SERVICES.items():
        for needed, how in words.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[needed], f"{name} waits for {needed}, which has no health check"
    assert SERVICES["api"]["depends_on"]["redis"]["condition"] == "service_healthy"
    assert SERVICES["worker"]["depends_on"]["api"]["condition"] == "service_healthy"


def test_ports_are_published_on_loopback_only():
    published = [port for words in SERVICES.values() for port in words.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


@pytest.mark.parametrize("name", sorted(name for name in OURS if name.startswith("worker")))
def test_a_worker_gets_longer_to_stop_than_it_takes_to_drain(name):
    grace_s = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
    assert grace_s >= float(OURS[name]["environment"]["PHOTOMEND_DRAIN_S"]) + 10


def test_redis_keeps_every_accepted_job():
    lines = [line.split(None, 1) for line in (ROOT / "deploy" / "redis.conf").read_text().splitlines()]
    settings = {words[0]: words[1] for words in lines if words and not words[0].startswith("#")}
    assert settings["maxmemory-policy"] == "noeviction"
    assert settings["appendonly"] == "yes"
    assert "./deploy/redis.conf:/etc/redis/redis.conf:ro" in SERVICES["redis"]["volumes"]


def test_our_own_redis_accepts_the_deployed_settings(tmp_path):
    from photomend.stack.ports import free_ports
    from photomend.stack.process import Child
    from photomend.stack.redis import find_binary

    (port,) = free_ports(1)
    conf = ROOT / "deploy" / "redis.conf"
    words = [find_binary(), str(conf), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path)]
    server = Child("Redis", words, log=tmp_path / "log")
    server.wait_until(lambda: "Ready to accept connections" in server.output(), timeout_s=30)
    assert server.stop() == 0


def test_the_runbook_names_commands_and_settings_that_exist():
    text = (ROOT / "deploy" / "RUNBOOK.md").read_text()
    known = {name for kind in SETTINGS.values() for name in readable(kind)}
    named = set(re.findall(r"PHOTOMEND_[A-Z0-9_]+", text))
    assert named
    assert named <= known
    commands = re.findall(r"`(photomend [a-z]+[^`]*)`", text)
    assert commands
    for words in (command.replace("…", "x").split() for command in commands):
        check_command(words)


@pytest.mark.parametrize("name", ["api", "worker"])
def test_an_image_copies_files_that_exist_and_runs_a_command_that_exists(name):
    text = (ROOT / "deploy" / f"{name}.Dockerfile").read_text()
    copied = re.findall(r"^COPY (?!--from=)(?:--\S+ )?(.*) \S+$", text, re.MULTILINE)
    sources = [word for line in copied for word in line.split()]
    assert sources
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored, f"{source} is not let through by .dockerignore"
    (command,) = re.findall(r"^CMD (\[.*\])$", text, re.MULTILINE)
    check_command(yaml.safe_load(command))


@pytest.mark.parametrize("name", sorted(name for name, words in OURS.items() if "build" in words))
def test_a_service_is_built_from_an_image_file_that_exists(name):
    assert (ROOT / OURS[name]["build"]["dockerfile"]).is_file()
