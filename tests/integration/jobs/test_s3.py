"""What only a real S3 server can show: presigned URLs, refused credentials, a broken line."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from jobs import retrying
from jobs.blobs import BlobStore
from jobs.errors import ObjectDenied, StorageUnavailable
from jobs.model import ObjectRef
from jobs.object_names import attachment
from jobs.settings import JobsSettings
from photomend.stack.ports import free_ports

PICTURE = b"\x89PNG not really" * 1000


@pytest.fixture
def blobs(jobs_settings: JobsSettings) -> BlobStore:
    return BlobStore.connect(jobs_settings)


@pytest.fixture
def ref(bucket: str) -> ObjectRef:
    return ObjectRef(bucket=bucket, key="results/é ü/a.png")


def test_a_presigned_get_gives_the_bytes_under_the_name_we_say(blobs: BlobStore, ref: ObjectRef) -> None:
    blobs.put(ref, PICTURE, content_type="image/png")
    url = blobs.presign_get(ref, expires_s=60, filename='Oma "1931" ä.png', content_type="image/x-mine")
    answer = httpx.get(url)
    assert (answer.status_code, answer.content) == (200, PICTURE)
    assert answer.headers["content-type"] == "image/x-mine"
    disposition = answer.headers["content-disposition"]
    assert disposition.startswith("attachment;")
    assert "filename*=UTF-8''Oma%20%221931%22%20%C3%A4.png" in disposition


@pytest.mark.parametrize(
    "name", ['a"; filename="b.html', "a\r\nContent-Type: text/html", "photo\u202egpj.exe", "../a.png"]
)
def test_no_name_of_a_result_changes_what_the_storage_answers(blobs: BlobStore, ref: ObjectRef, name: str) -> None:
    """Said with the object, and said with the request."""
    blobs.put(ref, PICTURE, content_type="image/png", filename=name)
    for url in (blobs.presign_get(ref), blobs.presign_get(ref, filename=name, content_type="image/png")):
        answer = httpx.get(url)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        assert answer.headers.get_list("content-disposition") == [attachment(name)]


def test_a_presigned_get_is_for_this_object_and_unaltered(blobs: BlobStore, ref: ObjectRef, bucket: str) -> None:
    other = ObjectRef(bucket=bucket, key="secret.png")
    for each in (ref, other):
        blobs.put(each, PICTURE, content_type="image/png")
    url = blobs.presign_get(ref, expires_s=60)
    assert httpx.get(url.replace(urlsplit(url).path, f"/{bucket}/secret.png")).status_code == 403
    assert httpx.get(url.replace("X-Amz-Expires=60", "X-Amz-Expires=600000")).status_code in {400, 403}
    assert httpx.get(url.split("?")[0]).status_code in {400, 403}


def test_a_presigned_put_takes_the_declared_type_and_length_only(blobs: BlobStore, ref: ObjectRef) -> None:
    url = blobs.presign_put(ref, content_type="image/png", size=len(PICTURE))
    signed = parse_qs(urlsplit(url).query)["X-Amz-SignedHeaders"][0].split(";")
    assert {"content-length", "content-type", "host"} <= set(signed)
    assert httpx.put(url, content=PICTURE + b"!", headers={"content-type": "image/png"}).status_code == 403
    assert httpx.put(url, content=PICTURE, headers={"content-type": "text/html"}).status_code == 403
    assert httpx.put(url, content=PICTURE, headers={"content-type": "image/png"}).status_code == 200
    assert blobs.head(ref).size == len(PICTURE)
    assert blobs.get(ref, max_bytes=10**6) == PICTURE


def test_presigned_urls_are_for_the_public_endpoint(jobs_settings: JobsSettings, ref: ObjectRef) -> None:
    public = jobs_settings.model_copy(update={"s3_public_endpoint_url": "https://photos.example.com"})
    store = BlobStore.connect(public)
    for url in (store.presign_get(ref), store.presign_put(ref, content_type="image/png", size=1)):
        assert url.startswith(f"https://photos.example.com/{ref.bucket}/")
    store.put(ref, PICTURE, content_type="image/png")  # our own traffic takes the inner one


def test_wrong_credentials_are_denied(jobs_settings: JobsSettings, ref: ObjectRef) -> None:
    wrong = JobsSettings(**(jobs_settings.model_dump() | {"s3_secret_access_key": "wrong"}))
    store = BlobStore.connect(wrong)
    for call in (store.ping, lambda: store.head(ref), lambda: store.get(ref, max_bytes=9)):
        with pytest.raises(ObjectDenied):
            call()


def test_a_storage_that_does_not_answer_is_unavailable(jobs_settings: JobsSettings, ref: ObjectRef) -> None:
    nobody = f"http://127.0.0.1:{free_ports(1)[0]}"
    store = BlobStore.connect(jobs_settings.model_copy(update={"s3_endpoint_url": nobody}))
    with pytest.raises(StorageUnavailable):
        store.head(ref)


@pytest.fixture
def broken_line(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[int]]]:
    """A server whose bodies end early; how many requests it saw."""
    listener = socket.create_server(("127.0.0.1", 0))
    seen: list[int] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                seen.append(1)
                head = b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nETag: "x"\r\nConnection: close\r\n\r\n'
                connection.sendall(head + b"half of it")

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", seen
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def test_a_body_that_breaks_off_is_read_again_and_never_taken_for_whole(
    jobs_settings: JobsSettings, ref: ObjectRef, broken_line: tuple[str, list[int]]
) -> None:
    url, seen = broken_line
    store = BlobStore.connect(jobs_settings.model_copy(update={"s3_endpoint_url": url}))
    with pytest.raises(StorageUnavailable):
        store.get(ref, max_bytes=10**6)
    assert len(seen) == retrying.TRIES
