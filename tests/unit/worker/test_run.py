"""``run_job`` against a record and a bucket in memory: what is written, and what is left, when each step fails."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from jobs.errors import (
    Fenced,
    IllegalMove,
    JobNotFound,
    ObjectDenied,
    ObjectError,
    ObjectMissing,
    StorageUnavailable,
    StoreUnavailable,
)
from jobs.kinds import Kind
from jobs.model import LOCAL_TENANT, Failure, Job, JobId, ObjectRef, Progress, Result, new_job_id
from jobs.options import JobOptions
from jobs.states import JobState
from jobs.store import Beat, ClaimRefusal
from pipeline.errors import TruncatedImage
from pipeline.types import Compute, OnProgress, Stage
from tests.unit.worker.clock import FakeClock
from worker.engine import Outcome, Product
from worker.lane import Lane
from worker.run import PERSIST_FOR_S, Ending, Workplace, run_job

JOB = Job(
    id=new_job_id(),
    tenant=LOCAL_TENANT,
    input=ObjectRef(bucket="in", key="a/Onkel Ötti's Bild?.tif"),
    state=JobState.PROCESSING,
    attempt=1,
    epoch=3,
)
PRODUCTS = tuple(
    Product(part=part, data=part.encode(), content_type="image/png", extension="png")
    for part in ("image", "mask", "faces/0")
)


class Record:
    """One job's record: says what ended it; ``trouble`` is raised by the named moves, in turn."""

    def __init__(self) -> None:
        self.claimable: Job | ClaimRefusal = JOB
        self.ended: tuple[str, Any] | None = None
        self.trouble: dict[str, list[Exception]] = {}
        self.beat_says = Beat.OK

    def claim(self, job_id: JobId, *, worker: str, lease_s: float) -> Job | ClaimRefusal:
        self._trouble("claim")
        return self.claimable

    def beat(self, job_id: JobId, *, epoch: int, lease_s: float, progress: Progress | None) -> Beat:
        return self.beat_says

    def commit(self, job_id: JobId, *, epoch: int, result: Result) -> Job:
        return self._end("commit", epoch, result)

    def fail(self, job_id: JobId, *, epoch: int | None, failure: Failure) -> Job:
        return self._end("fail", epoch, failure)

    def claim_suspect(self, *, worker: str, lease_s: float) -> Job | ClaimRefusal:
        return self.claimable

    def release(self, job_id: JobId, *, epoch: int, charge: bool, cause: Any = None) -> Job:
        return self._end("release", epoch, charge)

    def canceled(self, job_id: JobId, *, epoch: int) -> Job:
        return self._end("canceled", epoch, None)

    def _end(self, how: str, epoch: int | None, facts: Any) -> Job:
        self._trouble(how)
        assert epoch == JOB.epoch, "every write shows the claim's epoch"
        assert self.ended is None, "one end"
        self.ended = (how, facts)
        return JOB

    def _trouble(self, what: str) -> None:
        if self.trouble.get(what):
            raise self.trouble[what].pop(0)


class Bucket:
    """Objects in a dictionary; ``get_trouble`` and ``put_trouble`` are raised."""

    def __init__(self) -> None:
        self.objects: dict[ObjectRef, bytes] = {JOB.input: b"a picture"}
        self.get_trouble: Exception | None = None
        self.put_trouble: dict[int, ObjectError] = {}
        self.delete_trouble: ObjectError | None = None
        self.puts = 0

    @property
    def results(self) -> dict[ObjectRef, bytes]:
        return {ref: data for ref, data in self.objects.items() if ref != JOB.input}

    def get(self, ref: ObjectRef, *, max_bytes: int, if_match: str | None = None) -> bytes:
        if self.get_trouble:
            raise self.get_trouble
        return self.objects[ref]

    def put(self, ref: ObjectRef, data: bytes, *, content_type: str, filename: str | None = None) -> object:
        self.puts += 1
        if self.puts in self.put_trouble:
            raise self.put_trouble[self.puts]
        self.objects[ref] = data
        return None

    def delete(self, refs: Sequence[ObjectRef]) -> None:
        if self.delete_trouble:
            raise self.delete_trouble
        for ref in refs:
            self.objects.pop(ref, None)


class Camera:
    """An engine that does what it is told between decode and encode."""

    name = "camera"

    def __init__(self) -> None:
        self.between: Callable[[], object] = lambda: None
        self.refuses: Exception | None = None
        self.kinds: list[Kind] = []

    def warm_up(self, compute: Compute) -> None: ...

    def models(self) -> Sequence[dict[str, Any]]:
        return ()

    def require(self, kind: Kind, options: JobOptions) -> None:
        if self.refuses:
            raise self.refuses

    def run(
        self, kind: Kind, data: bytes, options: JobOptions, *, on_progress: OnProgress, compute: Compute
    ) -> Outcome:
        self.kinds.append(kind)
        on_progress(Stage.DECODE, 0.0)
        compute(self.between, stage=Stage.RESTORE, megapixels=1.0)
        on_progress(Stage.ENCODE, 0.0)
        return Outcome(products=PRODUCTS, width=4, height=3, seconds={"restore": 1.25}, megapixels=0.5)


@dataclasses.dataclass
class Scene:
    """A job and everything around it."""

    record: Record
    bucket: Bucket
    camera: Camera
    clock: FakeClock
    place: Workplace

    def run(self) -> Ending:
        return run_job(JOB.id, place=self.place)


@pytest.fixture
def scene() -> Iterator[Scene]:
    record, bucket, camera, clock = Record(), Bucket(), Camera(), FakeClock()
    lane = Lane(floor_s=60, first_s=60)
    place = Workplace(
        store=record,
        blobs=bucket,
        engine=camera,
        lane=lane,
        worker="w",
        bucket="out",
        lease_s=10.0,
        max_bytes=1000,
        stage_budget_s=60,
        clock=clock,
        sleep=clock.sleep,
    )
    yield Scene(record, bucket, camera, clock, place)
    lane.stop(timeout_s=5)


def test_a_good_job_is_committed_with_everything_it_made(scene: Scene) -> None:
    assert scene.run() is Ending.SUCCEEDED
    assert scene.record.ended is not None
    how, result = scene.record.ended
    assert how == "commit"
    assert {a.ref: a.part.encode() for a in result.artifacts} == scene.bucket.results
    assert [a.filename for a in result.artifacts] == [
        "Onkel Ötti_s Bild_-restored.png",
        "Onkel Ötti_s Bild_-mask.png",
        "Onkel Ötti_s Bild_-faces-0.png",
    ]
    assert result.metrics["restore_s"] == 1.25
    assert scene.place.flights.all() == ()


def test_a_job_that_only_finds_faces_is_run_and_named_as_such(scene: Scene) -> None:
    scene.record.claimable = dataclasses.replace(JOB, kind=Kind.DETECT)
    assert scene.run() is Ending.SUCCEEDED
    assert scene.camera.kinds == [Kind.DETECT]
    assert scene.record.ended is not None
    assert scene.record.ended[1].artifacts[0].filename == "Onkel Ötti_s Bild_-faces.png"


@pytest.mark.parametrize("refusal", list(ClaimRefusal))
def test_a_refused_claim_does_nothing(scene: Scene, refusal: ClaimRefusal) -> None:
    scene.record.claimable = refusal
    told_apart = {ClaimRefusal.SECLUDED: Ending.SECLUDED, ClaimRefusal.NOT_ALONE: Ending.NOT_ALONE}
    assert scene.run() is told_apart.get(refusal, Ending.REFUSED)
    assert (scene.record.ended, scene.bucket.puts) == (None, 0)


def test_an_unanswered_claim_begins_nothing(scene: Scene) -> None:
    scene.record.trouble["claim"] = [StoreUnavailable("gone")]
    with pytest.raises(StoreUnavailable):
        scene.run()
    assert scene.record.ended is None


def test_a_bad_picture_fails_the_job_and_leaves_nothing(scene: Scene) -> None:
    def bad() -> None:
        raise TruncatedImage("ends at byte 9")

    scene.camera.between = bad
    assert scene.run() is Ending.FAILED
    assert scene.record.ended is not None
    assert scene.record.ended[1].code == "image_truncated"
    assert scene.bucket.results == {}


@pytest.mark.parametrize("bug", [ZeroDivisionError("x"), SystemExit(3)])
def test_a_bug_fails_the_job_as_internal(scene: Scene, bug: BaseException) -> None:
    def fall_over() -> None:
        raise bug

    scene.camera.between = fall_over
    assert scene.run() is Ending.FAILED
    assert scene.record.ended is not None
    assert scene.record.ended[1].code == "internal"


def test_storage_out_of_reach_sends_the_job_back_uncharged(scene: Scene) -> None:
    scene.bucket.get_trouble = StorageUnavailable("timeout")
    assert scene.run() is Ending.OUTAGE
    assert scene.record.ended == ("release", False)


def test_a_missing_input_fails_the_job_but_a_missing_result_bucket_does_not(scene: Scene) -> None:
    scene.bucket.put_trouble = {2: ObjectMissing("no bucket out")}
    assert scene.run() is Ending.OUTAGE
    assert scene.record.ended == ("release", False)
    assert scene.bucket.results == {}, "what was written before is gone again"

    scene.record.ended = None
    scene.bucket.get_trouble = ObjectDenied("no")
    assert scene.run() is Ending.FAILED
    assert scene.record.ended is not None
    assert scene.record.ended[1].code == "input_denied"  # type: ignore[index]


@pytest.mark.parametrize("refusal", [Fenced("epoch 4"), IllegalMove("canceled"), JobNotFound("deleted")])
def test_a_refused_commit_deletes_what_was_written(scene: Scene, refusal: Exception) -> None:
    scene.record.trouble["commit"] = [refusal]
    assert scene.run() is Ending.LOST
    assert scene.bucket.puts == len(PRODUCTS)
    assert scene.bucket.results == {}


def test_a_commit_is_repeated_until_redis_answers(scene: Scene) -> None:
    scene.record.trouble["commit"] = [StoreUnavailable("restarting")] * 5
    assert scene.run() is Ending.SUCCEEDED
    assert len(scene.bucket.results) == len(PRODUCTS)


def test_a_commit_that_is_never_confirmed_keeps_the_results_because_it_may_have_happened(scene: Scene) -> None:
    scene.record.trouble["commit"] = [StoreUnavailable("gone")] * 1000
    began = scene.clock.now
    assert scene.run() is Ending.LOST
    assert scene.clock.now - began <= PERSIST_FOR_S + 1
    assert len(scene.bucket.results) == len(PRODUCTS)


@pytest.mark.parametrize(
    ("says", "ending", "move"),
    [
        (Beat.CANCEL, Ending.CANCELED, "canceled"),
        (Beat.DEADLINE, Ending.FAILED, "fail"),
        (Beat.FENCED, Ending.LOST, None),
    ],
)
def test_what_a_beat_says_ends_the_job_in_its_own_way(
    scene: Scene, says: Beat, ending: Ending, move: str | None
) -> None:
    def hear() -> None:
        scene.record.beat_says = says
        scene.place.flights.all()[0].lease.beat()

    scene.camera.between = hear
    assert scene.run() is ending
    assert (scene.record.ended[0] if scene.record.ended else None) == move
    assert scene.bucket.puts == 0


def test_a_lease_that_ran_out_stops_the_work_and_writes_nothing(scene: Scene) -> None:
    scene.camera.between = lambda: scene.clock.sleep(9.0)
    assert scene.run() is Ending.OUTAGE
    assert (scene.record.ended, scene.bucket.puts) == (None, 0)


def test_results_that_cannot_be_deleted_do_not_break_the_job(scene: Scene) -> None:
    scene.record.trouble["commit"] = [Fenced("epoch 4")]
    scene.bucket.delete_trouble = StorageUnavailable("timeout")
    assert scene.run() is Ending.LOST


def test_a_commit_whose_answer_cannot_be_read_keeps_the_results_when_it_was_taken(scene: Scene) -> None:
    """The commit may have been taken before the bug struck: then the record points at the results."""
    scene.record.trouble["commit"] = [ZeroDivisionError("a bug in reading the answer")]
    scene.record.trouble["fail"] = [IllegalMove("fail: it is succeeded")]
    assert scene.run() is Ending.LOST
    assert len(scene.bucket.results) == len(PRODUCTS)


def test_a_commit_that_a_bug_prevents_fails_the_job_and_leaves_nothing(scene: Scene) -> None:
    scene.record.trouble["commit"] = [ZeroDivisionError("a bug before it was sent")]
    assert scene.run() is Ending.FAILED
    assert scene.record.ended is not None
    assert scene.record.ended[1].code == "internal"
    assert scene.bucket.results == {}
