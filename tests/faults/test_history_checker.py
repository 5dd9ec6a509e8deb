"""The checker itself: it passes a good history, and finds every violation that a forged one holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.model import Artifact, Death, Failure, Job, ObjectRef, Result
from jobs.states import JobState
from tests import samples
from tests.faults.checker import Broken, Scene, drained_only, violations
from tests.faults.history import Entry, Event, History

GOOD, POISON, QUIET = (f"job_{digit * 32}" for digit in "abc")
MENDED = "11" * 32


def entry(event: Event, job: str | None, pid: int = 1, **facts: Any) -> Entry:
    return Entry(event=event, job=job, pid=pid, facts=facts)


def record(job_id: str, state: JobState, *, epoch: int = 1, attempt: int = 1, **more: Any) -> Job:
    return samples.job(id=job_id, state=state, epoch=epoch, attempt=attempt, **more)


def result(job_id: str, epoch: int = 1, sha256: str = MENDED) -> Result:
    ref = ObjectRef(bucket="b", key=f"results/t/{job_id}/{epoch}-0f/image.png")
    image = Artifact(part="image", ref=ref, content_type="image/png", size=3, sha256=sha256, filename="a.png")
    return Result(artifacts=(image,), width=1, height=1)


def good_scene() -> Scene:
    """A job that was interrupted once and succeeded, a poisoned one, and a canceled one that wished for no callback."""
    failure = Failure(code="poisoned", title="It kills.", detail="Three times.")
    image = result(GOOD, epoch=2)
    return Scene(
        history=[
            entry(Event.ACCEPTED, GOOD, result=MENDED, callback=True, poison=False),
            entry(Event.ACCEPTED, POISON, result=MENDED, callback=True, poison=True),
            entry(Event.ACCEPTED, QUIET, result=MENDED, callback=False, poison=False),
            entry(Event.CLAIMED, GOOD, pid=7, epoch=1, attempt=1),
            entry(Event.BEGAN, GOOD, pid=7),
            entry(Event.STRUCK, None, kind="kill-process", pids=[7]),
            entry(Event.CLAIMED, GOOD, pid=8, epoch=2, attempt=2),
            entry(Event.BEGAN, GOOD, pid=8),
            entry(Event.MOVED, GOOD, pid=8, move="commit", epoch=2),
            entry(Event.REFUSED, GOOD, pid=7, move="commit", epoch=1),
            entry(Event.SEEN, GOOD, state="succeeded", keys=[a.ref.key for a in image.artifacts]),
            entry(Event.TOLD, GOOD, id="msg_1", type="job.completed", status=500),
            entry(Event.TOLD, GOOD, id="msg_1", type="job.completed", status=200),
            entry(Event.CLAIMED, POISON, epoch=1, attempt=1),
            entry(Event.BEGAN, POISON),
            entry(Event.MOVED, POISON, move="fail", epoch=1),
            entry(Event.TOLD, POISON, id="msg_2", type="job.failed", status=200),
            entry(Event.CANCEL_ASKED, QUIET),
            entry(Event.CLAIMED, QUIET, pid=9, epoch=1, attempt=1),
            entry(Event.STRUCK, None, kind="drain", pids=[9]),
            entry(Event.MOVED, QUIET, pid=9, move="release", epoch=1, charge=False),
        ],
        records={
            GOOD: record(GOOD, JobState.SUCCEEDED, epoch=2, attempt=2, result=image),
            POISON: record(POISON, JobState.FAILED, failure=failure),
            QUIET: record(QUIET, JobState.CANCELED, attempt=0),
        },
        objects={image.artifacts[0].ref.key: MENDED},
    )


def with_entry(*more: Entry) -> Callable[[Scene], Scene]:
    return lambda scene: dataclasses.replace(scene, history=[*scene.history, *more])


def without_entries(event: Event, job: str | None) -> Callable[[Scene], Scene]:
    return lambda scene: dataclasses.replace(
        scene, history=[e for e in scene.history if (e.event, e.job) != (event, job)]
    )


def with_record(job_id: str, **changes: Any) -> Callable[[Scene], Scene]:
    def forge(scene: Scene) -> Scene:
        forged = dataclasses.replace(scene.records[job_id], **changes)
        return dataclasses.replace(scene, records={**scene.records, job_id: forged})

    return forge


def both(*forgeries: Callable[[Scene], Scene]) -> Callable[[Scene], Scene]:
    def forge(scene: Scene) -> Scene:
        for each in forgeries:
            scene = each(scene)
        return scene

    return forge


def test_a_good_history_breaks_no_promise() -> None:
    assert violations(good_scene()) == []


FORGERIES: dict[str, tuple[Broken, str, Callable[[Scene], Scene]]] = {
    "the record is gone": (
        Broken.LOST,
        GOOD,
        lambda scene: dataclasses.replace(scene, records={k: v for k, v in scene.records.items() if k != GOOD}),
    ),
    "the job never ended": (Broken.LOST, GOOD, with_record(GOOD, state=JobState.PROCESSING)),
    "a job still waits": (Broken.LOST, QUIET, with_record(QUIET, state=JobState.QUEUED)),
    "it was committed and failed": (
        Broken.ENDED_TWICE,
        GOOD,
        with_entry(entry(Event.MOVED, GOOD, pid=8, move="fail", epoch=2)),
    ),
    "a failure was acknowledged and the record succeeded": (
        Broken.ENDED_TWICE,
        POISON,
        both(
            with_record(POISON, state=JobState.SUCCEEDED, result=result(POISON)),
            without_entries(Event.TOLD, POISON),
        ),
    ),
    "two epochs were committed": (
        Broken.VISIBLE_TWICE,
        GOOD,
        with_entry(entry(Event.MOVED, GOOD, pid=7, move="commit", epoch=1)),
    ),
    "a reader saw another result before": (
        Broken.VISIBLE_TWICE,
        GOOD,
        with_entry(entry(Event.SEEN, GOOD, state="succeeded", keys=["results/t/x/1-00/image.png"])),
    ),
    "a reader saw another end before": (
        Broken.ENDED_TWICE,
        QUIET,
        with_entry(entry(Event.SEEN, QUIET, state="failed", keys=[])),
    ),
    "the object is missing": (Broken.WRONG_RESULT, GOOD, lambda scene: dataclasses.replace(scene, objects={})),
    "the object was altered": (
        Broken.WRONG_RESULT,
        GOOD,
        lambda scene: dataclasses.replace(scene, objects=dict.fromkeys(scene.objects, "22" * 32)),
    ),
    "the picture is another job's": (
        Broken.WRONG_RESULT,
        GOOD,
        both(
            with_record(GOOD, result=result(GOOD, epoch=2, sha256="22" * 32)),
            lambda scene: dataclasses.replace(scene, objects=dict.fromkeys(scene.objects, "22" * 32)),
        ),
    ),
    "a success without a picture": (
        Broken.WRONG_RESULT,
        GOOD,
        both(with_record(GOOD, result=None), without_entries(Event.SEEN, GOOD)),
    ),
    "no event came": (Broken.WRONG_EVENTS, GOOD, without_entries(Event.TOLD, GOOD)),
    "two events came": (
        Broken.WRONG_EVENTS,
        GOOD,
        with_entry(entry(Event.TOLD, GOOD, id="msg_9", type="job.completed", status=200)),
    ),
    "an event came that nobody had wished for": (
        Broken.WRONG_EVENTS,
        QUIET,
        with_entry(entry(Event.TOLD, QUIET, id="msg_9", type="job.canceled", status=200)),
    ),
    "the event does not fit": (
        Broken.WRONG_EVENTS,
        POISON,
        both(
            without_entries(Event.TOLD, POISON),
            with_entry(entry(Event.TOLD, POISON, id="msg_2", type="job.completed", status=200)),
        ),
    ),
    "the event was never taken": (
        Broken.WRONG_EVENTS,
        POISON,
        both(
            without_entries(Event.TOLD, POISON),
            with_entry(entry(Event.TOLD, POISON, id="msg_2", type="job.failed", status=503)),
        ),
    ),
    "an older epoch ended the job": (Broken.ZOMBIE, GOOD, with_entry(entry(Event.CLAIMED, GOOD, epoch=3, attempt=3))),
    "the visible result is an older epoch's": (
        Broken.ZOMBIE,
        GOOD,
        lambda scene: dataclasses.replace(
            with_record(GOOD, result=result(GOOD, epoch=1))(without_entries(Event.SEEN, GOOD)(scene)),
            objects={result(GOOD, epoch=1).artifacts[0].ref.key: MENDED},
        ),
    ),
    "one epoch had two owners": (
        Broken.TWO_OWNERS,
        GOOD,
        with_entry(entry(Event.CLAIMED, GOOD, pid=9, epoch=2, attempt=2)),
    ),
    "the poison ran too often": (Broken.POISON_RUNS, POISON, with_entry(*[entry(Event.BEGAN, POISON)] * 4)),
    "the poison was mended": (
        Broken.POISON_SPARED,
        POISON,
        with_record(POISON, state=JobState.SUCCEEDED, result=result(POISON)),
    ),
    "a good job failed": (
        Broken.INNOCENT_BLAMED,
        GOOD,
        with_record(
            GOOD,
            state=JobState.FAILED,
            result=None,
            failure=Failure(code="internal", title="", detail=""),
        ),
    ),
    "a job was canceled unasked": (Broken.INNOCENT_BLAMED, QUIET, without_entries(Event.CANCEL_ASKED, QUIET)),
    "a drain was charged": (
        Broken.CHARGED,
        QUIET,
        both(
            without_entries(Event.MOVED, QUIET),
            with_entry(entry(Event.CLAIMED, QUIET, pid=10, epoch=2, attempt=2)),
            with_record(QUIET, attempt=2, epoch=2),
            with_entry(entry(Event.MOVED, QUIET, pid=10, move="canceled", epoch=2)),
        ),
    ),
    "a record that nobody submitted": (
        Broken.UNSUBMITTED,
        f"job_{'d' * 32}",
        lambda scene: dataclasses.replace(
            scene, records={**scene.records, f"job_{'d' * 32}": record(f"job_{'d' * 32}", JobState.SUCCEEDED)}
        ),
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_the_checker_finds(name: str) -> None:
    promise, job, forge = FORGERIES[name]
    found = violations(forge(good_scene()))
    assert (promise, job) in {(v.promise, v.job) for v in found}, found


def test_every_promise_has_a_forgery_that_breaks_it() -> None:
    assert {promise for promise, _, _ in FORGERIES.values()} == set(Broken)


def test_a_line_that_is_missing_accuses_nobody() -> None:
    """Whoever is killed between its deed and the note about it leaves none."""
    scene = good_scene()
    for event in (Event.MOVED, Event.CLAIMED, Event.BEGAN, Event.REFUSED, Event.SEEN):
        lines = [e for e in scene.history if e.event is not event]
        assert violations(dataclasses.replace(scene, history=lines)) == []


def test_a_good_job_may_fail_where_the_scene_says_so() -> None:
    failure = Failure(code="internal", title="", detail="")
    forged = both(
        with_record(GOOD, state=JobState.FAILED, result=None, failure=failure),
        without_entries(Event.MOVED, GOOD),
        without_entries(Event.SEEN, GOOD),
        without_entries(Event.TOLD, GOOD),
        with_entry(entry(Event.TOLD, GOOD, id="msg_1", type="job.failed", status=200)),
    )(good_scene())
    assert [v.promise for v in violations(forged)] == [Broken.INNOCENT_BLAMED]
    assert violations(dataclasses.replace(forged, forgiven=frozenset({"internal"}))) == []


@pytest.mark.parametrize("aim", [Event.STRUCK, Event.MISSED])
def test_a_process_that_met_another_fault_is_not_counted_as_drained(aim: Event) -> None:
    assert drained_only(good_scene().history) == {9}
    hurt = with_entry(entry(aim, None, kind="zombie", pids=[9]))(good_scene())
    assert drained_only(hurt.history) == frozenset()


def test_a_run_that_was_cut_off_from_redis_and_told_of_its_hang_too_late_is_not_counted() -> None:
    runs = [entry(Event.BEGAN, POISON, pid=pid) for pid in (21, 22, 23, 24)]
    late = entry(Event.REFUSED, POISON, pid=21, move="release", epoch=1)
    cut_off, elsewhere = (entry(Event.STRUCK, None, kind="partition", pids=[pid]) for pid in (21, 29))
    assert violations(with_entry(*runs, late, cut_off)(good_scene())) == []
    for missing in ([late, elsewhere], [cut_off]):
        (found,) = violations(with_entry(*runs, *missing)(good_scene()))
        assert (found.promise, found.job) == (Broken.POISON_RUNS, POISON)


def test_a_drained_process_that_a_picture_killed_may_charge_its_jobs() -> None:
    _, job, spoil = FORGERIES["a drain was charged"]
    scene = spoil(good_scene())
    assert [found.promise for found in violations(scene)] == [Broken.CHARGED]
    death = Death(cause="SIGABRT", at=1.0, attempt=1, worker="a:9:5b16afb9", is_alone=False)
    assert violations(with_record(job, deaths=(death,))(scene)) == []


def test_lines_of_several_writers_stay_whole(tmp_path: Path) -> None:
    one, two = History(tmp_path / "history"), History(tmp_path / "history")
    one.note(Event.CLAIMED, GOOD, epoch=1)
    two.note(Event.MOVED, GOOD, move="commit", epoch=1)
    with (tmp_path / "history").open("ab") as broken:
        broken.write(b'{"event": "mo')
    assert [(e.event, e.facts) for e in one.entries()] == [
        (Event.CLAIMED, {"epoch": 1}),
        (Event.MOVED, {"move": "commit", "epoch": 1}),
    ]


def test_a_run_of_a_killing_picture_that_another_fault_ended_is_not_counted_and_one_elsewhere_is() -> None:
    runs = [entry(Event.BEGAN, POISON, pid=pid) for pid in (21, 22, 23, 24)]
    killed = entry(Event.STRUCK, None, kind="kill-process", pids=[21], jobs=[POISON])
    by_itself = entry(Event.STRUCK, None, kind="poison-abort", pids=[21], jobs=[POISON])
    another = entry(Event.STRUCK, None, kind="kill-process", pids=[21], jobs=[GOOD])
    assert violations(with_entry(*runs, killed)(good_scene())) == []
    for struck in (by_itself, another):
        (found,) = violations(with_entry(*runs, struck)(good_scene()))
        assert (found.promise, found.job) == (Broken.POISON_RUNS, POISON)
