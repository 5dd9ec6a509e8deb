"""A batch's surroundings in one process: a real Redis, a storage in memory or a real one, and a worker's hands."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

from lxml import etree

from jobs.backlog import Slots
from jobs.batches import sheet
from jobs.batches.manifest import Manifest, ManifestFormat
from jobs.batches.model import Batch, BatchId, BatchSpec, BatchState, new_batch_id
from jobs.batches.store import report_ref
from jobs.model import LOCAL_TENANT, Artifact, Failure, Job, JobId, ObjectRef, Priority, Result, Tenant
from jobs.object_names import result_ref
from jobs.store import JobStore
from jobs.traces import UNTRACED, Traces
from worker.batch_items import Place
from worker.batches import BatchRunner

MODELS = (
    {"name": "preview", "sha256": "1" * 64, "kind": "restorer"},
    {"name": "preview-detector", "sha256": "2" * 64, "kind": "detector"},
)
OUT = ObjectRef(bucket="mended", key="delivery/")
FACE: dict[str, Any] = {"id": "g5k2p", "status": "restored", "reason": None, "review": []}
ODD = FACE | {"review": [{"code": "identity", "reason": "its similarity to the original is 0.31, below 0.5"}]}
LEASE_S = 30.0
#: Small copies for the report's contact sheet, as far as it looks at them.
SMALL = {"before": b"\xff\xd8before", "after": b"\xff\xd8after"}


class World:
    """One tenant with scans in a bucket, and everybody who works on them."""

    def __init__(self, store: JobStore, blobs: Any, *, bucket: str = "photomend", scans: str = "scans") -> None:
        self.store, self.blobs, self.bucket, self.scans = store, blobs, bucket, scans
        self.out = ObjectRef(bucket=OUT.bucket if scans == "scans" else f"{scans}-mended", key=OUT.key)
        for name in {bucket, scans, self.out.bucket}:
            blobs.ensure_bucket(name)
        self.runs: list[str] = []  #: sources, as often as they were worked on
        self.model: dict[str, Any] = {"name": "preview", "sha256": "1" * 64, "engine": "torch-cpu"}
        self.say_slots()

    def say_slots(self, models: Sequence[dict[str, Any]] = MODELS) -> None:
        self.store.publish_slots(
            Slots(worker="w", queues=(), free=1, total=1, models=tuple(models), engine="torch on cpu", heartbeat_s=900)
        )

    def scan(self, key: str, data: bytes | None = None) -> str:
        """A master; its ETag."""
        ref = ObjectRef(bucket=self.scans, key=key)
        return str(self.blobs.put(ref, data or key.encode(), content_type="image/tiff").etag)

    def manifest(self, lines: Sequence[str], form: ManifestFormat = ManifestFormat.CSV) -> Manifest:
        ref = ObjectRef(bucket=self.scans, key=f"lists/list.{form}")
        stored = self.blobs.put(ref, "".join(f"{line}\n" for line in lines).encode(), content_type="text/csv")
        return Manifest(ref=ref, etag=stored.etag, format=form)

    def runner(
        self,
        *,
        name: str = "keeper",
        window: int = 50,
        blobs: Any = None,
        lease_s: float = LEASE_S,
        max_pixels: int = 10**9,
        traces: Traces = UNTRACED,
    ) -> BatchRunner:
        objects = blobs or self.blobs
        place = Place(
            blobs=objects,
            may_read=self.store.tenants.require_readable,
            bucket=self.bucket,
            max_bytes=10_000_000,
            traces=traces,
        )
        return BatchRunner(
            self.store, objects, place, name=name, window=window, lease_s=lease_s, threads=4, max_pixels=max_pixels
        )

    def submit(self, source: Any, **words: Any) -> BatchId:
        spec = BatchSpec(source=source, output=self.out, **words)
        return self.store.batches.create(new_batch_id(), LOCAL_TENANT, spec)[0].id

    def get(self, batch: BatchId) -> Batch:
        return self.store.batches.get(batch)

    def work(self, limit: int = 500) -> int:
        """Do what waits, as a worker would; sources whose name says so go wrong, or come out odd."""
        done = 0
        for job_id in self.store.take(credits=limit, priority=Priority.BATCH):
            job = self.store.claim(job_id, worker="w", lease_s=LEASE_S)
            if isinstance(job, Job):
                self.end(job)
                done += 1
        return done

    def end(self, job: Job) -> None:
        assert isinstance(job.input, ObjectRef)
        self.runs.append(job.input.key)
        if "bad" in job.input.key:
            failure = Failure(code="image_truncated", title="The image is truncated.", detail="It ends at byte 3.")
            self.store.fail(job.id, epoch=job.epoch, failure=failure)
            return
        master = self.blobs.get(job.input, max_bytes=10**7, if_match=job.input_etag)
        parts = []
        for part, extension in (("image", job.input.key.rpartition(".")[2].lower()), ("provenance", "json")):
            data = f"{part} of {master!r}".encode()
            ref = result_ref(self.bucket, job, part, extension)
            self.blobs.put(ref, data, content_type="image/tiff")
            sha256 = hashlib.sha256(data).hexdigest()
            parts.append(
                Artifact(part=part, ref=ref, content_type="image/tiff", size=len(data), sha256=sha256,
                         filename=f"x.{extension}")
            )  # fmt: skip
        for half in sheet.HALVES if job.sheet else ():
            data = SMALL[half]
            ref = result_ref(self.bucket, job, f"{sheet.PART}{half}", "jpg")
            self.blobs.put(ref, data, content_type="image/jpeg")
            parts.append(
                Artifact(part=f"{sheet.PART}{half}", ref=ref, content_type="image/jpeg", size=len(data),
                         sha256=hashlib.sha256(data).hexdigest(), filename=f"x-{half}.jpg")
            )  # fmt: skip
        result = Result(
            artifacts=tuple(parts), width=20, height=10, model=self.model,
            faces=(ODD if "odd" in job.input.key else FACE,),
            metrics={"gpu_s": 0.5, "megapixels": 2.0}, input_sha256=hashlib.sha256(master).hexdigest(),
        )  # fmt: skip
        self.store.commit(job.id, epoch=job.epoch, result=result)

    def until(
        self, batch: BatchId, *states: BatchState, runner: BatchRunner | None = None, rounds: int = 300,
        between: Callable[[], object] | None = None,
    ) -> Batch:  # fmt: skip
        """The batch once it is in one of these states, by turns of runner and worker."""
        own = runner or self.runner()
        for _ in range(rounds):
            own.step()
            if self.get(batch).state in states:
                break
            (between or self.work)()
        found = self.get(batch)
        assert found.state in states, found
        if runner is None:
            own.close()
        return found

    def report(self, batch: BatchId) -> list[dict[str, Any]]:
        """The report's rows, once JSON Lines, CSV and manifest agree with each other and with the batch."""
        found = self.get(batch)
        read = {
            name: self.blobs.get(report_ref(found, name), max_bytes=10**8).decode()
            for name in ("report.jsonl", "report.csv", "manifest.json")
        }
        rows = [json.loads(line) for line in read["report.jsonl"].splitlines()]
        table = list(csv.DictReader(io.StringIO(read["report.csv"].removeprefix("\ufeff"), newline="")))
        assert [(int(line["number"]), line["status"]) for line in table] == [(r["number"], r["status"]) for r in rows]
        told = json.loads(read["manifest.json"])
        assert (told["batch"], told["lines"], told["rows"]) == (batch, found.total, len(rows))
        page = self.blobs.get(report_ref(found, "report.html"), max_bytes=10**8).decode()
        assert batch in page
        sums = self.blobs.get(report_ref(found, "manifest-sha256.txt"), max_bytes=10**8).decode()
        assert self.premis(found).tag.endswith("premis")
        files = [file for row in rows for file in row["outputs"]]
        assert sums == "".join(f"{file['sha256']}  {file['key']}\n" for file in files)
        return rows

    def premis(self, batch: Batch) -> Any:
        """The record of an ended batch, as XML."""
        zipped = self.blobs.get(report_ref(batch, "premis.xml.gz"), max_bytes=10**8)
        return etree.fromstring(gzip.decompress(zipped))

    def reconcile(self, batch: BatchId) -> dict[str, int]:
        """How many rows are what; each line of the manifest has one, and the batch counts the same."""
        rows, found = self.report(batch), self.get(batch)
        assert [row["number"] for row in rows] == list(range(1, found.total + 1))
        counts: dict[str, int] = {}
        for row in rows:
            counts[row["status"]] = counts.get(row["status"], 0) + 1
        told = {
            name: n for name in ("succeeded", "skipped", "failed", "canceled") if (n := getattr(found.counts, name))
        }
        assert counts == told
        return counts

    def left_over(self, batch: BatchId) -> set[str]:
        """Keys of Redis that are about the batch or its jobs, but for its record and what a retry needs."""
        client = self.store._redis
        names = {key.removeprefix("{photomend}:") for key in client.scan_iter("{photomend}:*")}
        own = {f"batch:{batch}", f"batch:{batch}:parts", f"batch:{batch}:retry"}
        return {name for name in names if name.startswith(("job:", "batch:", "index:", "trash", "sent:"))} - own

    def open_to(self, tenant: Tenant) -> None:
        self.store.set_tenant(tenant)


def job_ids(jobs: Sequence[Job]) -> set[JobId]:
    return {job.id for job in jobs}
