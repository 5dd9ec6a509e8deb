"""One service, spoken to over HTTP: calls with repeats, jobs, uploads and downloads."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from photomend import DEFAULT_URL
from photomend.client.errors import JobFailed, ProblemError, Unreachable, WaitTimeout
from photomend.client.files import CHUNK_BYTES, OnUpload, chunks, media_type, write_whole
from photomend.client.job import Event, Job, parse_events

#: Files larger than this go to the storage by a presigned URL, past the API.
DIRECT_UPLOAD_BYTES = 16 * 1024 * 1024
#: How often a call that met a passing fault is made again, and the first pause; it doubles.
RETRIES = 3
FIRST_PAUSE_S = 0.5
#: No pause is longer, whatever a server asks for.
LONGEST_PAUSE_S = 30.0
_PASSING = frozenset({429, 502, 503, 504})


class Client:
    """A connection to one service. Not shared between threads; close it, or use it with ``with``."""

    def __init__(
        self, url: str = DEFAULT_URL, *, api_key: str | None = None, timeout_s: float = 30.0, retries: int = RETRIES
    ) -> None:
        headers = {"Accept": "application/json", "User-Agent": "photomend-python"}
        if api_key is not None:
            headers["Authorization"] = f"Bearer {api_key}"
        self._api = httpx.Client(base_url=url, headers=headers, timeout=timeout_s)
        # The storage gets neither our key nor our cookies.
        self._storage = httpx.Client(timeout=timeout_s, headers={"User-Agent": "photomend-python"})
        self._retries = retries

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._api.close()
        self._storage.close()

    # -- jobs

    def submit(
        self,
        source: str | Path,
        *,
        options: Mapping[str, Any] | None = None,
        priority: str | None = None,
        deadline_s: float | None = None,
        callback_url: str | None = None,
        callback_events: Sequence[str] | None = None,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        on_upload: OnUpload | None = None,
    ) -> Job:
        """Submit a file, or an ``s3://bucket/key`` that the service can read.

        The call may be repeated by itself after a passing fault; a key makes all repeats one job.
        ``on_upload(sent, total)`` counts the bytes of a file.

        Raises:
            FileNotFoundError: there is no such file.
            ProblemError: the service refuses.
            Unreachable: no answer.
        """
        callback: dict[str, Any] | None = None if callback_url is None else {"url": callback_url}
        if callback is not None and callback_events is not None:
            callback["events"] = list(callback_events)
        said = {
            "options": dict(options) if options else None,
            "priority": priority,
            "deadline_s": deadline_s,
            "callback": callback,
            "metadata": dict(metadata) if metadata else None,
        }
        wishes = {name: value for name, value in said.items() if value is not None}
        key = idempotency_key or str(uuid.uuid4())
        if str(source).startswith("s3://"):
            return self._submit_json({"input": str(source), **wishes}, key)
        path = Path(source)
        if path.stat().st_size > DIRECT_UPLOAD_BYTES:
            return self._submit_json({"upload_id": self.upload(path, on_upload=on_upload), **wishes}, key)
        return self._submit_file(path, wishes, key, on_upload)

    def get(self, job_id: str) -> Job:
        """The job as it is now.

        Raises:
            ProblemError: ``job_not_found``, or the service is in trouble.
            Unreachable: no answer.
        """
        return Job.from_json(self._call("GET", f"/v1/jobs/{job_id}").json())

    def list(self, *, status: str | None = None, limit: int = 50) -> Iterator[Job]:
        """All jobs, newest first, page by page as they are asked for."""
        query: dict[str, Any] = {"limit": limit} | ({} if status is None else {"status": status})
        while True:
            page = self._call("GET", "/v1/jobs", params=query).json()
            yield from map(Job.from_json, page["jobs"])
            if page["next_cursor"] is None:
                return
            query["cursor"] = page["next_cursor"]

    def cancel(self, job_id: str) -> Job:
        """Ask for an end; a job that has ended stays as it is."""
        return Job.from_json(self._call("POST", f"/v1/jobs/{job_id}/cancel").json())

    def delete(self, job_id: str) -> None:
        """Remove everything stored for a finished job."""
        self._call("DELETE", f"/v1/jobs/{job_id}")

    def models(self) -> tuple[dict[str, Any], ...]:
        """The models that workers have at hand."""
        return tuple(self._call("GET", "/v1/models").json()["models"])

    def wait(
        self,
        job_id: str,
        *,
        timeout_s: float | None = None,
        on_progress: Callable[[Job], None] | None = None,
    ) -> Job:
        """The job once it has succeeded; ``on_progress`` hears of every change before that.

        Raises:
            JobFailed: it ended otherwise; ``.job`` has its record, ``.code`` the reason.
            WaitTimeout: it has not ended in ``timeout_s``.
            ProblemError: the service refuses.
            Unreachable: no answer.
        """
        deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        for job in self._changes(job_id, deadline):
            if on_progress is not None:
                on_progress(job)
            if job.status == "succeeded":
                return job
            if job.is_done:
                raise JobFailed(job)
        raise WaitTimeout(f"{job_id} has not ended within {timeout_s:g} s; it goes on")

    def events(self, job_id: str, *, after: int | None = None) -> Iterator[Event]:
        """The job's events as they happen; ends after ``end``. Reconnects by itself and misses no state.

        Raises:
            ProblemError: the service refuses.
            Unreachable: no answer, several times in a row.
        """
        seen, failures = after, 0
        while True:
            try:
                with self._open_events(job_id, seen) as answer:
                    if answer.status_code == httpx.codes.NO_CONTENT:
                        return
                    for event in parse_events(answer.iter_lines()):
                        yield event
                        seen, failures = event.revision, 0
                        if event.kind == "end":
                            return
            except httpx.TransportError as err:
                failures += 1
                if failures > self._retries:
                    raise Unreachable(f"{self._api.base_url} does not answer: {err}") from err
            time.sleep(FIRST_PAUSE_S)

    def download(self, job_id: str, *, to: str | Path, part: str = "image") -> Path:
        """Fetch one part of the result into the file ``to``; it appears whole or not at all.

        Raises:
            ProblemError: there is no such result.
            Unreachable: no answer.
        """
        answer = self._call("GET", f"/v1/jobs/{job_id}/result", params={"part": part})
        url = answer.headers["Location"]
        target = Path(to)
        try:
            with self._storage.stream("GET", url) as body:
                if not body.is_success:
                    raise Unreachable(f"the storage answers {body.status_code} for {part} of {job_id}")
                write_whole(target, body.iter_bytes(CHUNK_BYTES))
        except httpx.TransportError as err:
            raise Unreachable(f"the storage at {httpx.URL(url).host} does not answer: {err}") from err
        return target

    def upload(self, path: str | Path, *, on_upload: OnUpload | None = None) -> str:
        """Send a file to the storage by a presigned URL; its upload id.

        Raises:
            UnsupportedFile: not a picture that the service reads.
            ProblemError: the service refuses.
            Unreachable: no answer.
        """
        file = Path(path)
        said = {"content_type": media_type(file), "size": file.stat().st_size, "filename": file.name}
        place = self._call("POST", "/v1/uploads", json=said).json()
        try:
            answer = self._storage.put(place["url"], headers=place["headers"], content=chunks(file, on_upload))
        except httpx.TransportError as err:
            raise Unreachable(f"the storage at {httpx.URL(place['url']).host} does not answer: {err}") from err
        if not answer.is_success:
            raise Unreachable(f"the storage does not take the file: it answers {answer.status_code}")
        upload_id: str = place["upload_id"]
        return upload_id

    # -- ours

    def _submit_json(self, words: Mapping[str, Any], key: str) -> Job:
        return Job.from_json(self._call("POST", "/v1/jobs", json=words, headers={"Idempotency-Key": key}).json())

    def _submit_file(self, path: Path, wishes: Mapping[str, Any], key: str, on_upload: OnUpload | None) -> Job:
        # Small by now: read once, so that a repeat sends the same bytes.
        data = path.read_bytes()
        files: dict[str, Any] = {"request": (None, json.dumps(wishes), "application/json"), "file": (path.name, data)}
        answer = self._call("POST", "/v1/jobs", files=files, headers={"Idempotency-Key": key})
        if on_upload is not None:
            on_upload(len(data), len(data))
        return Job.from_json(answer.json())

    def _changes(self, job_id: str, deadline: float) -> Iterator[Job]:
        """The job, then again whenever its record has changed, until it has ended or the time is up."""
        tag = ""
        while True:
            answer = self._call("GET", f"/v1/jobs/{job_id}", headers={"If-None-Match": tag} if tag else {})
            if answer.status_code != httpx.codes.NOT_MODIFIED:
                tag = answer.headers.get("ETag", "")
                yield Job.from_json(answer.json())
            left = deadline - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(FIRST_PAUSE_S, left))

    @contextlib.contextmanager
    def _open_events(self, job_id: str, after: int | None) -> Iterator[httpx.Response]:
        headers = {"Accept": "text/event-stream"} | ({} if after is None else {"Last-Event-ID": str(after)})
        # Comments break the silence between events well within the client's timeout.
        with self._api.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as answer:
            if answer.is_error:
                answer.read()
                raise _problem(answer)
            yield answer

    def _call(self, method: str, path: str, **words: Any) -> httpx.Response:
        """The answer, after repeats where the fault may pass. Everything we send is safe to repeat.

        Raises:
            ProblemError: the service refuses.
            Unreachable: no answer.
        """
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                answer = self._api.request(method, path, **words)
            except httpx.TransportError as err:
                if last:
                    raise Unreachable(f"{self._api.base_url} does not answer: {err}") from err
                time.sleep(_pause(None, attempt))
                continue
            if not answer.is_error:
                return answer
            if last or answer.status_code not in _PASSING:
                raise _problem(answer)
            time.sleep(_pause(answer, attempt))
        raise AssertionError("the last attempt returns or raises")


def _problem(answer: httpx.Response) -> ProblemError:
    try:
        said = answer.json()
    except ValueError:
        said = None
    if not isinstance(said, dict):
        said = {}
    return ProblemError(
        status=answer.status_code,
        code=said.get("code", f"http_{answer.status_code}"),
        title=said.get("title", f"The service answers {answer.status_code}"),
        detail=said.get("detail", "This is not a photomend answer; check the address."),
        pointer=said.get("pointer"),
    )


def _pause(answer: httpx.Response | None, attempt: int) -> float:
    asked = "" if answer is None else answer.headers.get("Retry-After", "")
    own = float(FIRST_PAUSE_S * 2**attempt)
    return min(LONGEST_PAUSE_S, max(own, float(asked))) if asked.isdigit() else own
