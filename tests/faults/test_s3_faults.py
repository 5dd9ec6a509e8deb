"""S3 that is slow, throttled, full, or garbles what it carries: typed errors, few requests, never other bytes.

A real S3 server behind a proxy that spoils the line; each test proves that the fault struck.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from jobs import blobs as blobs_module
from jobs import s3
from jobs.blobs import BlobStore
from jobs.errors import ObjectChanged, StorageUnavailable
from jobs.model import ObjectRef
from jobs.retrying import RETRY_RESERVE, RETRY_SHARE, TRIES
from jobs.settings import JobsSettings
from photomend.stack.swift import S3Server
from tests.faults.http_proxy import HttpProxy, Spoil
from tests.faults.proxy import HOLE, Proxy, Way

PICTURE = bytes(range(256)) * 400


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[HttpProxy]:
    with HttpProxy(s3_server.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def line(s3_server: S3Server) -> Iterator[Proxy]:
    with Proxy(urlsplit(s3_server.endpoint_url).port or 0) as line:
        yield line


def store_at(url: str, settings: JobsSettings) -> BlobStore:
    return BlobStore.connect(settings.model_copy(update={"s3_endpoint_url": url}))


@pytest.fixture
def blobs(jobs_settings: JobsSettings, proxy: HttpProxy) -> BlobStore:
    return store_at(proxy.url, jobs_settings)


@pytest.fixture
def slow_blobs(jobs_settings: JobsSettings, line: Proxy) -> BlobStore:
    return store_at(f"http://127.0.0.1:{line.port}", jobs_settings)


@pytest.fixture
def ref(bucket: str) -> ObjectRef:
    return ObjectRef(bucket=bucket, key="in/a.png")


@pytest.fixture
def stored(jobs_settings: JobsSettings, ref: ObjectRef) -> ObjectRef:
    """A picture that we stored, with our checksum."""
    BlobStore.connect(jobs_settings).put(ref, PICTURE, content_type="image/png")
    return ref


@pytest.fixture
def foreign(jobs_settings: JobsSettings, ref: ObjectRef) -> ObjectRef:
    """A picture that somebody else stored: no checksum of ours."""
    BlobStore.connect(jobs_settings)._s3.put_object(Bucket=ref.bucket, Key=ref.key, Body=PICTURE)
    return ref


# -- reading


@pytest.mark.parametrize("admits_length", [False, True], ids=["length-of-the-whole", "length-of-the-rest"])
@pytest.mark.parametrize("whose", ["stored", "foreign"])
def test_a_body_that_ends_early_is_read_again(
    request: pytest.FixtureRequest, blobs: BlobStore, proxy: HttpProxy, whose: str, admits_length: bool
) -> None:
    ref = request.getfixturevalue(whose)
    cut = proxy.add(Spoil(method="GET", truncate_at=5000, admits_length=admits_length, times=1))
    assert blobs.get(ref, max_bytes=10**6) == PICTURE
    assert cut.struck == 1


@pytest.mark.parametrize("whose", ["stored", "foreign"])
def test_a_bit_that_flips_on_the_way_is_noticed_and_read_again(
    request: pytest.FixtureRequest, blobs: BlobStore, proxy: HttpProxy, whose: str
) -> None:
    ref = request.getfixturevalue(whose)
    flip = proxy.add(Spoil(method="GET", flip_at=77, times=1))
    assert blobs.get(ref, max_bytes=10**6) == PICTURE
    assert flip.struck == 1


def test_what_is_always_read_otherwise_than_it_was_stored_has_changed(
    blobs: BlobStore, proxy: HttpProxy, stored: ObjectRef
) -> None:
    flip = proxy.add(Spoil(method="GET", flip_at=77))
    with pytest.raises(ObjectChanged):
        blobs.get(stored, max_bytes=10**6)
    assert flip.struck == 2, "not at once, and not for ever"


def test_what_is_read_differently_each_time_is_the_storage_s_trouble_not_the_picture_s(
    blobs: BlobStore, proxy: HttpProxy, stored: ObjectRef
) -> None:
    flips = [proxy.add(Spoil(method="GET", flip_at=at, times=1)) for at in range(2 * TRIES)]
    with pytest.raises(StorageUnavailable):
        blobs.get(stored, max_bytes=10**6)
    assert all(flip.struck for flip in flips)


def test_an_etag_that_is_no_md5_of_the_bytes_does_not_close_an_object(
    blobs: BlobStore, proxy: HttpProxy, foreign: ObjectRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the storage encrypts: what comes twice is what it has."""
    monkeypatch.setattr(blobs_module, "_etag", lambda _: "0" * 32)
    assert blobs.get(foreign, max_bytes=10**6) == PICTURE
    assert len(proxy.requests) == 2


def test_bytes_that_drip_end_at_the_deadline(
    slow_blobs: BlobStore, line: Proxy, foreign: ObjectRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each wait is short, so that no time-out of the socket's ever strikes."""
    monkeypatch.setattr(blobs_module, "CALL_S", 1.0)
    line.spoil(down=Way(bytes_per_s=2000, slice_bytes=100))
    began_at = time.monotonic()
    with pytest.raises(StorageUnavailable):
        slow_blobs.get(foreign, max_bytes=10**6)
    assert time.monotonic() - began_at < 5.0, "all of it would take 50 s"
    assert line.struck["throttled"]


def test_a_storage_that_swallows_everything_is_given_up_in_time(
    slow_blobs: BlobStore, line: Proxy, stored: ObjectRef, jobs_settings: JobsSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "READ_TIMEOUT_S", 0.5)
    monkeypatch.setattr(blobs_module, "CALL_S", 1.5)
    hasty = store_at(f"http://127.0.0.1:{line.port}", jobs_settings)
    line.spoil(down=HOLE)
    began_at = time.monotonic()
    with pytest.raises(StorageUnavailable):
        hasty.head(stored)
    assert time.monotonic() - began_at < 4.0
    assert line.struck["swallowed"]


# -- writing


def test_a_bit_that_flips_on_its_way_to_the_storage_is_never_stored(
    blobs: BlobStore, proxy: HttpProxy, ref: ObjectRef
) -> None:
    flip = proxy.add(Spoil(method="PUT", flip_sent_at=77, times=1))
    blobs.put(ref, PICTURE, content_type="image/png")
    assert flip.struck == 1
    assert blobs.get(ref, max_bytes=10**6) == PICTURE


@pytest.mark.parametrize("before", [None, b"something else"], ids=["nothing", "other bytes"])
def test_a_storage_that_says_stored_and_has_not_is_not_believed(
    jobs_settings: JobsSettings, blobs: BlobStore, proxy: HttpProxy, ref: ObjectRef, before: bytes | None
) -> None:
    if before is not None:
        BlobStore.connect(jobs_settings).put(ref, before, content_type="image/png")
    lie = proxy.add(Spoil(method="PUT", status=200))
    with pytest.raises(StorageUnavailable):
        blobs.put(ref, PICTURE, content_type="image/png")
    assert lie.struck == TRIES


def test_a_big_result_on_a_slow_line_is_sent_once(
    jobs_settings: JobsSettings, line: Proxy, ref: ObjectRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time-outs are for silence: this takes longer than any of them."""
    monkeypatch.setattr(s3, "CONNECT_TIMEOUT_S", 1.0)
    monkeypatch.setattr(s3, "READ_TIMEOUT_S", 2.0)
    line.spoil(up=Way(bytes_per_s=3_000_000))
    began_at = time.monotonic()
    store_at(f"http://127.0.0.1:{line.port}", jobs_settings).put(ref, bytes(12_000_000), content_type="image/png")
    assert time.monotonic() - began_at > 2.5
    assert line.struck["throttled"]
    assert line.connections == 1


def test_a_storage_that_takes_bytes_too_slowly_is_given_up(
    slow_blobs: BlobStore, line: Proxy, ref: ObjectRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blobs_module, "CALL_S", 1.0)
    monkeypatch.setattr(s3, "SLOWEST_BYTES_PER_S", 10_000_000)
    line.spoil(up=Way(bytes_per_s=1_000_000))
    began_at = time.monotonic()
    with pytest.raises(StorageUnavailable):
        slow_blobs.put(ref, bytes(12_000_000), content_type="image/png")
    assert 2.0 < time.monotonic() - began_at < 8.0, "all of it would take 12 s"
    assert line.struck["throttled"]


@pytest.mark.parametrize("status", [507, 501])
def test_a_full_disk_is_said_at_once_and_not_tried_again(
    blobs: BlobStore, proxy: HttpProxy, ref: ObjectRef, status: int
) -> None:
    full = proxy.add(Spoil(method="PUT", status=status))
    with pytest.raises(StorageUnavailable):
        blobs.put(ref, PICTURE, content_type="image/png")
    assert full.struck == 1


# -- retries


def test_slow_down_is_waited_for_as_long_as_it_asks(blobs: BlobStore, proxy: HttpProxy, stored: ObjectRef) -> None:
    throttled = proxy.add(Spoil(status=503, retry_after="2", times=1))
    began_at = time.monotonic()
    assert blobs.head(stored).size == len(PICTURE)
    assert time.monotonic() - began_at >= 2.0
    assert throttled.struck == 1


@pytest.mark.parametrize("status", [500, 503], ids=str)
def test_a_lone_failure_is_ridden_out(blobs: BlobStore, proxy: HttpProxy, ref: ObjectRef, status: int) -> None:
    lone = [proxy.add(Spoil(method=method, status=status, times=1)) for method in ("PUT", "GET", "DELETE")]
    dropped = proxy.add(Spoil(method="HEAD", is_dropped=True, times=1))
    blobs.put(ref, PICTURE, content_type="image/png")
    assert blobs.head(ref).size == len(PICTURE)
    assert blobs.get(ref, max_bytes=10**6) == PICTURE
    blobs.delete([ref])
    assert [spoil.struck for spoil in (*lone, dropped)] == [1, 1, 1, 1]


def test_an_answer_that_was_lost_does_no_harm(blobs: BlobStore, proxy: HttpProxy, ref: ObjectRef) -> None:
    lost = [
        proxy.add(Spoil(method=method, reaches_server=True, is_dropped=True, times=1)) for method in ("PUT", "DELETE")
    ]
    blobs.put(ref, PICTURE, content_type="image/png")
    assert blobs.get(ref, max_bytes=10**6) == PICTURE
    blobs.delete([ref])
    assert [spoil.struck for spoil in lost] == [1, 1]


def test_a_storm_of_errors_is_not_made_worse_by_retries(
    blobs: BlobStore,
    proxy: HttpProxy,
    ref: ObjectRef,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """Many threads, every request refused: what a worker full of jobs sends while the storage is down."""
    monkeypatch.setattr("jobs.retrying.BACKOFF_S", (0.001, 0.001))
    storm = proxy.add(Spoil(status=503))
    calls, threads = 240, 8

    def ask() -> None:
        for _ in range(calls // threads):
            with pytest.raises(StorageUnavailable):
                blobs.head(ref)

    workers = [threading.Thread(target=ask) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    record_property("amplification", round(storm.struck / calls, 3))
    assert calls < storm.struck <= calls * (1 + RETRY_SHARE) + RETRY_RESERVE
    assert storm.struck / calls <= 1.2
