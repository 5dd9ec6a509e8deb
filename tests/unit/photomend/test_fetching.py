"""Weights are fetched whole and right, or not at all; an interrupted download is continued."""

from __future__ import annotations

import dataclasses
import hashlib

import httpx
import pytest
from typer.testing import CliRunner

from photomend.cli import app
from photomend.fetching import FetchError, fetch
from pipeline.weights import Kind, WeightEntry, WeightStore

DATA = bytes(range(256)) * 4096
ENTRY = WeightEntry(
    name="mine",
    kind=Kind.UPSAMPLER,
    file="mine.pth",
    architecture="srvgg",
    licence="MIT",
    url="https://example.org/releases/mine.pth",
    sha256=hashlib.sha256(DATA).hexdigest(),
    bytes=len(DATA),
)


class Server:
    """A release page that may break off, ignore ranges, or hand out something else."""

    def __init__(self, *, data=DATA, breaks_at=None, ranges=True, status=200):
        self.data, self.breaks_at, self.ranges, self.status = data, breaks_at, ranges, status
        self.asked: list[str | None] = []

    def __call__(self, request):
        asked = request.headers.get("Range")
        self.asked.append(asked)
        if self.status != 200:
            return httpx.Response(self.status)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.ranges else 0
        body = self.data[start:]
        status = 206 if asked and self.ranges else 200
        return httpx.Response(status, headers={"Content-Length": str(len(body))}, stream=Body(body, self.breaks_at))

    def client(self):
        return httpx.Client(transport=httpx.MockTransport(self), follow_redirects=True)


class Body(httpx.SyncByteStream):
    def __init__(self, body, breaks_at):
        self.body, self.breaks_at = body, breaks_at

    def __iter__(self):
        if self.breaks_at is None:
            yield self.body
            return
        yield self.body[: self.breaks_at]
        raise httpx.ReadError("connection reset")


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_file_arrives_whole_under_its_name_and_progress_is_told(tmp_path):
    told = []
    digest = fetch(ENTRY, tmp_path / "new", client=Server().client(), on_progress=lambda d, t: told.append((d, t)))
    assert digest == ENTRY.sha256
    assert (tmp_path / "new" / "mine.pth").read_bytes() == DATA
    assert names(tmp_path / "new") == ["mine.pth"]
    assert told[-1] == (len(DATA), len(DATA))


def test_an_interrupted_download_is_continued_where_it_broke_off(tmp_path):
    with pytest.raises(FetchError, match=r"after 524,288 bytes .*call again to continue"):
        fetch(ENTRY, tmp_path, client=Server(breaks_at=524_288).client())
    assert names(tmp_path) == [".mine.pth.part"]
    server = Server()
    fetch(ENTRY, tmp_path, client=server.client())
    assert server.asked == ["bytes=524288-"]
    assert (tmp_path / "mine.pth").read_bytes() == DATA


def test_a_server_that_knows_no_ranges_starts_anew(tmp_path):
    (tmp_path / ".mine.pth.part").write_bytes(b"x" * 1000)
    fetch(ENTRY, tmp_path, client=Server(ranges=False).client())
    assert (tmp_path / "mine.pth").read_bytes() == DATA


def test_another_content_is_deleted_and_never_appears(tmp_path):
    with pytest.raises(FetchError, match="deleted"):
        fetch(ENTRY, tmp_path, client=Server(data=DATA[::-1]).client())
    assert names(tmp_path) == []


def test_a_short_answer_is_not_taken_for_the_file(tmp_path):
    with pytest.raises(FetchError, match="call again to continue"):
        fetch(ENTRY, tmp_path, client=Server(data=DATA[:1000]).client())
    assert names(tmp_path) == [".mine.pth.part"]


@pytest.mark.parametrize("status", [404, 403, 500])
def test_a_refusing_server_is_said(tmp_path, status):
    with pytest.raises(FetchError, match=str(status)):
        fetch(ENTRY, tmp_path, client=Server(status=status).client())
    assert names(tmp_path) == []


def test_a_redirect_to_plain_http_is_refused(tmp_path):
    def lead_astray(request):
        if request.url.scheme == "https":
            return httpx.Response(302, headers={"Location": "http://example.org/mine.pth"})
        return httpx.Response(200, content=DATA)

    with pytest.raises(FetchError, match="leads to http"):
        fetch(ENTRY, tmp_path, client=httpx.Client(transport=httpx.MockTransport(lead_astray), follow_redirects=True))
    assert names(tmp_path) == []


def test_a_file_without_a_published_hash_needs_trust_and_is_checked_ever_after(tmp_path):
    unpublished = dataclasses.replace(ENTRY, sha256=None, bytes=None)
    with pytest.raises(FetchError, match="--trust-first-use"):
        fetch(unpublished, tmp_path, client=Server().client())
    fetch(unpublished, tmp_path, client=Server().client(), trust_first_use=True)
    store = WeightStore(tmp_path)
    assert store.verify("mine") == ENTRY.sha256
    assert "trusted on first use" in store.find("mine").label


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FetchError, match="cannot write"):
        fetch(ENTRY, tmp_path / "file" / "below", client=Server().client())


def run(*words):
    return CliRunner().invoke(app, ["models", *map(str, words)])


def test_the_list_names_every_file_with_its_state(tmp_path):
    result = run("list", "--weights-dir", tmp_path)
    assert result.exit_code == 0
    for word in ("gfpgan-1.4", "retinaface-resnet50", "preview-detector", "here", "not here", str(tmp_path)):
        assert word in result.output


def test_verify_fails_on_a_damaged_file_and_names_it(tmp_path):
    assert run("verify", "--weights-dir", tmp_path).exit_code == 0
    (tmp_path / "GFPGANv1.4.pth").write_bytes(b"not it")
    result = run("verify", "--weights-dir", tmp_path)
    assert result.exit_code == 1
    assert "GFPGANv1.4.pth" in result.output
    assert "ok  preview" in result.output


def test_an_unknown_name_is_refused_before_anything_is_fetched(tmp_path):
    result = run("fetch", "gfpgan-1.4", "gfpgan-17", "--weights-dir", tmp_path)
    assert result.exit_code == 1
    assert "photomend models list" in result.output
    assert names(tmp_path) == []
