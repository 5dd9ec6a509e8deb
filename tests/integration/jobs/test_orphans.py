"""Objects that nothing points to are found; those that somebody needs, or may need, are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from jobs.blobs import BlobStore
from jobs.model import LOCAL_TENANT, Job, ObjectRef
from jobs.object_names import new_upload_id, result_ref, upload_ref
from jobs.orphans import orphans
from jobs.settings import JobsSettings
from jobs.states import JobState
from jobs.store import JobStore, Upload
from tests import samples

MakeJob = Callable[..., Job]


@pytest.fixture
def store(make_store: Callable[..., JobStore], jobs_settings: JobsSettings) -> JobStore:
    return make_store(bucket=jobs_settings.bucket)


@pytest.fixture
def put(jobs_settings: JobsSettings) -> Callable[[ObjectRef], ObjectRef]:
    blobs = BlobStore.connect(jobs_settings)

    def store_bytes(ref: ObjectRef) -> ObjectRef:
        blobs.put(ref, b"x", content_type="image/png")
        return ref

    return store_bytes


def test_only_what_nothing_points_to_is_an_orphan(
    store: JobStore, in_state: MakeJob, jobs_settings: JobsSettings, put: Callable[[ObjectRef], ObjectRef]
) -> None:
    bucket = jobs_settings.bucket
    running = in_state(JobState.PROCESSING)
    needed = {put(result_ref(bucket, running, "image", "png"))}
    shown = put(result_ref(bucket, in_state(JobState.PROCESSING), "image", "png"))
    artifact = replace(samples.result().artifacts[0], ref=shown)
    done_id = shown.key.split("/")[2]
    store.commit(done_id, epoch=1, result=replace(samples.result(), artifacts=(artifact,)))  # type: ignore[arg-type]
    needed.add(shown)
    upload_id = new_upload_id()
    named = put(upload_ref(bucket, LOCAL_TENANT, upload_id, filename="oma.jpg"))
    needed.add(named)
    upload = Upload(id=upload_id, tenant=LOCAL_TENANT, ref=named, content_type="image/png", size=1)
    store.register_upload(upload)
    needed.add(put(ObjectRef(bucket=bucket, key="results/somebody-elses-file.png")))

    lost = {
        put(result_ref(bucket, replace(running, epoch=0), "image", "png")),  # an earlier attempt
        put(result_ref(bucket, replace(store.get(done_id), epoch=1), "image", "png")),  # type: ignore[arg-type]
        put(result_ref(bucket, in_state(JobState.CANCELED), "image", "png")),
        put(result_ref(bucket, replace(in_state(JobState.QUEUED), epoch=1), "image", "png")),
        put(result_ref(bucket, samples.job(epoch=1), "image", "png")),  # no record at all
        put(upload_ref(bucket, LOCAL_TENANT, new_upload_id())),
        put(upload_ref(bucket, LOCAL_TENANT, new_upload_id(), filename="oma.jpg")),
    }
    blobs = BlobStore.connect(jobs_settings)
    listed = {line.ref for line in blobs.list(bucket, prefix="")}
    assert listed == needed | lost
    assert set(orphans(store, blobs, bucket=bucket, min_age_s=-60.0)) == lost
    assert list(orphans(store, blobs, bucket=bucket)) == [], "all of them are young"
