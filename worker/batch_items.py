"""One item of a batch: from a line of the manifest to a job, and from its end to delivered files and a row.

Masters are read and never written: nothing is put where a source lies, and no object that is there is overwritten. A
result is copied to its final name by the storage itself, with the hash of what it is made from in its metadata, so that
the same copy may be made again after a crash and a later batch knows it for done.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Protocol

import structlog

from jobs.batches import sheet
from jobs.batches.manifest import Entry
from jobs.batches.model import (
    BATCH_METADATA,
    IDENTITY_METADATA,
    Batch,
    BatchSpec,
    ItemState,
    Pins,
    identity,
    job_id,
)
from jobs.batches.naming import image_ending, output_key, part_ending
from jobs.batches.store import Settled
from jobs.blobs import ObjectInfo
from jobs.checksums import SHA256_METADATA
from jobs.delivery.recipe import recipe_sha256
from jobs.delivery.rows import OutputFile, Row, Status, of_faces, of_model, to_words, weights_of
from jobs.errors import InvalidRequest, ObjectDenied, ObjectError, ObjectMissing, SpecForged, StorageUnavailable
from jobs.model import Artifact, Job, ObjectRef, Result, TenantId
from jobs.object_names import is_result_of
from jobs.options import JobOptions
from jobs.paces import device_s
from jobs.states import JobState
from jobs.traces import UNTRACED, Traces
from jobs.view import timestamp
from worker.spans import item_context

logger = structlog.get_logger(__name__)

#: How a network's precision is told when it was not reduced.
EXACT = "float32"


class ItemFailed(Exception):
    """Raised when an item ends without a result; ``code`` and ``detail`` are for its row."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.failure_code = code
        self.detail = detail


class Objects(Protocol):
    """The part of the object storage that items need."""

    def head(self, ref: ObjectRef, *, version_id: str | None = None) -> ObjectInfo: ...
    def copy(
        self, source: ObjectRef, to: ObjectRef, *, content_type: str, metadata: Mapping[str, str]
    ) -> ObjectInfo: ...


class MayRead(Protocol):
    """What knows which objects a tenant may name."""

    def __call__(self, tenant_id: TenantId, ref: ObjectRef, *, bucket: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where items are worked on; the same for all of a keeper's batches."""

    blobs: Objects
    may_read: MayRead
    bucket: str  #: of the installation: where jobs leave their results
    max_bytes: int
    traces: Traces = UNTRACED


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One line of a batch's manifest, and all that is needed to see it to its row."""

    batch: Batch
    pins: Pins
    number: int  #: from 0
    entry: Entry
    place: Place

    def look(self) -> Job | Settled:
        """The item's job, or its row where there is nothing to do or it cannot be done.

        Raises:
            StorageUnavailable, StoreUnavailable: ask again later.
        """
        try:
            source, options = self._source, self._options()
            info = self._looked_at()
            made_of = self._identity(info.etag, options)
            done = self._done_before(options, made_of)
        except ItemFailed as err:
            return self.failed(err.failure_code, err.detail)
        except InvalidRequest as err:
            return self.failed(err.code, sentence(err))
        if done is not None:
            words: dict[str, Any] = {"outputs": (done,), "recipe_sha256": self._recipe(options)}
            return self._settled(ItemState.SKIPPED, **words)
        name = job_id(self.batch.id, self.batch.generation, self.number)
        return Job(
            id=name,
            tenant=self.batch.tenant,
            input=source,
            options=options,
            priority=self.batch.spec.priority,
            input_bytes=info.size,
            input_etag=info.etag or None,
            input_sha256=self.entry.sha256,
            request_id=self.batch.request_id,
            trace=item_context(self.place.traces, self.batch, name, self.number),
            batch=self.batch.id,
            item=self.number,
            sheet=sheet.is_drawn(self.number, self.batch.total),
        )

    def outcome(self, job: Job) -> Settled:
        """The row of an item whose job has ended; a result is delivered first.

        Raises:
            StorageUnavailable: ask again later.
        """
        if job.state is JobState.CANCELED:
            return self.canceled(job)
        if job.state is not JobState.SUCCEEDED or job.result is None:
            if job.failure is not None:
                return self.failed(job.failure.code, job.failure.detail, job)
            return self.failed("result_expired", "Its job's results were removed before they were delivered.", job)
        result = job.result
        try:
            self._check_pins(result)
            outputs = self._deliver(job, result)
        except ItemFailed as err:
            return self.failed(err.failure_code, err.detail, job)
        except InvalidRequest as err:
            return self.failed(err.code, sentence(err), job)
        words: dict[str, Any] = of_faces(result.faces) | of_model(result.model)
        words |= {
            "recipe_sha256": self._recipe(job.options),
            "outputs": outputs,
            "warnings": tuple(notice.code for notice in result.warnings),
            "device": job.worker,
            "seconds": round(device_s(result), 4),
        }
        if result.input_sha256 is not None:
            words["source_sha256"] = result.input_sha256
        return self._settled(ItemState.SUCCEEDED, job, **words)

    def canceled(self, job: Job | None = None) -> Settled:
        """The row of an item that was not worked on because its batch, or its job, was ended."""
        return self._settled(ItemState.CANCELED, job, error_code="canceled", error="It was ended before it was done.")

    def failed(self, code: str, detail: str, job: Job | None = None) -> Settled:
        """The row of an item without a result."""
        return self._settled(ItemState.FAILED, job, error_code=code, error=detail)

    def forged(self) -> Settled:
        """The row of an item whose job's record is not ours."""
        return self.failed("spec_forged", SpecForged.public)

    # -- before the job

    @property
    def _source(self) -> ObjectRef:
        return source_of(self.entry)

    def _options(self) -> JobOptions:
        """The batch's options with the line's own, and what the batch pinned where both leave it open."""
        said = self.batch.spec.options.to_mapping() | dict(self.entry.options)
        said["model"] = said["model"] or self.pins.model
        said["background"] = self.pins.background if said["background"] == "auto" else said["background"]
        for name in (said["model"], said["background"]):
            if name != "none" and name not in self.pins.weights:
                raise ItemFailed("weights_missing", f"{name} was not on the fleet when the batch began.")
        return JobOptions.from_mapping(said)

    def _looked_at(self) -> ObjectInfo:
        """What the storage says of the source, once it is sure that it may and can be worked on."""
        source, place = self._source, self.place
        require_apart(self.batch.spec, source)
        try:
            place.may_read(self.batch.tenant, source, bucket=place.bucket)
            info = place.blobs.head(source, version_id=self.entry.version_id)
        except ObjectMissing as err:
            raise ItemFailed(err.code, "There is no such object, or no such version of it.") from err
        except ObjectDenied as err:
            raise ItemFailed(err.code, err.public) from err
        if self.entry.etag is not None and info.etag != self.entry.etag:
            raise ItemFailed("input_changed", f"Its ETag is {info.etag}, the manifest says {self.entry.etag}.")
        if info.size > place.max_bytes:
            raise ItemFailed("input_too_many_bytes", f"It has {info.size} bytes, allowed are {place.max_bytes}.")
        return info

    def _identity(self, etag: str | None, options: JobOptions) -> str:
        source = self.entry.sha256 or f"{self._source.uri} {etag}"
        return identity(source=source, options=options, pins=self.pins)

    def _recipe(self, options: JobOptions) -> str:
        return recipe_sha256(options.to_mapping(), self.pins.taking_part(options))

    def _done_before(self, options: JobOptions, made_of: str) -> OutputFile | None:
        """The picture, if it lies where it is to go already; it is written last of an item's files."""
        source, ending = self._source, image_ending(self._source, options.format)
        if ending is None or "image" not in options.outputs:
            return None
        to = self._output("image", ending, options.suffix)
        if to.bucket == source.bucket and PurePosixPath(to.key).parent == PurePosixPath(source.key).parent:
            raise ItemFailed(
                "output_in_source", "The result would lie beside its source: choose another output prefix."
            )
        try:
            info = self.place.blobs.head(to)
        except ObjectMissing:
            return None
        except ObjectDenied as err:
            raise ItemFailed("output_denied", "The storage does not let us look at the output prefix.") from err
        if info.metadata.get(IDENTITY_METADATA) != made_of:
            raise _occupied(to)
        return OutputFile(part="image", key=to.key, sha256=info.metadata.get(SHA256_METADATA, ""), bytes=info.size)

    def _output(self, part: str, ending: str, suffix: str) -> ObjectRef:
        return destination(self.batch.spec, self.entry, self.number, part=part, ending=ending, suffix=suffix)

    # -- after it

    def _check_pins(self, result: Result) -> None:
        """A result by other weights or on another kind of machine than the batch began with is not delivered."""
        pins, model = self.pins, result.model
        for name, sha256 in weights_of(model).items():
            if pins.weights.get(name) != sha256:
                raise ItemFailed("pins_differ", f"A worker had another {name} than the batch began with.")
        device = str(model.get("engine") or "").rpartition("-")[2]
        if device and pins.devices and device not in pins.devices:
            began = ", ".join(pins.devices)
            raise ItemFailed("pins_differ", f"A worker computed on {device}, the batch began on {began}.")
        if pins.precision == "exact" and model.get("precision") not in {None, EXACT}:
            raise ItemFailed("pins_differ", f"A worker computed in {model['precision']}, not in {EXACT}.")

    def _deliver(self, job: Job, result: Result) -> tuple[OutputFile, ...]:
        made_of = self._identity(job.input_etag, job.options)
        files = []
        # The picture last: where it lies, everything of the item does.
        for artifact in sorted(result.artifacts, key=lambda a: a.part == "image"):
            if not is_result_of(artifact.ref, job.id, bucket=self.place.bucket, tenant=job.tenant):
                logger.error("a record names a result that is not its own", job_id=job.id)
                raise ItemFailed(SpecForged.code, "The job's record names a result that is not its own.")
            if artifact.part.startswith(sheet.PART):
                self._keep_small(artifact)
                continue
            ending = PurePosixPath(artifact.filename).suffix
            if artifact.part == "image":
                ending = part_ending(self._source, ending.lstrip("."))
            to = self._output(artifact.part, ending, job.options.suffix)
            metadata = {
                SHA256_METADATA: artifact.sha256,
                IDENTITY_METADATA: made_of,
                BATCH_METADATA: self.batch.id,
            }
            self._copy_once(artifact, to, metadata)
            files.append(OutputFile(part=artifact.part, key=to.key, sha256=artifact.sha256, bytes=artifact.size))
        return tuple(reversed(files))

    def _keep_small(self, artifact: Artifact) -> None:
        """For the contact sheet; it has no place among what is delivered, and its loss is none."""
        half = next((half for half in sheet.HALVES if artifact.part == f"{sheet.PART}{half}"), None)
        if half is None or artifact.size > sheet.MAX_BYTES:
            return
        to = sheet.copy_ref(self.place.bucket, self.batch, self.number, half)
        try:
            self.place.blobs.copy(
                artifact.ref, to, content_type="image/jpeg", metadata={SHA256_METADATA: artifact.sha256}
            )
        except StorageUnavailable:
            raise
        except ObjectError as err:
            logger.warning("a small copy is not kept for the contact sheet", error=str(err))

    def _copy_once(self, artifact: Artifact, to: ObjectRef, metadata: dict[str, str]) -> None:
        blobs = self.place.blobs
        try:
            try:
                there = blobs.head(to)
            except ObjectMissing:
                there = blobs.copy(artifact.ref, to, content_type=artifact.content_type, metadata=metadata)
        except StorageUnavailable:
            raise
        except ObjectMissing as err:
            raise ItemFailed("output_denied", "The output bucket does not exist, or the result was removed.") from err
        except ObjectError as err:
            raise ItemFailed("output_denied", "The storage does not let us write under the output prefix.") from err
        same = {name: there.metadata.get(name) for name in (IDENTITY_METADATA, SHA256_METADATA)}
        # Made from the same by the same, and yet other bytes: what is there stays as well.
        if same != {name: metadata[name] for name in same} or there.size != artifact.size:
            raise _occupied(to)

    def _settled(self, state: ItemState, job: Job | None = None, **words: Any) -> Settled:
        entry, ended_at = self.entry, timestamp(job.completed_at) if job is not None else None
        known = {"version": entry.version_id, "source_sha256": entry.sha256, "completed_at": ended_at}
        row = Row(
            number=self.number + 1,
            source=entry.source.uri if entry.source is not None else entry.line or "(empty)",
            status=Status(str(state)),
            **(known | words),
        )
        result = job.result if job is not None else None
        return Settled(
            item=self.number,
            state=state,
            row=row_text(row),
            gpu_s=device_s(result) if result else 0.0,
            megapixels=result.metrics.get("megapixels", 0.0) if result else 0.0,
            job=job.id if job is not None else None,
            is_flagged=bool(row.review),
        )


def source_of(entry: Entry) -> ObjectRef:
    """What a line names.

    Raises:
        ItemFailed: it names nothing that could be worked on.
    """
    if entry.fault is not None:
        raise ItemFailed(entry.fault.code, entry.fault.detail)
    if entry.source is None:
        raise ItemFailed("bad_row", "The line names no source.")
    return entry.source


def require_apart(spec: BatchSpec, source: ObjectRef) -> None:
    """Refuse a source that lies where results go.

    Raises:
        ItemFailed: it does.
    """
    if source.bucket == spec.output.bucket and source.key.startswith(spec.output.key):
        raise ItemFailed("output_in_source", "The source lies under the output prefix: masters are never touched.")


def destination(spec: BatchSpec, entry: Entry, item: int, *, part: str, ending: str, suffix: str) -> ObjectRef:
    """Where a part of an item's result goes; ``item`` counts from 0.

    Raises:
        InvalidRequest: its name is no key.
    """
    key = output_key(
        spec.naming, entry, source_of(entry), part=part, ending=ending, suffix=suffix, number=item + 1, base=spec.base
    )
    return ObjectRef.parse(f"s3://{spec.output.bucket}/{spec.output.key}{key}")


def row_text(row: Row) -> str:
    """As it is kept until its part is in storage: without what is not known, since the memory is Redis'."""
    words = {name: value for name, value in to_words(row).items() if value not in (None, [], {}, "")}
    return json.dumps(words, ensure_ascii=False, separators=(",", ":"))


def _occupied(to: ObjectRef) -> ItemFailed:
    return ItemFailed("output_exists", f"{to.uri} is there already and is another result: nothing is overwritten.")


def sentence(err: InvalidRequest) -> str:
    """What is wrong with a request, for a row."""
    return f"{err.detail[:1].upper()}{err.detail[1:]}."
