"""What a worker's processes are started with."""

from __future__ import annotations

import pytest

from jobs.queue import QUEUES
from worker.allocator import ALLOCATOR
from worker.processes import CPU_THREADS, GPU_THREADS, WAITING, plan_processes


def test_each_gpu_gets_a_process_that_sees_it_alone() -> None:
    plans = plan_processes(gpus=["GPU-aaa", "GPU-bbb"], cpu=1, threads=None, cores=16)
    assert [p.environment["CUDA_VISIBLE_DEVICES"] for p in plans] == ["GPU-aaa", "GPU-bbb"]
    assert {p.environment["PHOTOMEND_DEVICE"] for p in plans} == {"cuda:0"}
    for plan in plans:
        at_a_time = plan.environment["PHOTOMEND_LEAST_THREADS"], plan.environment["PHOTOMEND_THREADS"]
        assert at_a_time == ("8", "9")
        assert plan.threads == 9, "Celery has a thread for each"
    assert {p.defaults["OMP_NUM_THREADS"] for p in plans} == {"8"}


@pytest.mark.parametrize(("cpu", "cores", "omp"), [(1, 8, "8"), (3, 8, "2"), (4, 2, "1")])
def test_processes_on_the_cpu_share_its_cores(cpu: int, cores: int, omp: str) -> None:
    plans = plan_processes(gpus=(), cpu=cpu, threads=5, cores=cores)
    assert len(plans) == cpu
    assert {p.defaults["OMP_NUM_THREADS"] for p in plans} == {omp}
    assert {p.environment["PHOTOMEND_DEVICE"] for p in plans} == {"cpu"}
    assert {p.environment["PHOTOMEND_THREADS"] for p in plans} == {"5"}
    assert {p.environment["PHOTOMEND_LEAST_THREADS"] for p in plans} == {"5"}, "as many as were asked for"
    assert all(ALLOCATOR.items() <= p.defaults.items() for p in plans)
    assert all(WAITING.items() <= p.defaults.items() for p in plans), "threads that wait leave the cores to others"


@pytest.mark.parametrize(
    ("gpus", "cores", "expected"),
    [((), 1, CPU_THREADS[0]), ((), 4, 5), ((), 64, CPU_THREADS[1]), (("a",), 4, GPU_THREADS[0]), (("a",), 64, 16)],
)
def test_without_a_wish_there_are_as_many_threads_as_cores_could_use(
    gpus: tuple[str, ...], cores: int, expected: int
) -> None:
    (plan,) = plan_processes(gpus=gpus, cpu=1, threads=None, cores=cores)
    least = (GPU_THREADS if gpus else CPU_THREADS)[0]
    assert plan.environment["PHOTOMEND_LEAST_THREADS"] == str(least)
    assert plan.environment["PHOTOMEND_THREADS"] == str(plan.threads) == str(expected)


def test_more_jobs_than_the_fewest_are_taken_where_the_memory_is_for_them() -> None:
    def threads(memory_mb: float, *, cpu: int = 1) -> int:
        return plan_processes(gpus=(), cpu=cpu, threads=None, cores=64, memory_mb=memory_mb)[0].threads

    assert threads(64_000) == CPU_THREADS[1]
    assert threads(6_000) == 5
    assert threads(12_000, cpu=2) == 5
    assert threads(1_000) == CPU_THREADS[0]
    assert plan_processes(gpus=(), cpu=1, threads=9, cores=2, memory_mb=1_000)[0].threads == 9, "as it is told"


def test_the_command_is_one_celery_worker_on_threads_with_our_queues() -> None:
    command = plan_processes(gpus=(), cpu=1, threads=3, cores=2)[0].command("worker.app:app")
    assert command[1:5] == ["-m", "celery", "-A", "worker.app:app"]
    for pair in (["-P", "threads"], ["-c", "3"], ["-Q", ",".join(QUEUES.values())]):
        at = command.index(pair[0])
        assert command[at : at + 2] == pair


def test_two_processes_have_two_names() -> None:
    commands = [p.command("x") for p in plan_processes(gpus=(), cpu=2, threads=1, cores=2)]
    assert commands[0][commands[0].index("-n") + 1] != commands[1][commands[1].index("-n") + 1]


def test_processes_share_the_memory_that_there_is() -> None:
    (one, _) = plan_processes(gpus=(), cpu=2, threads=1, cores=2, memory_mb=8000)
    assert one.defaults["PHOTOMEND_RECYCLE_MB"] == "3000"
    assert one.defaults["PHOTOMEND_MEMORY_LIMIT_MB"] == "3800"
    assert "PHOTOMEND_RECYCLE_MB" not in plan_processes(gpus=(), cpu=1, threads=1, cores=2)[0].defaults
