"""The Python client against the running API, waiting and as coroutines, also when connections break."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import httpx
import pytest

from jobs.keys import Scope
from jobs.model import JobId, Tenant, TenantId
from jobs.states import JobState
from photomend import AsyncClient, Client
from photomend.client import InvalidRequest, NotAllowed, NotFound, ServiceTrouble, answers, calls
from tests.integration.api.conftest import PNG, Service, make_settings


def end_one(service: Service, data: bytes | None = b"mended") -> threading.Thread:
    """Finishes the first job that comes, soon."""

    def work() -> None:
        while not (page := service.store.list(TenantId("local"), state=JobState.QUEUED)).jobs:
            threading.Event().wait(0.02)
        service.finish(service.claim(page.jobs[0].id), data)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "old.png"
    path.write_bytes(PNG * 3000)
    return path


def test_restore_gives_the_saved_picture_and_what_is_known_of_its_faces(client, full_service, photo, tmp_path):
    worker = end_one(full_service)
    result = client.restore(photo, to=tmp_path / "new.png", scale=1, timeout_s=30)
    worker.join()
    assert result.path.read_bytes() == b"mended"
    assert (result.job.raw["options"]["scale"], [face["id"] for face in result.faces]) == (1, ["g5k2p"])
    assert not result.warnings


def test_the_same_calls_as_coroutines(full_service, serve, photo, tmp_path, monkeypatch):
    monkeypatch.setattr(calls, "DIRECT_UPLOAD_BYTES", 100)
    url, sent = serve(full_service), []

    async def go() -> None:
        async with AsyncClient(url) as client:
            worker = end_one(full_service)
            result = await client.restore(photo, to=tmp_path / "new.png", on_upload=lambda *n: sent.append(n))
            worker.join()
            assert result.path.read_bytes() == b"mended"
            told = [event.kind async for event in client.stream_events(result.job.id)]
            assert told == ["end"]
            assert [job.id async for job in client.list(limit=1)] == [result.job.id]
            assert (await client.get(result.job.id)).is_done
            with pytest.raises(InvalidRequest):
                await client.submit("s3://photos/a.jpg", options={"scale": 99})
            await client.delete(result.job.id)

    asyncio.run(go())
    assert sent[-1] == (len(PNG) * 3000,) * 2
    assert len(sent) > 1


def test_the_two_clients_have_the_same_calls():
    surface = [
        {name for name in vars(cls) if not name.startswith("_")} - {"close", "aclose"} for cls in (Client, AsyncClient)
    ]
    assert surface[0] == surface[1]


def scripted(client: Client, *fates: int | None) -> list[httpx.Request]:
    """The next calls meet these fates: a status, or None for a lost answer; gives every request that was made.

    A lost answer is one that the service gave, and that did not arrive.
    """
    real, seen, left = client._api._transport, [], list(fates)

    class Between(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            seen.append(request)
            fate = left.pop(0) if left else 0
            if isinstance(fate, int) and fate:
                return httpx.Response(fate, headers={"Retry-After": "0"}, json={"code": "store_unavailable"})
            answer = real.handle_request(request)
            if fate is None:
                answer.close()
                raise httpx.ReadError("the connection was cut", request=request)
            return answer

        def close(self) -> None:
            real.close()

    client._api._transport = Between()
    return seen


def test_a_submit_whose_answer_is_lost_is_one_job_all_the_same(client, full_service, monkeypatch):
    monkeypatch.setattr(answers, "FIRST_PAUSE_S", 0.01)
    seen = scripted(client, None)
    job = client.submit("s3://photos/a.jpg")
    assert len(seen) == 2
    assert len({request.headers["Idempotency-Key"] for request in seen}) == 1
    assert [known.id for known in full_service.store.list(TenantId("local")).jobs] == [job.id]


def test_a_call_that_meets_503_is_made_again_and_gives_up_in_time(client, monkeypatch):
    monkeypatch.setattr(answers, "FIRST_PAUSE_S", 0.01)
    seen = scripted(client, 503)
    assert client.models() == ()
    assert len(seen) == 2
    scripted(client, 503, 503)
    with pytest.raises(ServiceTrouble):
        client.models()
    with pytest.raises(NotFound):
        client.get("job_1")


class _CutStream(httpx.SyncByteStream):
    """The first bytes of a stream, up to the end of its first event; then the connection breaks."""

    def __init__(self, whole: httpx.SyncByteStream) -> None:
        self._whole = whole

    def __iter__(self):
        got = b""
        for chunk in self._whole:
            got += chunk
            yield chunk
            if b"event:" in got and got.endswith(b"\n\n"):
                raise httpx.ReadError("the connection was cut")

    def close(self) -> None:
        self._whole.close()


def test_a_stream_of_events_that_breaks_goes_on_where_it_broke(client, full_service, monkeypatch):
    monkeypatch.setattr(answers, "FIRST_PAUSE_S", 0.01)
    job = client.submit("s3://photos/a.jpg")
    real, heads = client._api._transport, []

    class CutOnce(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            heads.append(request.headers.get("Last-Event-ID"))
            answer = real.handle_request(request)
            if len(heads) > 1:
                return answer
            return httpx.Response(answer.status_code, headers=answer.headers, stream=_CutStream(answer.stream))

        def close(self) -> None:
            real.close()

    client._api._transport = CutOnce()
    events = client.stream_events(job.id)
    first = next(events)
    worker = end_one(full_service, data=None)
    told = [first, *events]
    worker.join()
    assert heads == [None, str(first.revision)], "the connection was cut once, and what had been seen was said"
    revisions = [event.revision for event in told]
    assert revisions == sorted(set(revisions))
    assert (told[0].job.status, told[-1].kind) == ("queued", "end")


def test_the_key_comes_from_argument_or_environment_and_never_reaches_the_storage(
    jobs_settings, serve, photo, tmp_path, monkeypatch
):
    service = Service(make_settings(jobs_settings, api_keys_required=True))
    acme = TenantId("acme")
    service.store.set_tenant(Tenant(id=acme))
    key, _ = service.store.keys.create(acme, scopes=tuple(Scope))
    monkeypatch.setenv("PHOTOMEND_API_URL", serve(service))
    with Client() as stranger, pytest.raises(NotAllowed):
        stranger.models()
    monkeypatch.setenv("PHOTOMEND_API_KEY", key)
    monkeypatch.setattr(calls, "DIRECT_UPLOAD_BYTES", 100)
    with Client() as client:
        heads = []
        client._storage.event_hooks["request"].append(lambda request: heads.append(dict(request.headers)))
        job = client.submit(photo)
        service.finish(service.claim(JobId(job.id)), b"mended")
        client.download(job.id, to=tmp_path / "new.png")
    service.store.close()
    assert len(heads) == 2
    assert not any("authorization" in head or key in str(head) for head in heads)
