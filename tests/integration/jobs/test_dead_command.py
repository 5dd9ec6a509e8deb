"""``photomend dead`` as an operator uses it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from jobs.codec import VERSION
from jobs.model import Job, TenantId
from jobs.settings import JobsSettings
from jobs.states import JobState
from jobs.store import JobStore, Slots
from photomend.cli import app
from tests import samples
from tests.integration.jobs.conftest import LEASE_S

Run = Callable[..., tuple[int, str]]
WORKER = "host:17:aa"


@pytest.fixture
def run(redis_settings: JobsSettings, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("PHOTOMEND_REDIS_URL", redis_settings.redis_url)
    monkeypatch.setenv("COLUMNS", "250")

    def run_dead(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["dead", *words])
        return result.exit_code, result.output

    return run_dead


def poison(store: JobStore, *, cause: str = "SIGSEGV", tenant: str = "local") -> Job:
    """A job that was given up: its processes died, among others and then alone."""
    job = store.submit(samples.job(tenant=TenantId(tenant), callback=samples.CALLBACK)).job
    models = ({"name": "gfpgan-1.4", "sha256": "e2cd4703ab14f4d0"},)
    for number in range(4):
        worker = f"{WORKER}{number}"
        store.publish_slots(Slots(worker=worker, queues=(), free=0, total=1, engine="torch 2.13", models=models))
        got = store.claim_suspect(worker=worker, lease_s=LEASE_S) if number else None
        assert isinstance(got or store.claim(job.id, worker=worker, lease_s=LEASE_S), Job)
        store.release_worker(worker, charge=True, cause=cause)
    dead = store.get(job.id)
    assert dead.state is JobState.FAILED
    return dead


def interrupted(make_store: Callable[..., JobStore]) -> Job:
    store = make_store(max_attempts=1)
    job = store.submit(samples.job()).job
    store.claim(job.id, worker=WORKER, lease_s=LEASE_S)
    store.release_worker(WORKER, charge=True)
    return store.get(job.id)


def test_the_list_says_why_and_can_be_narrowed(
    store: JobStore, make_store: Callable[..., JobStore], in_state: Callable[..., Job], run: Run
) -> None:
    assert run("list") == (0, "0 of 0 dead letters\n")
    crashed, hog, worn = poison(store), poison(store, cause="memory", tenant="anna"), interrupted(make_store)
    in_state(JobState.FAILED)
    code, said = run("list")
    assert code == 0
    rows = [line.split() for line in said.splitlines() if line.startswith("job_")]
    assert [row[0] for row in rows] == [worn.id, hog.id, crashed.id], "the latest first; honest failures are not there"
    assert "too_many_interruptions" in rows[0]
    assert rows[1][3:5] == ["4x", "memory"]
    assert "anna" in rows[1]
    assert said.endswith("3 of 3 dead letters\n")
    for cause, found in (("sigsegv", {crashed.id}), ("poison", {crashed.id, hog.id}), ("nothing", set())):
        assert {job["id"] for job in json.loads(run("list", "--cause", cause, "--json")[1])} == found
    assert len(json.loads(run("list", "--limit", "1", "--json")[1])) == 1
    assert len(json.loads(run("list", "--limit", "1", "--all", "--json")[1])) == 3


def test_one_that_only_a_newer_version_can_read_hides_none_of_the_others(store: JobStore, run: Run) -> None:
    theirs, ours = poison(store), poison(store)
    store._redis.hset(f"{{photomend}}:job:{theirs.id}", "v", str(VERSION + 1))
    status, said = run("list")
    assert status == 0
    assert f"{theirs.id} is left out: only a newer version" in said
    assert ours.id in said
    assert "1 of 2 dead letters" in said
    status, said = run("replay", "--all")
    assert (status, f"{ours.id} →" in said, theirs.id in said) == (0, True, False)


def test_one_is_shown_with_each_death(store: JobStore, run: Run) -> None:
    job = poison(store)
    code, said = run("show", job.id)
    assert code == 0
    assert "[poison]" in said
    assert job.input.uri in said
    assert said.count("alone: it was this job") == 3
    assert f"{WORKER}3" in said
    assert "gfpgan-1.4 e2cd4703ab14" in said
    (last,) = json.loads(run("show", job.id, "--json")[1])["deaths"][3:]
    assert (last["cause"], last["attempt"], last["engine"]) == ("SIGSEGV", 4, "torch 2.13")


@pytest.mark.parametrize("name", ["job_" + "0" * 32, "nonsense", "an honest failure"])
def test_what_is_no_dead_letter_is_said_in_one_sentence(in_state: Callable[..., Job], run: Run, name: str) -> None:
    job_id = in_state(JobState.FAILED).id if name.startswith("an honest") else name
    for command in ("show", "replay"):
        code, said = run(command, job_id)
        assert code == 1
        assert "There is no such job" in said
        assert "Traceback" not in said


def test_a_replay_is_marked_and_is_not_made_twice_by_mistake(store: JobStore, run: Run) -> None:
    job = poison(store)
    code, said = run("replay", job.id)
    assert code == 0
    again = store.get(job.id).replayed_as
    assert again is not None
    assert said == f"{job.id} → {again}\n1 of 1 submitted anew\n"
    new = store.get(again)
    assert (new.replay_of, new.state, new.is_suspect) == (job.id, JobState.QUEUED, True)
    code, said = run("replay", job.id)
    assert code == 1
    assert f"was replayed as {again} already" in said
    assert run("replay", "--all") == (0, "0 of 0 submitted anew\n")
    assert run("replay", job.id, "--again")[0] == 0
    assert store.counts()["waiting_suspect"] == 2
    assert list(store.doctor().examine()) == []


def test_many_are_replayed_by_cause_and_what_was_only_interrupted_waits_as_any_other(
    store: JobStore, make_store: Callable[..., JobStore], run: Run
) -> None:
    poison(store)
    worn = [interrupted(make_store) for _ in range(3)]
    assert run("replay", "--cause", "too_many_interruptions", "--limit", "2")[1].endswith("2 of 2 submitted anew\n")
    assert run("replay", "--cause", "too_many_interruptions", "--all")[1].endswith("1 of 1 submitted anew\n")
    news = [store.get(job.id).replayed_as for job in worn]
    assert {store.get(new).is_suspect for new in news if new} == {False}
    assert store.counts()["waiting_interactive"] == 3


def test_replay_wants_to_know_what(run: Run) -> None:
    assert run("replay")[0] == 2
    assert run("replay", "job_" + "0" * 32, "--all")[0] == 2


def test_a_dead_letter_goes_when_its_record_goes(store: JobStore, run: Run) -> None:
    job = poison(store)
    store.delete(job.id, tenant=job.tenant)
    assert "1 of 1" in run("list")[1], "its owner wants it gone: the sweeper's next round"
    store._redis.zadd("{photomend}:retire", {job.id: 1})
    assert store.sweep().retired == 1
    assert run("list") == (0, "0 of 0 dead letters\n")
    assert list(store.doctor().examine()) == []
