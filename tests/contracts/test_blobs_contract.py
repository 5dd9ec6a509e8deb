"""One suite on the doubles and on a real S3 server: whatever tests believe of the double holds in operation."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.blobs import BlobStore
from jobs.errors import ObjectChanged, ObjectMissing, ObjectTooLarge
from jobs.model import ObjectRef
from jobs.settings import JobsSettings
from tests.doubles import FolderBlobs, MemoryBlobs

BUCKET = "contract-blobs"
PICTURE = bytes(range(256)) * 40
Blobs = BlobStore | MemoryBlobs


@pytest.fixture(params=["memory", "folder", "real"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Blobs]:
    if request.param == "memory":
        store: Blobs = MemoryBlobs()
    elif request.param == "folder":
        store = FolderBlobs(tmp_path)
    else:
        settings: JobsSettings = request.getfixturevalue("jobs_settings")
        store = BlobStore.connect(settings)
    store.ensure_bucket(BUCKET)
    return store


def ref(key: str = "a/b.png") -> ObjectRef:
    return ObjectRef(bucket=BUCKET, key=key)


@pytest.mark.parametrize("key", ["plain.png", "deep/er/and deeper.jpg", "ünïcödé/写真+&=%?#.tif"])
def test_what_was_put_is_what_one_gets(blobs: Blobs, key: str) -> None:
    stored = blobs.put(ref(key), PICTURE, content_type="image/png", metadata={"job": "job_1"}, filename="ä b.png")
    info = blobs.head(ref(key))
    assert info == stored
    assert (info.size, info.content_type) == (len(PICTURE), "image/png")
    assert info.metadata == {"job": "job_1", "sha256": hashlib.sha256(PICTURE).hexdigest()}
    assert blobs.get(ref(key), max_bytes=len(PICTURE)) == PICTURE
    assert blobs.get(ref(key), max_bytes=len(PICTURE), if_match=info.etag) == PICTURE


def test_an_open_file_is_put_from_where_it_is(blobs: Blobs) -> None:
    file = io.BytesIO(b"skip" + PICTURE)
    file.seek(4)
    assert blobs.put(ref(), file, content_type="image/png").size == len(PICTURE)
    assert blobs.get(ref(), max_bytes=10**6) == PICTURE


def test_an_empty_object_is_an_object(blobs: Blobs) -> None:
    blobs.put(ref("empty"), b"", content_type="text/plain")
    assert blobs.get(ref("empty"), max_bytes=0) == b""


def test_too_many_bytes_are_refused_and_just_enough_are_not(blobs: Blobs) -> None:
    blobs.put(ref(), PICTURE, content_type="image/png")
    with pytest.raises(ObjectTooLarge):
        blobs.get(ref(), max_bytes=len(PICTURE) - 1)


def test_an_object_that_changed_meanwhile_is_noticed(blobs: Blobs) -> None:
    before = blobs.put(ref(), PICTURE, content_type="image/png")
    blobs.put(ref(), PICTURE[::-1], content_type="image/png")
    with pytest.raises(ObjectChanged):
        blobs.get(ref(), max_bytes=10**6, if_match=before.etag)


def test_bytes_that_are_not_what_their_checksum_says_are_refused(blobs: Blobs) -> None:
    blobs.put(ref(), PICTURE, content_type="image/png", metadata={"sha256": "00" * 32})
    with pytest.raises(ObjectChanged):
        blobs.get(ref(), max_bytes=10**6)


@pytest.mark.parametrize("missing", [ref("no-such-key"), ObjectRef(bucket="no-such-bucket-here", key="k")])
def test_what_is_not_there_is_missing(blobs: Blobs, missing: ObjectRef) -> None:
    with pytest.raises(ObjectMissing):
        blobs.head(missing)
    with pytest.raises(ObjectMissing):
        blobs.get(missing, max_bytes=9)


def test_a_bucket_that_is_not_there_takes_nothing(blobs: Blobs) -> None:
    with pytest.raises(ObjectMissing):
        blobs.put(ObjectRef(bucket="no-such-bucket-here", key="k"), b"x", content_type="text/plain")


def test_deleting_is_idempotent(blobs: Blobs) -> None:
    blobs.put(ref("one"), b"1", content_type="text/plain")
    blobs.put(ref("two"), b"2", content_type="text/plain")
    for _ in range(2):
        blobs.delete([ref("one"), ref("never"), ref("two")])
    with pytest.raises(ObjectMissing):
        blobs.head(ref("one"))


def test_ensuring_a_bucket_twice_keeps_what_is_in_it(blobs: Blobs) -> None:
    blobs.put(ref(), PICTURE, content_type="image/png")
    blobs.ensure_bucket(BUCKET)
    blobs.ping()
    assert blobs.head(ref()).size == len(PICTURE)


def test_the_double_speaks_the_real_ones_words() -> None:
    """Same methods, same parameters, so that no test can call the double in a way that the real store refuses."""
    import inspect

    for name in ("ping", "ensure_bucket", "head", "get", "put", "delete", "presign_get", "presign_put"):
        real, double = (inspect.signature(getattr(kind, name)) for kind in (BlobStore, MemoryBlobs))
        assert real == double, name
