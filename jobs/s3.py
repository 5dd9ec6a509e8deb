"""How the object storage is dialled, and how boto3's errors become ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    ParamValidationError,
    ResponseStreamingError,
)

from jobs.errors import ObjectChanged, ObjectDenied, ObjectError, ObjectMissing, StorageUnavailable
from jobs.settings import JobsSettings

CONNECT_TIMEOUT_S = 3.0
READ_TIMEOUT_S = 10.0
#: Tries of one request, with botocore's jittered backoff and its retry quota shared by the whole client.
TOTAL_ATTEMPTS = 4
#: Threads that may talk to the storage at once without dialling anew.
POOL_SIZE = 32

#: boto3 makes its clients at run time and has no types for them.
S3Client = Any


class BrokenOff(StorageUnavailable):
    """Raised when a body ends early; the one failure that is tried again here."""


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
        retries={"mode": "standard", "total_max_attempts": TOTAL_ATTEMPTS},
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
        raise _error_for(err)(f"{what}: {err}") from err
    except ParamValidationError as err:
        raise ObjectMissing(f"{what}: {err}") from err
    except (IncompleteReadError, ResponseStreamingError) as err:
        raise BrokenOff(f"{what}: {err}") from err
    except (BotoCoreError, HTTPClientError) as err:
        raise StorageUnavailable(f"{what}: {type(err).__name__}: {err}") from err


def _error_for(err: ClientError) -> type[ObjectError]:
    status, code = status_of(err), err.response["Error"].get("Code", "")
    if status == 404 or code in {"NoSuchKey", "NoSuchBucket", "InvalidBucketName"}:
        return ObjectMissing
    if status in {401, 403}:
        return ObjectDenied
    if status == 412:
        return ObjectChanged
    # What is left is throttling, the server's own trouble, or a request of ours that it does not understand.
    return StorageUnavailable


def status_of(err: ClientError) -> int:
    return int(err.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
