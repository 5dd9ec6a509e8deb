"""Jobs through the real keeper and a real Celery worker process; only the networks are replaced."""

from __future__ import annotations

import hashlib
import json

import pytest
from pydantic import SecretStr

from jobs.kinds import Kind, options_for
from jobs.model import LOCAL_TENANT, Job, JobId, ObjectRef, Priority, new_job_id
from jobs.options import JobOptions
from jobs.queue import QUEUES
from jobs.states import JobState
from jobs.store import JobStore
from tests.fleet import Fleet, png, wait_for

pytestmark = pytest.mark.slow


def test_a_job_goes_from_the_bucket_through_a_worker_back_into_the_bucket(working_fleet: Fleet) -> None:
    fleet = working_fleet
    job_id = fleet.submit(fleet.upload(), options=JobOptions(outputs=("image", "comparison", "provenance"), seed=1500))
    percents = []

    def watch() -> bool:
        job = fleet.store.get(job_id)
        if job.progress:
            percents.append(job.progress.percent)
        return job.state is JobState.SUCCEEDED

    wait_for(watch, what="the job succeeds")

    job = fleet.store.get(job_id)
    assert job.attempt == 1
    assert job.result is not None
    assert [a.part for a in job.result.artifacts] == ["image", "comparison", "provenance"]
    assert (job.result.width, job.result.height) == (48, 32)
    for artifact in job.result.artifacts:
        data = fleet.blobs.get(artifact.ref, max_bytes=10_000_000)
        assert len(data) == artifact.size
        assert hashlib.sha256(data).hexdigest() == artifact.sha256
    assert job.result.artifacts[0].filename == "photo-restored.png"
    timed = {
        "fetch_s",
        "decode_s",
        "restore_s",
        "encode_s",
        "store_s",
        "queue_s",
        "megapixels",
        "gpu_s",
        "gpu_upsample_s",
    }
    assert timed <= set(job.result.metrics)
    assert len(set(percents)) >= 3, "progress was seen while the job ran"
    assert percents == sorted(percents)
    assert len(fleet.history("ended", job_id)) == 1


def test_a_job_from_somebody_who_can_write_to_redis_and_has_not_the_secret_is_not_done(working_fleet: Fleet) -> None:
    fleet = working_fleet
    stranger = fleet.settings.model_copy(update={"signing_secret": SecretStr("not the one of this installation")})
    mine = fleet.upload()
    wish = Job(id=new_job_id(), tenant=LOCAL_TENANT, input=mine)
    JobStore.connect(stranger).submit(wish)
    failed = fleet.ended(wish.id)
    assert failed.failure is not None
    assert failed.failure.code == "spec_forged"
    assert fleet.history("began", wish.id) == []
    assert fleet.ended(fleet.submit(mine)).state is JobState.SUCCEEDED, "the same picture, asked for by its owner"


def test_a_job_that_only_finds_faces_tells_their_ids_and_restores_nothing(working_fleet: Fleet) -> None:
    fleet = working_fleet
    options = options_for(Kind.DETECT, {"outputs": ["image", "provenance"]})
    job = fleet.ended(fleet.submit(fleet.upload(), kind=Kind.DETECT, options=options))
    assert job.state is JobState.SUCCEEDED
    assert job.result is not None
    assert [(a.part, a.filename) for a in job.result.artifacts] == [
        ("image", "photo-faces.jpg"),
        ("provenance", "photo-provenance.json"),
    ]
    record = json.loads(fleet.blobs.get(job.result.artifacts[1].ref, max_bytes=10_000))
    assert record["kind"] == "detect"
    [face] = job.result.faces
    assert (face["id"], face["status"]) == (record["faces"][0]["id"], "found")
    assert job.result.model["name"] == "left-half"

    wrong = options_for(Kind.DETECT, {"faces": ["mzzzz"]})
    failure = fleet.ended(fleet.submit(fleet.upload(), kind=Kind.DETECT, options=wrong)).failure
    assert failure is not None
    assert failure.code == "face_not_found"
    assert face["id"] in failure.detail, "it says which faces there are"


def test_what_is_wrong_with_a_job_is_told_by_a_code_and_a_sentence(working_fleet: Fleet) -> None:
    fleet = working_fleet
    photo = fleet.upload()
    nowhere = ObjectRef(bucket="no-such-bucket-anywhere", key="x.png")
    jobs: dict[str, tuple[JobId, str]] = {
        "missing key": (fleet.submit(ObjectRef(bucket=photo.bucket, key="nothing/here.png")), "input_not_found"),
        "no such bucket": (fleet.submit(nowhere), "input_not_found"),
        "not an image": (fleet.submit(fleet.upload(b"no picture at all", "in/text")), "image_unreadable"),
        "empty": (fleet.submit(fleet.upload(b"", "in/empty")), "image_unreadable"),
        "truncated": (fleet.submit(fleet.upload(png(200, 200)[:-60], "in/half")), "image_truncated"),
        "another length": (fleet.submit(photo, input_bytes=7), "input_changed"),
        "another version": (fleet.submit(photo, input_etag="0" * 32), "input_changed"),
        "other bytes": (fleet.submit(photo, input_sha256="0" * 64), "input_changed"),
        "no weights": (fleet.submit(photo, options=JobOptions(model="gfpgan-1.2")), "weights_missing"),
    }
    for what, (job_id, code) in jobs.items():
        job = fleet.ended(job_id)
        assert job.state is JobState.FAILED, what
        assert job.failure is not None
        assert job.failure.code == code, what
        assert job.failure.title.endswith(".")
        assert "/secret" not in job.failure.detail
        assert job.attempt == 1
    hint = fleet.ended(jobs["no weights"][0]).failure
    assert hint is not None
    assert "`photomend models fetch gfpgan-1.2`" in hint.detail
    # The worker is none the worse for it.
    assert fleet.ended(fleet.submit(photo)).state is JobState.SUCCEEDED


def test_a_file_over_the_limits_is_refused_before_it_is_read(working_fleet: Fleet) -> None:
    fleet = working_fleet
    too_many_bytes = fleet.submit(fleet.upload(b"x" * 100_001, "in/heavy"))
    too_many_pixels = fleet.submit(fleet.upload(png(400, 260), "in/wide"))
    for job_id, code in ((too_many_bytes, "input_too_many_bytes"), (too_many_pixels, "image_too_large")):
        failure = fleet.ended(job_id).failure
        assert failure is not None
        assert failure.code == code


def test_a_running_job_is_canceled_at_its_next_step_and_the_worker_goes_on(working_fleet: Fleet) -> None:
    fleet = working_fleet
    job_id = fleet.submit(fleet.upload(), work_s=15)
    fleet.running(job_id)
    assert fleet.store.cancel(job_id).state is JobState.PROCESSING

    assert fleet.ended(job_id, within_s=6).state is JobState.CANCELED
    assert fleet.history("ended", job_id) == []
    assert fleet.ended(fleet.submit(fleet.upload())).state is JobState.SUCCEEDED


def test_a_job_past_its_deadline_is_stopped_and_failed(working_fleet: Fleet) -> None:
    fleet = working_fleet
    job_id = fleet.submit(fleet.upload(), work_s=20, deadline_s=2.0)
    fleet.running(job_id)

    job = fleet.ended(job_id, within_s=8)
    assert job.failure is not None
    assert job.failure.code == "deadline_exceeded"
    assert fleet.history("ended", job_id) == []


def test_two_messages_for_one_job_make_one_run(fleet: Fleet) -> None:
    fleet.worker(threads=3)
    job_id = fleet.submit(fleet.upload(), work_s=0.5)
    for _ in range(5):
        fleet.sender.send(job_id, QUEUES[Priority.INTERACTIVE])

    assert fleet.ended(job_id).state is JobState.SUCCEEDED
    wait_for(lambda: fleet.log("w").count("nothing to claim") == 4, what="four messages found nothing to claim")
    assert len(fleet.history("began", job_id)) == 1


def test_a_lost_message_is_sent_again(fleet: Fleet) -> None:
    job_id = fleet.submit(fleet.upload())
    assert fleet.store.take(credits=1, priority=Priority.INTERACTIVE) == (job_id,)
    assert fleet.sender.depth(QUEUES[Priority.INTERACTIVE]) == 0, "the fault: marked as sent, and there is no message"

    fleet.keeper()
    fleet.worker()
    assert fleet.ended(job_id).state is JobState.SUCCEEDED
    assert "sent again" in fleet.log("keeper")


def test_interactive_jobs_pass_a_batch_that_waits_and_batch_jobs_run_too(fleet: Fleet) -> None:
    photo = fleet.upload()
    batch = [fleet.submit(photo, work_s=0.3, priority=Priority.BATCH) for _ in range(6)]
    fleet.keeper()
    fleet.worker(threads=2)
    wait_for(lambda: fleet.history("ended"), what="a batch job ran")
    urgent = fleet.submit(photo, work_s=0.1)

    assert fleet.ended(urgent).state is JobState.SUCCEEDED
    assert sum(fleet.store.get(job_id).state is JobState.QUEUED for job_id in batch) >= 2
    assert all(fleet.ended(job_id).state is JobState.SUCCEEDED for job_id in batch)
