"""Objects that no job shows: written by attempts that died or were fenced off before they could delete them.

A worker deletes what it wrote when its commit is refused, and the sweeper deletes what expires; this finds what both
missed. It walks through the listing, so it is for a quiet hour, not for every round.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from jobs.blobs import BlobStore
from jobs.errors import JobNotFound
from jobs.model import Job, JobId, ObjectRef, TenantId
from jobs.states import TERMINAL
from jobs.store import JobStore

#: Younger objects may belong to a job that is being written, deleted or accepted this moment.
MIN_AGE_S = 3600.0

_RESULT_KEY = re.compile(r"results/.+/(?P<job>job_[0-9a-f]{32})/(?P<epoch>\d+)-[0-9a-f]+/.+\Z")
_UPLOAD_KEY = re.compile(r"uploads/(?P<tenant>.+?)/(?P<upload>upl_[0-9a-f]{32})(/[^/]+)?\Z")


def orphans(store: JobStore, blobs: BlobStore, *, bucket: str, min_age_s: float = MIN_AGE_S) -> Iterator[ObjectRef]:
    """Objects of our own bucket that nothing points to and nothing ever will. Keys that are not ours are left alone.

    Raises:
        StoreUnavailable: Redis did not answer; without the records nothing can be called an orphan.
        ObjectMissing, ObjectDenied, StorageUnavailable: the bucket cannot be listed.
    """
    known: tuple[str, Job | None] = ("", None)
    for line in blobs.list(bucket, prefix="results/"):
        match = _RESULT_KEY.match(line.ref.key)
        if match is None or line.age_s < min_age_s:
            continue
        if known[0] != match["job"]:  # a listing is sorted: one look per job
            known = (match["job"], _job(store, JobId(match["job"])))
        if not _is_needed(known[1], line.ref, epoch=int(match["epoch"])):
            yield line.ref
    for line in blobs.list(bucket, prefix="uploads/"):
        match = _UPLOAD_KEY.match(line.ref.key)
        if match is not None and line.age_s >= min_age_s and not _is_upload(store, match["upload"], match["tenant"]):
            yield line.ref


def _is_needed(job: Job | None, ref: ObjectRef, *, epoch: int) -> bool:
    if job is None:
        return False
    if job.state in TERMINAL:
        return job.result is not None and any(artifact.ref == ref for artifact in job.result.artifacts)
    # The attempt that runs may commit it. One that is over cannot: its epoch is past, or its lease was taken.
    return job.lease_until is not None and epoch == job.epoch


def _job(store: JobStore, job_id: JobId) -> Job | None:
    try:
        return store.get(job_id)
    except JobNotFound:
        return None


def _is_upload(store: JobStore, upload_id: str, tenant: str) -> bool:
    try:
        store.get_upload(upload_id, tenant=TenantId(tenant))
    except JobNotFound:
        return False
    return True
