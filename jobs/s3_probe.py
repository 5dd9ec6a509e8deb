"""What the object storage really does, tried with small objects of a prefix of their own, which are deleted again."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from jobs.blobs import BlobStore
from jobs.checks import Check, Verdict, failed, ok, warning
from jobs.errors import ObjectDenied, ObjectError, ObjectMissing
from jobs.model import ObjectRef
from jobs.s3 import make_client, translated
from jobs.settings import JobsSettings

#: Where the objects go; nothing else of ours does.
PREFIX = "doctor/"
#: Not a multiple of anything that servers cut by.
_BYTES = b"photomend doctor\n" * 61
_TYPE = "application/octet-stream"
#: How long the public address may take (seconds).
_PUBLIC_S = 15.0


def probe(settings: JobsSettings) -> Iterator[Check]:
    """One line for each thing that a job, an upload, a batch or the doctor's own repairs do with the storage."""
    tries = _Probe(settings)
    try:
        written = tries.line("storage.write", tries.write)
        yield written
        if written.verdict is not Verdict.OK:
            return
        for name, attempt in (
            ("storage.read", tries.read),
            ("storage.list", tries.list),
            ("storage.copy", tries.copy),
            ("storage.content_md5", tries.content_md5),
            ("storage.sha256", tries.sha256),
            ("storage.no_overwrite", tries.no_overwrite),
            ("storage.presigned_get", tries.presigned_get),
            ("storage.presigned_put", tries.presigned_put),
            ("storage.delete", tries.delete),
        ):
            yield tries.line(name, attempt)
    finally:
        tries.clean_up()


class _Probe:
    def __init__(self, settings: JobsSettings) -> None:
        self._bucket = settings.bucket
        self._blobs = BlobStore.connect(settings)
        self._s3: Any = make_client(settings, settings.s3_endpoint_url)
        self._folder = f"{PREFIX}{secrets.token_hex(8)}/"
        self._ref = self._in_folder("probe")
        self._made: list[ObjectRef] = []

    def _in_folder(self, name: str) -> ObjectRef:
        return ObjectRef(bucket=self._bucket, key=f"{self._folder}{name}")

    def line(self, name: str, attempt: Callable[[str], Check]) -> Check:
        """What the attempt found, or how it was refused."""
        try:
            return attempt(name)
        except ObjectDenied as err:
            return failed(name, f"refused: {err}", "give these credentials read, write, list and delete on the bucket")
        except ObjectMissing as err:
            return failed(name, f"not found: {err}", f"make the bucket {self._bucket}, or correct PHOTOMEND_BUCKET")
        except ObjectError as err:
            return failed(name, str(err), "start it, or correct PHOTOMEND_S3_ENDPOINT_URL and the credentials")

    def clean_up(self) -> None:
        """Delete what is left; a storage that does not let us has been told of already."""
        try:
            self._blobs.delete(self._made)
        except ObjectError:
            return

    def write(self, name: str) -> Check:
        self._made.append(self._ref)
        stored = self._blobs.put(self._ref, _BYTES, content_type=_TYPE)
        return ok(name, f"{stored.size} bytes to {self._ref.uri}")

    def read(self, name: str) -> Check:
        info = self._blobs.head(self._ref)
        data = self._blobs.get(self._ref, max_bytes=len(_BYTES), if_match=info.etag)
        part = self._blobs.read_range(self._ref, start=17, length=17, if_match=info.etag)
        if data != _BYTES or part != _BYTES[17:34]:
            return failed(name, "other bytes come back than were stored", "do not use this storage")
        return ok(name, "the same bytes come back, whole and in part")

    def list(self, name: str) -> Check:
        found = [one.ref for one in self._blobs.list(self._bucket, prefix=self._folder)]
        if self._ref in found:
            return ok(name, "finds what was just stored")
        # As it may: nothing of ours takes a listing for a proof of absence.
        return ok(name, "allowed; lags behind what is stored")

    def copy(self, name: str) -> Check:
        to = self._in_folder("copy")
        self._made.append(to)
        self._blobs.copy(self._ref, to, content_type=_TYPE, metadata={})
        return ok(name, "made by the storage itself")

    def content_md5(self, name: str) -> Check:
        wrong = base64.b64encode(hashlib.md5(b"other", usedforsecurity=False).digest()).decode()
        if self._is_refused("md5", ContentMD5=wrong):
            return ok(name, "bytes that do not fit it are refused")
        return warning(name, "bytes that do not fit Content-MD5 are stored", "photomend compares them itself; know it")

    def sha256(self, name: str) -> Check:
        wrong = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
        if self._is_refused("sha256", ChecksumSHA256=wrong):
            return ok(name, "x-amz-checksum-sha256: bytes that do not fit it are refused")
        return warning(
            name,
            "x-amz-checksum-sha256 is not compared: the declared checksum of an upload is checked by workers only",
            "nothing is lost by it; leave PHOTOMEND_S3_CHECKSUMS at auto",
        )

    def no_overwrite(self, name: str) -> Check:
        if self._is_refused("probe", IfNoneMatch="*"):
            return ok(name, "If-None-Match: * is honoured")
        return warning(
            name, "If-None-Match: * is ignored: an object is overwritten all the same", "nothing of ours relies on it"
        )

    def presigned_get(self, name: str) -> Check:
        return self._public(name, lambda: httpx.get(self._blobs.presign_get(self._ref), timeout=_PUBLIC_S), _BYTES)

    def presigned_put(self, name: str) -> Check:
        to = self._in_folder("uploaded")
        self._made.append(to)
        url = self._blobs.presign_put(to, content_type=_TYPE, size=len(_BYTES))
        found = self._public(
            name,
            lambda: httpx.put(url, content=_BYTES, headers={"content-type": _TYPE}, timeout=_PUBLIC_S),
            None,
        )
        if found.verdict is Verdict.OK and self._blobs.head(to).size != len(_BYTES):
            return failed(name, "what was uploaded has another length", "do not use this storage")
        return found

    def delete(self, name: str) -> Check:
        self._blobs.delete([self._ref])
        try:
            self._blobs.head(self._ref)
        except ObjectMissing:
            return ok(name, "gone")
        return warning(name, "still there after it was deleted", "is the bucket locked or versioned?")

    def _is_refused(self, name: str, **words: str) -> bool:
        """Whether a PUT with these words is; what is stored in spite of them is deleted afterwards."""
        ref = self._in_folder(name)
        self._made.append(ref)
        try:
            with translated(ref.uri):
                self._s3.put_object(Bucket=ref.bucket, Key=ref.key, Body=_BYTES, **words)
        except ObjectDenied:
            raise
        except ObjectError:
            # Or out of reach just now? Then this fails too.
            self._blobs.head(self._ref)
            return True
        return False

    @staticmethod
    def _public(name: str, call: Callable[[], httpx.Response], expected: bytes | None) -> Check:
        try:
            answer = call()
        except httpx.HTTPError as err:
            return warning(
                name,
                f"the public address does not answer from here ({type(err).__name__})",
                "callers must reach PHOTOMEND_S3_PUBLIC_ENDPOINT_URL; try it from where they are",
            )
        if answer.is_error or (expected is not None and answer.content != expected):
            return failed(
                name,
                f"refused with {answer.status_code}",
                "PHOTOMEND_S3_PUBLIC_ENDPOINT_URL must lead to the same storage, with the host name that was signed",
            )
        return ok(name, "by the public address")
