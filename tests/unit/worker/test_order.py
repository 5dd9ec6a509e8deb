"""The order of pieces of several jobs: brief ones one after the other, long ones in turn, nobody for ever last."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass

import pytest

from worker.order import LENIENCE, LONGEST_S, REMEMBERED, Standing, Usual, bring_forward


@dataclass
class Job:
    """Of so many pieces, each as long; hands in the next when one is done and ``host_s`` has passed."""

    name: str
    pieces: int
    piece_s: float
    host_s: float = 0.0


def ran(jobs: list[Job], *, brief_s: float) -> list[tuple[str, float]]:
    """Whose pieces ran in which order, and when each ended, on a lane that all jobs come to at once."""
    standings = {job.name: Standing(number=number) for number, job in enumerate(jobs)}
    left = {job.name: job.pieces for job in jobs}
    waiting: deque[Job] = deque(jobs)
    coming: list[tuple[float, int, Job]] = []
    seen: list[tuple[str, float]] = []
    now = 0.0
    while waiting or coming:
        if not waiting:
            now = max(now, min(coming)[0])
        for entry in sorted(entry for entry in coming if entry[0] <= now):
            coming.remove(entry)
            waiting.append(entry[2])
        bring_forward(waiting, standing_of=lambda job: standings[job.name], brief_s=brief_s)
        job = waiting.popleft()
        now += job.piece_s
        standings[job.name].spent_s += job.piece_s
        seen.append((job.name, now))
        left[job.name] -= 1
        if left[job.name]:
            coming.append((now + job.host_s, len(seen), job))
    return seen


def names(seen: list[tuple[str, float]]) -> str:
    return "".join(name for name, _ in seen)


def ends(seen: list[tuple[str, float]]) -> dict[str, float]:
    return dict(seen)


def idle_share(*, jobs: int, at_a_time: int, brief_s: float) -> float:
    """Of a lane whose jobs have two faces and are fetched for 0.1 s before and stored for 0.2 s after their pieces."""
    pieces_s, gap_s, before_s, after_s = (0.1, 0.1, 0.13, 0.13, 0.04, 0.04), 0.004, 0.1, 0.2
    standings = [Standing(number=number) for number in range(jobs)]
    done = [0] * jobs
    coming = [(before_s, number) for number in range(at_a_time)]
    waiting: deque[int] = deque()
    now = busy_s = 0.0
    begun = at_a_time
    while waiting or coming:
        if not waiting:
            now = max(now, min(coming)[0])
        for entry in sorted(entry for entry in coming if entry[0] <= now):
            coming.remove(entry)
            waiting.append(entry[1])
        bring_forward(waiting, standing_of=lambda number: standings[number], brief_s=brief_s)
        number = waiting.popleft()
        piece_s = pieces_s[done[number]]
        now, busy_s, done[number] = now + piece_s, busy_s + piece_s, done[number] + 1
        standings[number].spent_s += piece_s
        if done[number] < len(pieces_s):
            coming.append((now + gap_s, number))
        elif begun < jobs:
            coming.append((now + after_s + before_s, begun))
            begun += 1
    return 1 - busy_s / now


def test_the_lane_does_not_stand_still_while_what_is_done_is_stored_and_the_next_is_fetched() -> None:
    assert idle_share(jobs=60, at_a_time=3, brief_s=0.0) > 0.06, "by turns all three end at once"
    assert idle_share(jobs=60, at_a_time=3, brief_s=1.2) < 0.01


def test_alike_jobs_are_done_one_after_the_other() -> None:
    jobs = [Job(name, pieces=3, piece_s=1.0) for name in "abc"]
    assert names(ran(jobs, brief_s=0.0)) == "abcabcabc"
    assert names(ran(jobs, brief_s=6.0)) == "aaabbbccc"


def test_while_the_first_is_busy_elsewhere_the_next_goes_on() -> None:
    jobs = [Job(name, pieces=3, piece_s=1.0, host_s=0.5) for name in "ab"]
    assert names(ran(jobs, brief_s=6.0)) == "ababab"


def test_a_long_job_keeps_its_turns_whatever_brief_ones_come() -> None:
    """Each of its pieces waits for no more pieces than there are other jobs."""
    jobs = [Job("L", pieces=40, piece_s=1.0), *(Job(name, pieces=6, piece_s=0.5) for name in "abcdefgh")]
    order = names(ran(jobs, brief_s=4.0))
    late = order[order.index("L" * 4) if "L" * 4 in order else 0 :]
    gaps = [len(gap) for gap in late.split("L")]
    assert max(gaps) <= len(jobs) - 1


def test_a_brief_job_beside_long_ones_gets_its_turns_too() -> None:
    jobs = [Job("L", pieces=99, piece_s=1.0), Job("M", pieces=99, piece_s=1.0), Job("a", pieces=3, piece_s=1.0)]
    seen = ran(jobs, brief_s=2.0)
    assert ends(seen)["a"] <= ends(ran(jobs, brief_s=0.0))["a"] + 2 * 2.0


def test_long_ones_among_each_other_take_turns() -> None:
    jobs = [Job(name, pieces=20, piece_s=1.0) for name in "LM"]
    order = names(ran(jobs, brief_s=3.0))
    assert order == "LLL" + "ML" * 17 + "MMM"


@pytest.mark.parametrize("seed", range(20))
def test_the_mean_job_ends_no_later_than_by_turns_and_the_last_at_the_same_time(seed: int) -> None:
    rng = random.Random(seed)
    jobs = [Job(name, pieces=rng.randint(1, 8), piece_s=rng.choice([0.1, 0.4])) for name in "abcdef"]
    by_turns, by_order = ends(ran(jobs, brief_s=0.0)), ends(ran(jobs, brief_s=1e9))
    assert max(by_order.values()) == pytest.approx(max(by_turns.values()))
    alike = [Job(name, pieces=4, piece_s=0.3) for name in "abcdef"]
    assert sum(ends(ran(alike, brief_s=1e9)).values()) < sum(ends(ran(alike, brief_s=0.0)).values())


def test_pieces_without_a_standing_keep_their_place() -> None:
    first, second = Standing(number=1), Standing(number=0)
    waiting = deque([("warm-up", None), ("b", first), ("a", second)])
    for expected in ("warm-up", "a", "b"):
        bring_forward(waiting, standing_of=lambda piece: piece[1], brief_s=1.0)
        assert waiting.popleft()[0] == expected


def test_one_jobs_pieces_keep_their_order_when_they_make_room() -> None:
    elder, younger = Standing(number=0), Standing(number=1)
    waiting = deque([("b1", younger), ("b2", younger), ("a1", elder), ("b3", younger)])
    seen = []
    while waiting:
        bring_forward(waiting, standing_of=lambda piece: piece[1], brief_s=1.0)
        seen.append(waiting.popleft()[0])
    assert seen == ["a1", "b1", "b2", "b3"]


def test_what_is_usual_is_learned_from_the_jobs_that_ended_and_has_a_limit() -> None:
    usual = Usual()
    assert usual.brief_s == 0.0
    usual.learn(0.0)
    assert usual.brief_s == 0.0, "a job that never came to the lane says nothing"
    for needed_s in (1.0, 1.2, 300.0):
        usual.learn(needed_s)
    assert usual.brief_s == pytest.approx(LENIENCE * 1.2)
    for _ in range(REMEMBERED):
        usual.learn(300.0)
    assert usual.brief_s == LONGEST_S
