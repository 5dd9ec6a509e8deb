"""What a store holds of every kind, frozen as each form of record was when it was new.

``python -m tests.contracts.previous REDIS_URL`` writes the file of today's form, by way of an empty server of your own,
with the secret of ``tests/conftest.py``. Once released, a file stays as it is: that version runs beside newer ones.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import redis

from jobs.backlog import Slots
from jobs.batches.manifest import Prefix
from jobs.batches.model import BatchSpec, new_batch_id
from jobs.codec import VERSION
from jobs.model import Callback, CallbackEvent, Job, JobId, ObjectRef, Priority, Progress, Tenant, TenantId
from jobs.object_names import upload_ref
from jobs.options import JobOptions
from jobs.queue import QUEUES, Sender, make_celery
from jobs.settings import JobsSettings
from jobs.store import JobStore, Upload
from jobs.view import public_view
from photomend import __version__
from tests import samples

FOLDER = Path(__file__).parent / "records"
#: Long enough for whoever reads it years later to find the worker alive at first.
LEASE_S = 30.0
ACME = TenantId("acme")
OLD_WORKER = "old:17:0badcafe"
#: Names of the jobs: a state, or what is special about one.
JOBS = {"queued", "rich", "sent", "processing", "succeeded", "failed", "canceled", "suspect"}
#: Every option with another value than its default, which is all that a record keeps.
OPTIONS: dict[str, Any] = {
    "model": "gfpgan-1.3", "scale": 3.0, "background": "realesr-general-x4v3", "denoise": 0.25, "tile_px": 512,
    "strength": 0.5, "faces": ["g5k2p", [1.0, 2.0, 3.5, 4.0]], "min_face_px": 9, "max_face_px": 99, "max_faces": 3,
    "min_score": 0.75, "rotate": True, "passes": 2, "page": 2, "gray": "allow-color", "format": "tiff", "quality": 80,
    "bit_depth": "16", "suffix": "_x", "outputs": ["image", "mask", "provenance"], "metadata_policy": "strip",
    "precision": "exact",
}  # fmt: skip


def fill(settings: JobsSettings) -> dict[str, str]:
    """Bring a store to hold a job in each state and all else that lasts; the names by which a test finds them."""
    store = JobStore.connect(settings)
    try:
        return _jobs(store, settings) | _others(store)
    finally:
        store.close()


def _jobs(store: JobStore, settings: JobsSettings) -> dict[str, str]:
    names: dict[str, str] = {}

    def submit(name: str, **changes: Any) -> JobId:
        job_id = store.submit(samples.job(**changes)).job.id
        names[name] = job_id
        return job_id

    def claimed(job_id: JobId) -> Job:
        job = store.claim(job_id, worker=OLD_WORKER, lease_s=LEASE_S)
        assert isinstance(job, Job)
        return job

    submit("queued")
    submit(
        "rich",
        tenant=ACME,
        options=JobOptions.from_mapping(OPTIONS),
        priority=Priority.BATCH,
        callback=Callback(url="https://hooks.example.com/x", events=tuple(CallbackEvent)),
        metadata={"order": "4711", "who": "Zoë"},
        deadline_s=1e9,
        input_bytes=123,
        input_etag="0123456789abcdef0123456789abcdef",
        input_sha256="ab" * 32,
        input_type="image/tiff",
        request_id="req-1",
    )
    sent = submit("sent")
    store.take(credits=2, priority=Priority.INTERACTIVE)
    Sender(make_celery(settings)).send(sent, QUEUES[Priority.INTERACTIVE])
    job = claimed(submit("processing"))
    store.beat(job.id, epoch=job.epoch, lease_s=LEASE_S, progress=Progress(stage="restore", percent=40))
    job = claimed(submit("succeeded", callback=samples.CALLBACK))
    store.commit(job.id, epoch=job.epoch, result=samples.result())
    job = claimed(submit("failed"))
    store.fail(job.id, epoch=job.epoch, failure=samples.FAILURE)
    store.cancel(submit("canceled"))
    job = claimed(submit("suspect"))
    store.release(job.id, epoch=job.epoch, charge=True, cause="SIGSEGV")
    return names


def _others(store: JobStore) -> dict[str, str]:
    store.set_tenant(Tenant(id=ACME, weight=2.0, inputs=("acme-photos",)))
    key, _ = store.keys.create(ACME, label="shop")
    upload = Upload(
        id="upl_" + "0" * 32,
        tenant=ACME,
        ref=upload_ref("photomend", ACME, "upl_" + "0" * 32),
        content_type="image/png",
        size=9,
    )
    store.register_upload(upload)
    store.publish_slots(
        Slots(worker=OLD_WORKER, queues=tuple(QUEUES.values()), free=1, total=2, engine="torch on cpu", heartbeat_s=1e8)
    )
    spec = BatchSpec(source=Prefix(bucket="scans", prefix="1969/"), output=ObjectRef(bucket="mended", key="1969/"))
    batch, _ = store.batches.create(new_batch_id(), ACME, spec)
    return {"key": key, "upload": upload.id, "batch": batch.id}


def dump(client: redis.Redis) -> dict[str, dict[str, Any]]:
    """Every key of a server with its type and value."""
    read = {
        "hash": client.hgetall,
        "string": client.get,
        "set": lambda key: sorted(client.smembers(key)),
        "list": lambda key: client.lrange(key, 0, -1),
        "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
    }
    kinds = {key: str(client.type(key)) for key in sorted(client.scan_iter("*"))}
    return {key: {"type": kind, "value": read[kind](key)} for key, kind in kinds.items()}


def load(client: redis.Redis, keys: dict[str, dict[str, Any]]) -> None:
    """Write them into an empty server."""
    write = {
        "hash": lambda key, value: client.hset(key, mapping=value),
        "string": client.set,
        "set": lambda key, value: client.sadd(key, *value),
        "list": lambda key, value: client.rpush(key, *value),
        "zset": lambda key, value: client.zadd(key, dict(value)),
    }
    for key, words in keys.items():
        write[words["type"]](key, words["value"])


def views(store: JobStore, names: dict[str, str]) -> dict[str, dict[str, Any]]:
    """What callers are told of each job, by its name here."""
    found = {name: store.get(JobId(job_id)) for name, job_id in names.items() if name in JOBS}
    return {name: json.loads(json.dumps(public_view(job))) for name, job in found.items()}


def main(url: str) -> None:
    """Write today's file."""
    settings = JobsSettings(redis_url=url)
    with redis.Redis.from_url(url, decode_responses=True) as client:
        if client.dbsize():
            raise SystemExit("that server is not empty")
        names = fill(settings)
        store = JobStore.connect(settings)
        frozen = {"version": __version__, "form": VERSION, "names": names, "views": views(store, names)}
        store.close()
        file = FOLDER / f"form-{VERSION}.json"
        file.write_text(json.dumps(frozen | {"keys": dump(client)}, indent=1, ensure_ascii=False) + "\n")
    sys.stdout.write(f"{file} is written\n")


if __name__ == "__main__":
    main(sys.argv[1])
