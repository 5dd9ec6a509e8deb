"""What is read from a process' end: whose fault it was, what its jobs count, whether it is started again at once."""

from __future__ import annotations

import signal

import pytest

from jobs.metrics.catalogue import PROCESS_EXITS
from worker.exits import (
    EXIT_DEVICE_LOST,
    EXIT_HUNG,
    EXIT_MEMORY,
    EXIT_RECYCLED,
    describe_exit,
    read_exit,
)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "exit status 0"),
        (EXIT_HUNG, "hung"),
        (EXIT_DEVICE_LOST, "GPU's context was lost"),
        (EXIT_MEMORY, "more memory than it may"),
        (EXIT_RECYCLED, "left between jobs"),
        (-9, "SIGKILL (out of memory?)"),
        (-11, "SIGSEGV"),
        (-6, "SIGABRT"),
        (-64, "SIGRTMAX"),
        (-63, "signal 63"),
    ],
)
def test_how_a_process_ended_is_told_in_words(status: int, words: str) -> None:
    assert words in describe_exit(status)


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        *((-number, number.name) for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS)),
        *((-number, number.name) for number in (signal.SIGILL, signal.SIGFPE)),
        (EXIT_HUNG, "hang"),
        (EXIT_MEMORY, "memory"),
        (3, "exit 3"),
    ],
)
def test_what_a_process_brings_upon_itself_has_a_cause_and_counts(status: int, cause: str) -> None:
    ended = read_exit(status, was_told=False)
    assert (ended.cause, ended.charge, ended.is_healthy) == (cause, True, False)


@pytest.mark.parametrize("status", [-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, 0])
def test_what_comes_from_outside_blames_nobody(status: int) -> None:
    assert read_exit(status, was_told=False).cause is None
    assert read_exit(status, was_told=False).charge
    assert not read_exit(status, was_told=True).charge, "a drain is no attempt, also one that did not end in time"


@pytest.mark.parametrize("status", [EXIT_DEVICE_LOST, EXIT_RECYCLED])
def test_a_lost_device_and_a_recycled_process_are_nobodys_attempt(status: int) -> None:
    ended = read_exit(status, was_told=False)
    assert (ended.cause, ended.charge, ended.is_healthy) == (None, False, status == EXIT_RECYCLED)


def test_a_kill_counts_as_its_own_fault_only_where_the_kernel_says_that_memory_ran_out() -> None:
    killed = read_exit(-signal.SIGKILL, was_told=False, was_oom_killed=True)
    assert (killed.cause, killed.how) == ("out_of_memory", "killed by SIGKILL: out of memory")
    assert read_exit(-signal.SIGTERM, was_told=False, was_oom_killed=True).cause is None


def test_a_crash_during_a_drain_is_a_crash_and_a_strange_status_is_not() -> None:
    assert read_exit(-signal.SIGSEGV, was_told=True).cause == "SIGSEGV"
    assert read_exit(1, was_told=True).cause is None


@pytest.mark.parametrize(
    ("status", "was_told", "label"),
    [
        (-signal.SIGSEGV, True, "SIGSEGV"),
        (-signal.SIGKILL, False, "SIGKILL"),
        (-signal.SIGKILL, True, "told"),
        (-60, False, "signal_60"),
        (EXIT_HUNG, False, "hang"),
        (EXIT_DEVICE_LOST, False, "device_lost"),
        (EXIT_RECYCLED, False, "recycled"),
        (3, False, "exit"),
        (0, True, "told"),
        (0, False, "other"),
    ],
)
def test_metrics_name_an_end_in_one_word(status: int, was_told: bool, label: str) -> None:
    assert read_exit(status, was_told=was_told).label == label


def test_what_metrics_know_of_ends_is_what_ends_are_called() -> None:
    faults = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGKILL)
    ends = [read_exit(status, was_told=False) for status in (*range(256), *(-number for number in faults))]
    ends += [read_exit(-signal.SIGKILL, was_told=False, was_oom_killed=True), read_exit(0, was_told=True)]
    assert {cause for (cause,) in PROCESS_EXITS.known} == {end.label for end in ends}
