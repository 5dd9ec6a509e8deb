"""``photomend callbacks`` as an operator uses it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from jobs.model import Callback, Job
from jobs.settings import JobsSettings
from jobs.states import JobState
from jobs.store import JobStore
from photomend.cli import app
from photomend.stack.ports import free_ports
from tests.integration.jobs.conftest import LEASE_S

MakeJob = Callable[..., Job]
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(redis_settings: JobsSettings, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("PHOTOMEND_REDIS_URL", redis_settings.redis_url)

    def callbacks(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["callbacks", *words])
        return result.exit_code, result.output

    return callbacks


def given_up(store: JobStore, in_state: MakeJob, url: str, error: str = "HTTP 500") -> str:
    in_state(JobState.CANCELED, callback=Callback(url=url))
    (delivery,) = store.due_callbacks(limit=9, lease_s=LEASE_S)
    store.callback_failed(delivery.id, retry_in_s=None, error=error)
    return delivery.id


def test_the_list_tells_what_waits_and_what_was_given_up(store: JobStore, in_state: MakeJob, run: Run) -> None:
    lost = given_up(store, in_state, "https://e.com/hook?secret=1")
    job = in_state(JobState.CANCELED, callback=Callback(url="https://e.com/other"))
    code, said = run("list")
    assert code == 0
    assert f"{lost}  undelivered  1 attempts  https://e.com/hook  HTTP 500\n" in said
    assert "secret" not in said
    assert said.endswith("2 callbacks\n")
    code, said = run("list", "--undelivered")
    assert (code, said.splitlines()[-1]) == (0, "1 callback")
    code, said = run("list", "--job", job.id)
    assert "waiting" in said
    assert said.endswith("1 callback\n")


def test_a_replay_by_endpoint_sends_what_was_given_up_for_it_and_nothing_else(
    store: JobStore, in_state: MakeJob, run: Run
) -> None:
    meant = {given_up(store, in_state, f"https://e.com/hook?job={n}") for n in range(3)}
    given_up(store, in_state, "https://e.com/hook/deeper")
    assert run("replay", "--endpoint", "https://e.com/hook") == (0, "3 of 3 callbacks are sent again\n")
    assert {d.id for d in store.due_callbacks(limit=9, lease_s=LEASE_S)} == meant
    assert run("replay", "--endpoint", "https://e.com/hook")[0] == 1, "nothing is left of it"


def test_a_replay_by_id_takes_callbacks_and_jobs(store: JobStore, in_state: MakeJob, run: Run) -> None:
    lost = given_up(store, in_state, "https://e.com/a")
    job = in_state(JobState.CANCELED, callback=Callback(url="https://e.com/b"))
    (delivery,) = store.due_callbacks(limit=9, lease_s=LEASE_S)
    store.callback_delivered(delivery.id)
    assert run("replay", lost, job.id) == (0, "2 of 2 callbacks are sent again\n")
    assert {d.id for d in store.due_callbacks(limit=9, lease_s=LEASE_S)} == {lost, delivery.id}


def test_what_is_not_there_is_said_by_the_exit_code(store: JobStore, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("replay", "msg_0_completed") == (1, "0 of 1 callbacks are sent again\n")
    assert run("replay", "job_" + "0" * 32)[0] == 1
    assert run("replay")[0] == 2
    monkeypatch.setenv("PHOTOMEND_REDIS_URL", f"redis://127.0.0.1:{free_ports(1)[0]}")
    assert run("list")[0] == 1
