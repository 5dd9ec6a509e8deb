"""What the client does, step by step and without doing any of it: see ``effects.py``."""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import httpx

from photomend.client import answers
from photomend.client.answers import pause_s, problem
from photomend.client.batch import Batch
from photomend.client.effects import Call, Fetch, Listen, NextLine, Put, Sleep, Steps, Tell
from photomend.client.errors import JobFailed, Unreachable, WaitTimeout
from photomend.client.files import OnUpload, media_type, sha256_of
from photomend.client.job import EventParser, Job, Result

#: Files larger than this go to the storage by a presigned URL, past the API.
DIRECT_UPLOAD_BYTES = 16 * 1024 * 1024
#: The longest that one question for a job's end is held open by the API; well below the timeout of an answer.
HELD_OPEN_S = 10
#: Pauses differ by up to this share, so that callers that failed together do not come again together.
JITTER = 0.25
_PASSING = frozenset({429, 502, 503, 504})
_CALLS = {"restore": "/v1/jobs", "detect": "/v1/detect"}

Kind = Literal["restore", "detect"]
OnProgress = Callable[[Job], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """The calls of a client that repeats what failed for now up to ``retries`` times, within ``retry_for_s``."""

    url: str
    retries: int
    retry_for_s: float

    def call(self, method: str, path: str, **words: Any) -> Steps[httpx.Response]:
        """The answer, after repeats where the fault may pass. Everything that we send is safe to repeat."""
        give_up_at = time.monotonic() + self.retry_for_s
        attempt = 0
        while True:
            answer: httpx.Response | None = None
            try:
                answer = yield Call(method=method, path=path, words=words)
            except httpx.TransportError as err:
                fault: Exception = Unreachable(f"{self.url} does not answer: {err}")
                fault.__cause__ = err
            else:
                if not answer.is_error:
                    return answer
                fault = problem(answer)
                if answer.status_code not in _PASSING:
                    raise fault
            pause = pause_s(answer, attempt) * (1 + random.random() * JITTER)  # noqa: S311 (spreads load, no secret)
            if attempt >= self.retries or time.monotonic() + pause > give_up_at:
                raise fault
            yield Sleep(pause)
            attempt += 1

    def submit(
        self,
        source: str | Path,
        wishes: Mapping[str, Any],
        *,
        kind: Kind,
        idempotency_key: str | None,
        on_upload: OnUpload | None,
    ) -> Steps[Job]:
        # Made once: all repeats are one job.
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        said = {name: value for name, value in wishes.items() if value is not None}
        call = _CALLS[kind]
        if str(source).startswith(("s3://", "http://", "https://")):
            answer = yield from self.call("POST", call, json={"input": str(source), **said}, headers=headers)
            return Job.from_json(answer.json())
        path = Path(source)
        if path.stat().st_size > DIRECT_UPLOAD_BYTES:
            upload_id = yield from self.upload(path, on_upload=on_upload)
            answer = yield from self.call("POST", call, json={"upload_id": upload_id, **said}, headers=headers)
            return Job.from_json(answer.json())
        # Small by now: read once, so that a repeat sends the same bytes.
        data = path.read_bytes()
        files: dict[str, Any] = {"request": (None, json.dumps(said), "application/json"), "file": (path.name, data)}
        answer = yield from self.call("POST", call, files=files, headers=headers)
        if on_upload is not None:
            on_upload(len(data), len(data))
        return Job.from_json(answer.json())

    def upload(self, path: str | Path, *, on_upload: OnUpload | None) -> Steps[str]:
        file = Path(path)
        said = {
            "content_type": media_type(file),
            "size": file.stat().st_size,
            "filename": file.name,
            "sha256": sha256_of(file),
        }
        place = (yield from self.call("POST", "/v1/uploads", json=said)).json()
        try:
            answer = yield Put(url=place["url"], headers=place["headers"], file=file, on_upload=on_upload)
        except httpx.TransportError as err:
            raise Unreachable(f"the storage at {httpx.URL(place['url']).host} does not answer: {err}") from err
        if not answer.is_success:
            raise Unreachable(f"the storage does not take the file: it answers {answer.status_code}")
        return str(place["upload_id"])

    def job(self, method: str, path: str) -> Steps[Job]:
        answer = yield from self.call(method, path)
        return Job.from_json(answer.json())

    def delete(self, job_id: str) -> Steps[None]:
        yield from self.call("DELETE", f"/v1/jobs/{job_id}")

    def models(self) -> Steps[tuple[dict[str, Any], ...]]:
        answer = yield from self.call("GET", "/v1/models")
        return tuple(answer.json()["models"])

    def pages(self, query: Mapping[str, Any]) -> Steps[None]:
        query = dict(query)
        while True:
            page = (yield from self.call("GET", "/v1/jobs", params=query)).json()
            for said in page["jobs"]:
                yield Tell(Job.from_json(said))
            if page["next_cursor"] is None:
                return
            query["cursor"] = page["next_cursor"]

    def wait(self, job_id: str, *, timeout_s: float | None, on_progress: OnProgress | None) -> Steps[Job]:
        give_up_at = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        tag = ""
        while True:
            left = give_up_at - time.monotonic()
            headers = {"If-None-Match": tag} if tag else {}
            # Whoever wants to hear of progress asks often; else the API answers as soon as it has ended.
            held_s = 0 if on_progress is not None else int(max(0.0, min(HELD_OPEN_S, left)))
            if held_s:
                headers["Prefer"] = f"wait={held_s}"
            answer = yield from self.call("GET", f"/v1/jobs/{job_id}", headers=headers)
            if answer.status_code != httpx.codes.NOT_MODIFIED:
                tag = answer.headers.get("ETag", "")
                job = Job.from_json(answer.json())
                if on_progress is not None:
                    on_progress(job)
                if job.status == "succeeded":
                    return job
                if job.is_done:
                    raise JobFailed(job)
            left = give_up_at - time.monotonic()
            if left <= 0:
                raise WaitTimeout(f"{job_id} has not ended within {timeout_s:g} s; it goes on")
            if "Preference-Applied" not in answer.headers:
                yield Sleep(min(answers.FIRST_PAUSE_S, left))

    def events(self, job_id: str, *, after: int | None) -> Steps[None]:
        seen, failures = after, 0
        while True:
            try:
                answer = yield Listen(
                    path=f"/v1/jobs/{job_id}/events",
                    headers={"Accept": "text/event-stream"} | ({} if seen is None else {"Last-Event-ID": str(seen)}),
                )
                if answer.status_code == httpx.codes.NO_CONTENT:
                    return
                if answer.is_error:
                    raise problem(answer)
                parser = EventParser()
                while (line := (yield NextLine())) is not None:
                    event = parser.feed(line)
                    if event is None:
                        continue
                    yield Tell(event)
                    seen, failures = event.revision, 0
                    if event.kind == "end":
                        return
            except httpx.TransportError as err:
                failures += 1
                if failures > self.retries:
                    raise Unreachable(f"{self.url} does not answer: {err}") from err
            yield Sleep(answers.FIRST_PAUSE_S)

    def submit_batch(self, wishes: Mapping[str, Any], *, idempotency_key: str | None) -> Steps[Batch]:
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        answer = yield from self.call("POST", "/v1/batches", json=dict(wishes), headers=headers)
        return Batch.from_json(answer.json())

    def batch(self, method: str, path: str) -> Steps[Batch]:
        answer = yield from self.call(method, path)
        return Batch.from_json(answer.json())

    def batch_pages(self, *, limit: int) -> Steps[None]:
        query: dict[str, Any] = {"limit": limit}
        while True:
            page = (yield from self.call("GET", "/v1/batches", params=query)).json()
            for said in page["batches"]:
                yield Tell(Batch.from_json(said))
            if page["next_cursor"] is None:
                return
            query["cursor"] = page["next_cursor"]

    def batch_items(self, batch_id: str, *, status: str, limit: int) -> Steps[None]:
        yield from self._items(f"/v1/batches/{batch_id}/items", {"status": status, "limit": limit})

    def review_queue(self, batch_id: str, *, decision: str, limit: int) -> Steps[None]:
        yield from self._items(f"/v1/batches/{batch_id}/review", {"decision": decision, "limit": limit})

    def review_sheet(self, batch_id: str, *, decision: str) -> Steps[str]:
        answer = yield from self.call("GET", f"/v1/batches/{batch_id}/review.csv", params={"decision": decision})
        return answer.text

    def decide_item(self, batch_id: str, number: int, words: Mapping[str, str]) -> Steps[dict[str, Any]]:
        path = f"/v1/batches/{batch_id}/items/{number}/review"
        found: dict[str, Any] = (yield from self.call("POST", path, json=dict(words))).json()
        return found

    def redo_items(
        self, batch_id: str, items: Sequence[Mapping[str, Any]], *, by: str, idempotency_key: str | None
    ) -> Steps[Batch]:
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        words = {"items": [dict(one) for one in items], "by": by}
        answer = yield from self.call("POST", f"/v1/batches/{batch_id}/redo", json=words, headers=headers)
        return Batch.from_json(answer.json())

    def _items(self, path: str, query: dict[str, Any]) -> Steps[None]:
        while True:
            page = (yield from self.call("GET", path, params=query)).json()
            for said in page["items"]:
                yield Tell(said)
            if page["next_cursor"] is None:
                return
            query["cursor"] = page["next_cursor"]

    def download_report(self, batch_id: str, *, to: str | Path, file: str) -> Steps[Path]:
        return (yield from self._led_to(f"/v1/batches/{batch_id}/report", {"file": file}, to=to, what=batch_id))

    def download(self, job_id: str, *, to: str | Path, part: str) -> Steps[Path]:
        return (yield from self._led_to(f"/v1/jobs/{job_id}/result", {"part": part}, to=to, what=f"{part} of {job_id}"))

    def _led_to(self, path: str, query: Mapping[str, str], *, to: str | Path, what: str) -> Steps[Path]:
        headers = {"Accept": "*/*"}  # JSON would be told the address instead of being led there
        answer = yield from self.call("GET", path, params=dict(query), headers=headers)
        url, target = answer.headers["Location"], Path(to)
        try:
            status = yield Fetch(url=url, to=target)
        except httpx.TransportError as err:
            raise Unreachable(f"the storage at {httpx.URL(url).host} does not answer: {err}") from err
        if not httpx.codes.is_success(status):
            raise Unreachable(f"the storage answers {status} for {what}")
        return target

    def restore(
        self,
        source: str | Path,
        options: Mapping[str, Any],
        *,
        to: str | Path,
        timeout_s: float | None,
        on_upload: OnUpload | None,
        on_progress: OnProgress | None,
    ) -> Steps[Result]:
        wishes = {"options": dict(options) or None}
        job = yield from self.submit(source, wishes, kind="restore", idempotency_key=None, on_upload=on_upload)
        job = yield from self.wait(job.id, timeout_s=timeout_s, on_progress=on_progress)
        path = yield from self.download(job.id, to=to, part="image")
        return Result(job=job, path=path)

    def detect(self, source: str | Path, options: Mapping[str, Any] | None, *, timeout_s: float | None) -> Steps[Job]:
        wishes = {"options": dict(options) if options else None}
        job = yield from self.submit(source, wishes, kind="detect", idempotency_key=None, on_upload=None)
        return (yield from self.wait(job.id, timeout_s=timeout_s, on_progress=None))


def list_query(
    *, status: str | None, created_after: datetime | None, created_before: datetime | None, limit: int
) -> dict[str, Any]:
    """Which jobs, as the API takes it."""
    times = {"created_after": created_after, "created_before": created_before}
    said = {name: time.astimezone(UTC).isoformat() for name, time in times.items() if time is not None}
    return {"limit": limit, **said} | ({} if status is None else {"status": status})


def wishes_of(
    *,
    options: Mapping[str, Any] | None,
    priority: str | None,
    deadline_s: float | None,
    callback_url: str | None,
    callback_events: Sequence[str] | None,
    metadata: Mapping[str, str] | None,
) -> dict[str, Any]:
    """Everything about a job but its picture, as the API takes it."""
    callback: dict[str, Any] | None = None if callback_url is None else {"url": callback_url}
    if callback is not None and callback_events is not None:
        callback["events"] = list(callback_events)
    return {
        "options": dict(options) if options else None,
        "priority": priority,
        "deadline_s": deadline_s,
        "callback": callback,
        "metadata": dict(metadata) if metadata else None,
    }
