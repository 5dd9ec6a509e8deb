"""What a worker's processes are started with, and what is said about how they end."""

from __future__ import annotations

import pytest

from jobs.queue import QUEUES
from worker.processes import ALLOCATOR, GPU_THREADS, found_gpus, plan_processes
from worker.supervisor import describe_exit


def test_each_gpu_gets_a_process_that_sees_it_alone() -> None:
    plans = plan_processes(gpus=["GPU-aaa", "GPU-bbb"], cpu=1, threads=None, cores=16)
    assert [p.environment["CUDA_VISIBLE_DEVICES"] for p in plans] == ["GPU-aaa", "GPU-bbb"]
    assert {p.environment["PHOTOMEND_DEVICE"] for p in plans} == {"cuda:0"}
    assert {p.threads for p in plans} == {GPU_THREADS}
    assert {p.defaults["OMP_NUM_THREADS"] for p in plans} == {"8"}


@pytest.mark.parametrize(("cpu", "cores", "omp"), [(1, 8, "8"), (3, 8, "2"), (4, 2, "1")])
def test_processes_on_the_cpu_share_its_cores(cpu: int, cores: int, omp: str) -> None:
    plans = plan_processes(gpus=(), cpu=cpu, threads=5, cores=cores)
    assert len(plans) == cpu
    assert {p.defaults["OMP_NUM_THREADS"] for p in plans} == {omp}
    assert {p.environment["PHOTOMEND_DEVICE"] for p in plans} == {"cpu"}
    assert {p.environment["PHOTOMEND_THREADS"] for p in plans} == {"5"}
    assert all(ALLOCATOR.items() <= p.defaults.items() for p in plans)


def test_the_command_is_one_celery_worker_on_threads_with_our_queues() -> None:
    command = plan_processes(gpus=(), cpu=1, threads=3, cores=2)[0].command("worker.app:app")
    assert command[1:5] == ["-m", "celery", "-A", "worker.app:app"]
    for pair in (["-P", "threads"], ["-c", "3"], ["-Q", ",".join(QUEUES.values())]):
        at = command.index(pair[0])
        assert command[at : at + 2] == pair


def test_two_processes_have_two_names() -> None:
    commands = [p.command("x") for p in plan_processes(gpus=(), cpu=2, threads=1, cores=2)]
    assert commands[0][commands[0].index("-n") + 1] != commands[1][commands[1].index("-n") + 1]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [("0,2", ("0", "2")), ("GPU-a", ("GPU-a",)), ("", ()), ("-1", ()), (" 1 , 3 ", ("1", "3"))],
)
def test_the_operators_choice_of_gpus_is_respected(visible: str, expected: tuple[str, ...]) -> None:
    assert found_gpus(visible) == expected


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "exit status 0"),
        (70, "hung"),
        (-9, "SIGKILL (out of memory?)"),
        (-11, "SIGSEGV"),
        (-6, "SIGABRT"),
        (-64, "SIGRTMAX"),
    ],
)
def test_how_a_process_ended_is_told_in_words(status: int, words: str) -> None:
    assert words in describe_exit(status)
