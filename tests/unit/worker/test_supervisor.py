"""Processes that end in every way, under a real supervisor: plain Python instead of Celery, to take no time."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from worker.exits import EXIT_RECYCLED, Exit
from worker.processes import Plan, plan_processes
from worker.supervisor import PATIENCE, RESTART_S, Supervisor


@dataclass(frozen=True, kw_only=True)
class Script(Plan):
    """A process that does what it is told."""

    code: str = ""

    def command(self, app: str) -> list[str]:
        return [sys.executable, "-S", "-c", f"import os, signal, time\n{self.code}"]


class Kills:
    """The kernel's count."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> int:
        return self.count


@dataclass
class Scene:
    supervisor: Supervisor
    ends: list[tuple[str, Exit]]
    kills: Kills

    def run_until(self, claim: Callable[[], object]) -> None:
        def stop() -> None:
            for _ in range(2000):
                if claim():
                    break
                threading.Event().wait(0.01)
            self.supervisor.on_signal(signal.SIGTERM)

        threading.Thread(target=stop, daemon=True).start()
        assert self.supervisor.run() == 0
        assert claim()


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Scene]:
    monkeypatch.setattr("worker.supervisor.LOOK_EVERY_S", 0.01)

    def make(code: str) -> Scene:
        ends: list[tuple[str, Exit]] = []
        kills = Kills()
        supervisor = Supervisor(
            [Script(name="p0", threads=1, code=code)],
            app="",
            node_name="host",
            grace_s=5.0,
            on_exit=lambda worker, ended: ends.append((worker, ended)),
            oom_kills=kills,
        )
        return Scene(supervisor, ends, kills)

    return make


def test_a_crash_is_told_under_the_name_that_the_process_has_in_records(scene: Callable[[str], Scene]) -> None:
    here = scene("open('/dev/null').close(); os.kill(os.getpid(), signal.SIGSEGV)")
    here.run_until(lambda: here.ends)
    worker, ended = here.ends[0]
    node, pid, incarnation = worker.split(":")
    assert (node, ended.cause) == ("host", "SIGSEGV")
    assert int(pid) != os.getpid()
    assert len(incarnation) == 8


def test_the_process_is_told_the_name_that_it_will_be_known_by(
    scene: Callable[[str], Scene], capfd: pytest.CaptureFixture[str]
) -> None:
    here = scene("print(os.environ['PHOTOMEND_NODE_NAME'], os.getpid(), os.environ['PHOTOMEND_INCARNATION'], sep=':')")
    here.run_until(lambda: here.ends)
    assert here.ends[0][0] in capfd.readouterr().out


def test_a_recycled_process_is_back_at_once(scene: Callable[[str], Scene]) -> None:
    here = scene(f"os._exit({EXIT_RECYCLED})")
    here.run_until(lambda: len(here.ends) >= 3)
    assert here.supervisor._children[0].failures == 0


def test_a_process_that_dies_is_back_at_once_until_it_died_too_often(scene: Callable[[str], Scene]) -> None:
    here = scene("os._exit(1)")
    began = time.monotonic()
    here.run_until(lambda: len(here.ends) >= PATIENCE)
    (child,) = here.supervisor._children
    assert child.failures == PATIENCE
    assert child.start_at - child.started_at >= RESTART_S[0], "the next one waits"
    assert child.started_at - began < PATIENCE * RESTART_S[0], "none of these did"


def test_a_kill_while_the_kernels_count_grew_is_one_for_memory(scene: Callable[[str], Scene]) -> None:
    here = scene("time.sleep(0.3); os.kill(os.getpid(), signal.SIGKILL)")
    here.kills.count = 4
    here.supervisor._kills.append(4)
    here.supervisor._kills.popleft()
    threading.Timer(0.1, lambda: setattr(here.kills, "count", 5)).start()
    here.run_until(lambda: here.ends)
    assert here.ends[0][1].cause == "out_of_memory"


def test_a_kill_without_that_is_nobodys_fault(scene: Callable[[str], Scene]) -> None:
    here = scene("os.kill(os.getpid(), signal.SIGKILL)")
    here.run_until(lambda: here.ends)
    assert here.ends[0][1].cause is None


def test_a_process_that_was_told_to_go_is_no_attempt(scene: Callable[[str], Scene]) -> None:
    here = scene("time.sleep(60)")
    here.run_until(lambda: here.supervisor._children[0].worker)
    assert [(ended.cause, ended.charge) for _, ended in here.ends] == [(None, False)]


def test_each_gpu_keeps_a_process_whichever_dies_and_all_hear_of_the_drain(tmp_path: Path) -> None:
    """Of three GPUs that are not here: each process notes which one it was given, and what it hears."""
    code = (
        "gpu = os.environ['CUDA_VISIBLE_DEVICES']\n"
        f"notes = open({str(tmp_path / 'notes')!r}, 'a', buffering=1)\n"
        "def leave(*_):\n    notes.write(f'{gpu} drains\\n'); os._exit(0)\n"
        "signal.signal(signal.SIGTERM, leave)\n"
        "notes.write(f'{gpu} begins\\n')\n"
        f"died = {str(tmp_path / 'died')!r}\n"
        "if gpu == 'MIG-b' and not os.path.exists(died):\n"
        "    open(died, 'w').close(); os.kill(os.getpid(), signal.SIGKILL)\n"
        "while True: time.sleep(60)"
    )
    gpus = ["GPU-a", "MIG-b", "MIG-c"]
    plans = [
        Script(name=plan.name, threads=1, code=code, environment=plan.environment)
        for plan in plan_processes(gpus=gpus, cpu=1, threads=1, cores=3)
    ]

    def notes() -> list[str]:
        return (tmp_path / "notes").read_text().splitlines() if (tmp_path / "notes").exists() else []

    ends: list[tuple[str, Exit]] = []
    supervisor = Supervisor(
        plans, app="", node_name="host", grace_s=30.0, on_exit=lambda worker, ended: ends.append((worker, ended))
    )
    Scene(supervisor, ends, Kills()).run_until(lambda: len(notes()) >= 4)
    assert sorted(note for note in notes() if note.endswith("begins")) == [
        "GPU-a begins", "MIG-b begins", "MIG-b begins", "MIG-c begins"
    ]  # fmt: skip
    assert sorted(note for note in notes() if note.endswith("drains")) == [f"{gpu} drains" for gpu in gpus]
    assert [ended.how for _, ended in ends].count("exit status 0") == 3
