"""A keeper whose loops turn writes its file; one with a loop that is stuck does not, and its check says so."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from photomend.cli import app
from tests.unit.worker.clock import FakeClock
from worker.keeper import Chore, Keeper
from worker.vitals import LONGEST_TURN_S, STALE_S, Vitals, is_alive


class Locks:
    def lock(self, name: str, *, ttl_s: float) -> bool:
        return True


def test_one_loop_that_is_stuck_is_enough(tmp_path: Path) -> None:
    clock, file = FakeClock(), tmp_path / "alive"
    vitals = Vitals(["feeder", "sweeper"], file, clock=clock)
    vitals.beat()
    assert is_alive(file)
    file.unlink()
    clock.now += LONGEST_TURN_S + 1
    vitals.turned("feeder")
    vitals.beat()
    assert not file.exists()
    vitals.turned("sweeper")
    vitals.beat()
    assert is_alive(file)


def test_a_file_that_was_written_long_ago_says_nothing(tmp_path: Path) -> None:
    file = tmp_path / "alive"
    file.touch()
    past = time.time() - STALE_S - 1
    os.utime(file, (past, past))
    assert not is_alive(file)


def test_a_place_that_cannot_be_written_stops_no_keeper(tmp_path: Path) -> None:
    Vitals(["feeder"], tmp_path / "nowhere" / "alive").beat()


def test_a_keeper_writes_it_while_it_works(tmp_path: Path) -> None:
    file, stop, turns = tmp_path / "alive", threading.Event(), threading.Event()
    keeper = Keeper(Locks(), (Chore(name="feeder", every_s=0.01, step=turns.set, is_shared=True),), alive_file=file)
    running = threading.Thread(target=keeper.run, args=(stop,))
    running.start()
    assert turns.wait(30)
    until = time.monotonic() + 30
    while not is_alive(file) and time.monotonic() < until:
        time.sleep(0.01)
    stop.set()
    running.join(30)
    assert is_alive(file)


def test_the_command_says_whether_it_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "alive"
    monkeypatch.setenv("PHOTOMEND_ALIVE_PATH", str(file))
    dead = CliRunner().invoke(app, ["keeper", "--check"])
    assert dead.exit_code == 1
    assert "no keeper lives" in dead.output
    file.touch()
    assert CliRunner().invoke(app, ["keeper", "--check"]).exit_code == 0
