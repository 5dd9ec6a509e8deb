"""How the object storage is dialled, and how boto3's errors become ours.

Retries are ours as well (``jobs.retrying``); botocore's are switched off.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)

from jobs.errors import ObjectChanged, ObjectDenied, ObjectError, ObjectMissing, StorageUnavailable
from jobs.retrying import Deadline, Passing
from jobs.settings import JobsSettings

CONNECT_TIMEOUT_S = 3.0
#: Longest silence.
READ_TIMEOUT_S = 10.0
#: Threads that may talk to the storage at once without dialling anew.
POOL_SIZE = 32
#: How long one call may take, retries included, apart from the bytes of its body (seconds).
CALL_S = 30.0
#: A body may take this much longer for its length; storage that is slower is of no use (bytes per second) …
SLOWEST_BYTES_PER_S = 512 * 1024
#: … and never longer than this, which is below the silence that counts as a hung job (stage_budget_s, 300 s).
BODY_S = 200.0
#: How a socket is told that its time is over: its next wait is this long (seconds).
AT_ONCE_S = 0.001
#: Trouble of the server's that a moment does not mend.
_LASTING = frozenset({501, 505, 507})
#: Refusals with a status of the 400s that the next try may not meet: throttling, a slow or garbled upload.
_PASSING_CODES = frozenset(
    {
        "BadDigest",
        "ConditionalRequestConflict",
        "IncompleteBody",
        "OperationAborted",
        "RequestLimitExceeded",
        "RequestTimeout",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "XAmzContentSHA256Mismatch",
    }
)

#: boto3 makes its clients at run time and has no types for them.
S3Client = Any


def make_client(settings: JobsSettings, endpoint_url: str | None) -> S3Client:
    key, secret = settings.s3_access_key_id, settings.s3_secret_access_key
    wanted = settings.s3_checksums
    # Over https, botocore's own default sends trailing checksums that several S3-compatible servers refuse or, worse,
    # store as part of the object.
    checksums = ("when_required" if endpoint_url else "when_supported") if wanted == "auto" else wanted
    style = {"addressing_style": "path" if endpoint_url else "auto"}
    config = Config(
        signature_version="s3v4",
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": 1},
        max_pool_connections=POOL_SIZE,
        tcp_keepalive=True,
        request_checksum_calculation=checksums,
        response_checksum_validation=checksums,
        s3=style,
    )
    # A session of our own: the default one is shared and not safe to build clients from in several threads.
    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint_url,
        region_name=settings.s3_region,
        aws_access_key_id=key.get_secret_value() if key else None,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
        config=config,
    )


@contextmanager
def translated(what: str) -> Iterator[None]:
    try:
        yield
    except ObjectError:
        raise
    except ClientError as err:
        raise _error_for(err, f"{what}: {err}") from err
    except ParamValidationError as err:
        raise ObjectMissing(f"{what}: {err}") from err
    except (NoCredentialsError, PartialCredentialsError) as err:
        raise StorageUnavailable(f"{what}: {err}") from err
    except (BotoCoreError, HTTPClientError) as err:
        # No answer, or a body that breaks off.
        raise Passing(f"{what}: {type(err).__name__}: {err}") from err


def allowance_s(size: int) -> float:
    """Seconds that ``size`` bytes may take on their way."""
    return min(size / SLOWEST_BYTES_PER_S, BODY_S)


@contextmanager
def bounded(body: Any, deadline: Deadline) -> Iterator[None]:
    """Inside, reading ``body`` (botocore's) ends soon after ``deadline``, however slowly its bytes drip.

    Timeouts of sockets count silence, not time.
    """

    def end() -> None:
        with suppress(AttributeError, OSError):  # it was closed meanwhile
            body.set_socket_timeout(AT_ONCE_S)

    timer = threading.Timer(max(deadline.left_s, 0.0), end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class TimedBody(io.RawIOBase):
    """A file on its way to the storage, from where it stands to its end; it breaks off when its time is over.

    Sent in pieces, each with a time-out of its own. Bytes would be sent as one, within one time-out for all of them.
    """

    def __init__(self, file: BinaryIO, deadline: Deadline) -> None:
        self._file = file
        self._start = file.tell()
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._deadline.left_s <= 0:
            raise TimeoutError("the storage takes it too slowly")
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Counted from where the file stood."""
        return self._file.seek(offset + self._start if whence == os.SEEK_SET else offset, whence) - self._start

    def tell(self) -> int:
        return self._file.tell() - self._start


def _error_for(err: ClientError, words: str) -> ObjectError:
    status, code = status_of(err), err.response["Error"].get("Code", "")
    if code in _PASSING_CODES or status == 429:
        return Passing(words, retry_after_s=_retry_after_s(err))
    if status == 404 or code in {"NoSuchKey", "NoSuchBucket", "InvalidBucketName"}:
        return ObjectMissing(words)
    if status in {401, 403}:
        return ObjectDenied(words)
    if status == 412:
        return ObjectChanged(words)
    if status >= 500 and status not in _LASTING:
        return Passing(words, retry_after_s=_retry_after_s(err))
    # What is left is a full disk, or a request of ours that it does not understand.
    return StorageUnavailable(words)


def _retry_after_s(err: ClientError) -> float:
    """What the server asked for; storages say it in seconds."""
    said = err.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("retry-after", "")
    return float(said) if said.strip().isdigit() else 0.0


def status_of(err: ClientError) -> int:
    return int(err.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
