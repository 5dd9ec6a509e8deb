"""From what a caller said to a job in the store. Nothing here calls the storage, except to take a file in."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from api.problems import Problem, from_validation
from api.requests import CallbackSaid, JobRequest, Wishes
from api.service import Service
from api.uploads import ReceivedFile
from jobs.blobs import BlobStore
from jobs.errors import CallbackRefused, InputRefused, InvalidRequest, ObjectDenied, ObjectMissing, StorageUnavailable
from jobs.kinds import Kind, options_for
from jobs.logs import current_request
from jobs.model import (
    Callback,
    CallbackEvent,
    InputRef,
    Job,
    ObjectRef,
    Priority,
    TenantId,
    UrlRef,
    is_web_url,
    new_job_id,
)
from jobs.object_names import new_upload_id, upload_ref
from jobs.retention import Upload
from jobs.store import Idempotency, Submitted
from jobs.targets import parse_callback_url, parse_input_url
from jobs.trace_context import current_trace

M = TypeVar("M", bound=BaseModel)

_KEY = re.compile(r"[\x21-\x7e]{1,255}\Z")
#: What ``idempotency_key`` takes, for the documentation: no quotes and backslashes inside.
KEY_PATTERN = r'^("[!#-\[\]-~]{1,255}"|[!#-\[\]-~]{1,255})$'


def idempotency_key(header: str | None) -> str | None:
    """The key, which may come as a quoted structured-field string or bare.

    Raises:
        Problem: ``invalid_idempotency_key``.
    """
    if header is None:
        return None
    key = header[1:-1] if len(header) >= 2 and header[0] == header[-1] == '"' else header
    if not _KEY.match(key) or '"' in key or "\\" in key:
        raise Problem("invalid_idempotency_key")
    return key


def checked(model: type[M], words: dict[str, Any]) -> M:
    """``words`` as ``model``.

    Raises:
        Problem: ``invalid_request`` with a pointer.
    """
    try:
        return model.model_validate(words)
    except ValidationError as err:
        raise from_validation([e | {"loc": ("body", *e["loc"])} for e in err.errors()]) from err


def submit_stored(service: Service, tenant: TenantId, said: JobRequest, key: str | None, *, kind: Kind) -> Submitted:
    """Submit a job on a picture that lies in storage, without asking the storage about it.

    Raises:
        JobsError: the request is wrong, there is no such upload, or the store does not take it.
    """
    if said.upload_id is not None:
        upload = service.store.get_upload(said.upload_id, tenant=tenant)
        job = _job_of_upload(service, tenant, said, upload, kind=kind)
    else:
        job = _job(service, tenant, said, _named_input(service, tenant, said.input or ""), kind=kind)
    job = dataclasses.replace(job, input_etag=said.input_etag and said.input_etag.strip('"'))
    return service.store.submit(job, idempotency=_idempotency(key, job, job.input.uri))


def _named_input(service: Service, tenant: TenantId, uri: str) -> InputRef:
    if not is_web_url(uri):
        ref = ObjectRef.parse(uri)
        service.store.tenants.require_readable(tenant, ref, bucket=service.settings.bucket)
        return ref
    if not service.settings.input_urls:
        raise InputRefused("input URLs are switched off here: name an s3:// object or an upload", pointer="/input")
    return UrlRef(uri=parse_input_url(uri, allow_hosts=service.settings.input_allow_hosts).url)


def submit_file(
    service: Service, tenant: TenantId, said: Wishes, file: ReceivedFile, key: str | None, *, kind: Kind
) -> Submitted:
    """Take a file in and submit a job on it.

    Raises:
        JobsError: the request is wrong, or the store or the storage does not take it.
    """
    if said.input_sha256 not in {None, file.sha256}:
        raise Problem("checksum_mismatch", pointer="/input_sha256")
    upload = new_upload(
        service, tenant, content_type=file.content_type, size=file.size, filename=file.name, sha256=file.sha256
    )
    # Judge the words before the file is stored.
    job = _job_of_upload(service, tenant, said, upload, kind=kind)
    # The same picture under the same key is the same request, though it lies elsewhere now.
    idempotency = _idempotency(key, job, f"sha256:{file.sha256}")
    # Registered first, so that a file whose submit never comes is swept away.
    service.store.register_upload(upload)
    store_file(service.blobs, upload, file)
    submitted = service.store.submit(job, idempotency=idempotency)
    if submitted.replayed:
        service.blobs.delete([upload.ref])
    return submitted


def new_upload(
    service: Service,
    tenant: TenantId,
    *,
    content_type: str,
    size: int,
    filename: str | None = None,
    sha256: str | None = None,
) -> Upload:
    """A place for one file of ``size`` bytes that its owner calls ``filename``.

    Raises:
        InvalidRequest: more bytes than an input may have.
    """
    limit = service.settings.max_upload_bytes
    if size > limit:
        raise InvalidRequest(f"a picture may have at most {limit} bytes, not {size}", pointer="/size")
    upload_id = new_upload_id()
    ref = upload_ref(service.settings.bucket, tenant, upload_id, filename=filename)
    return Upload(id=upload_id, tenant=tenant, ref=ref, content_type=content_type, size=size, sha256=sha256)


def store_file(blobs: BlobStore, upload: Upload, file: ReceivedFile) -> None:
    """Put ``file`` where ``upload`` says.

    Raises:
        StorageUnavailable: the storage does not take it, for whatever reason: none of them is the caller's.
    """
    try:
        blobs.put(upload.ref, file.data, content_type=file.content_type)
    except (ObjectMissing, ObjectDenied) as err:
        raise StorageUnavailable(f"{upload.ref.bucket} does not take uploads: {err}") from err


def _job_of_upload(service: Service, tenant: TenantId, said: Wishes, upload: Upload, *, kind: Kind) -> Job:
    """The worker holds the bytes against all that was declared: not every storage does, and they may come twice."""
    if None not in {said.input_sha256, upload.sha256} and said.input_sha256 != upload.sha256:
        raise InvalidRequest("input_sha256 is not the one that the upload was announced with", pointer="/input_sha256")
    return dataclasses.replace(
        _job(service, tenant, said, upload.ref, kind=kind),
        input_bytes=upload.size,
        input_type=upload.content_type,
        input_sha256=said.input_sha256 or upload.sha256,
    )


def _job(service: Service, tenant: TenantId, said: Wishes, ref: InputRef, *, kind: Kind) -> Job:
    return Job(
        id=new_job_id(),
        tenant=tenant,
        input=ref,
        kind=kind,
        options=options_for(kind, said.options),
        priority=Priority(said.priority),
        callback=None if said.callback is None else _callback(service, said.callback),
        metadata=said.metadata,
        deadline_s=said.deadline_s,
        input_sha256=said.input_sha256,
        request_id=current_request(),
        trace=current_trace(),
    )


def _callback(service: Service, said: CallbackSaid) -> Callback:
    if service.settings.callback_secret is None:
        raise CallbackRefused("callbacks are switched off here: no secret to sign them is set", pointer="/callback")
    target = parse_callback_url(said.url, allow_hosts=service.settings.callback_allow_hosts)
    # Each event once, in the order of life.
    events = tuple(event for event in CallbackEvent if event in said.events)
    return Callback(url=target.url, events=events)


def _idempotency(key: str | None, job: Job, picture: str) -> Idempotency | None:
    """The key with a digest of everything that was asked, defaults filled in: how it was spelt does not matter."""
    if key is None:
        return None
    asked = {
        "input": picture,
        "version": [job.input_etag, job.input_sha256],
        "kind": job.kind,
        "options": job.options.to_mapping(),
        "priority": job.priority,
        "deadline_s": job.deadline_s,
        "callback": None if job.callback is None else [job.callback.url, *job.callback.events],
        "metadata": job.metadata,
    }
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"))
    return Idempotency(key=key, fingerprint=hashlib.sha256(text.encode()).hexdigest())
