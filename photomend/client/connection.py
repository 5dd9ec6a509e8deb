"""One service, spoken to over HTTP, by a program that waits: what the calls do is in ``calls.py``."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from photomend.client.batch import Batch, Change, Decided, Decision, ItemStatus, ReportFile
from photomend.client.calls import Calls, Kind, OnProgress, list_query, wishes_of
from photomend.client.effects import Call, Effect, Fetch, Listen, NextLine, Put, Sleep, Steps, T, Tell
from photomend.client.files import CHUNK_BYTES, OnUpload, chunks, written_whole
from photomend.client.job import Event, Job, Result
from photomend.client.settings import chosen_key, chosen_url

#: How often, and for how long in all, a call that met a passing fault is made again.
RETRIES = 5
RETRY_FOR_S = 60.0
_AGENT = {"User-Agent": "photomend-python"}


class Client:
    """A connection to one service. Not shared between threads; close it, or use it with ``with``.

    Example::

        with Client() as client:
            result = client.restore("old.jpg", to="mended.jpg", scale=2)
            print(result.path, len(result.faces), result.warnings)
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        retries: int = RETRIES,
        retry_for_s: float = RETRY_FOR_S,
    ) -> None:
        """A client of the service at ``url``; nothing is sent yet.

        ``url`` and ``api_key`` come from ``PHOTOMEND_API_URL`` and ``PHOTOMEND_API_KEY`` where they are not given.
        ``timeout_s``: longest silence of the service; ``retries``, ``retry_for_s``: how often and for how long a call
        that met a passing fault is made again.
        """
        base, key = chosen_url(url), chosen_key(api_key)
        headers = {"Accept": "application/json", **_AGENT}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        self._api = httpx.Client(base_url=base, headers=headers, timeout=timeout_s)
        # The storage gets neither our key nor our cookies.
        self._storage = httpx.Client(timeout=timeout_s, headers=_AGENT)
        self._calls = Calls(url=base, retries=retries, retry_for_s=retry_for_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._api.close()
        self._storage.close()

    def restore(
        self,
        source: str | Path,
        *,
        to: str | Path,
        timeout_s: float | None = None,
        on_upload: OnUpload | None = None,
        on_progress: OnProgress | None = None,
        **options: Any,
    ) -> Result:
        """Submit a picture, wait for it and save the restored one as ``to``; ``options`` are those of the README.

        Raises:
            JobFailed, WaitTimeout: see ``wait``.
            FileNotFoundError, ProblemError, Unreachable: see ``submit``.
        """
        steps = self._calls.restore(
            source, options, to=to, timeout_s=timeout_s, on_upload=on_upload, on_progress=on_progress
        )
        return self._done(steps)

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
        kind: Kind = "restore",
    ) -> Job:
        """Submit a file, or an ``s3://bucket/key`` that the service can read.

        The call may be repeated by itself after a passing fault; a key makes all repeats one job.
        ``on_upload(sent, total)`` counts the bytes of a file. A job of the kind ``detect`` only finds faces.

        Raises:
            FileNotFoundError: there is no such file.
            ProblemError: the service refuses.
            Unreachable: no answer.
        """
        wishes = wishes_of(
            options=options,
            priority=priority,
            deadline_s=deadline_s,
            callback_url=callback_url,
            callback_events=callback_events,
            metadata=metadata,
        )
        steps = self._calls.submit(source, wishes, kind=kind, idempotency_key=idempotency_key, on_upload=on_upload)
        return self._done(steps)

    def detect(
        self, source: str | Path, *, options: Mapping[str, Any] | None = None, timeout_s: float | None = None
    ) -> Job:
        """Find the faces in a picture and wait for them: the ended job, whose ``faces`` have what ``faces`` takes.

        To submit one and go on, say ``submit(source, kind="detect")``.

        Raises:
            JobFailed, WaitTimeout: see ``wait``.
            FileNotFoundError, ProblemError, Unreachable: see ``submit``.
        """
        return self._done(self._calls.detect(source, options, timeout_s=timeout_s))

    def get(self, job_id: str) -> Job:
        """The job as it is now.

        Raises:
            ProblemError: ``job_not_found``, or the service is in trouble.
            Unreachable: no answer.
        """
        return self._done(self._calls.job("GET", f"/v1/jobs/{job_id}"))

    def list(
        self,
        *,
        status: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        limit: int = 50,
    ) -> Iterator[Job]:
        """All jobs, newest first, page by page as they are asked for; ``limit`` to a page.

        Args:
            status: only these.
            created_after: only those submitted then or later; a time without a zone is local.
            created_before: only those submitted before then.
            limit: jobs of one page.
        """
        query = list_query(status=status, created_after=created_after, created_before=created_before, limit=limit)
        return self._told(self._calls.pages(query))

    def cancel(self, job_id: str) -> Job:
        """Ask for an end; a job that has ended stays as it is."""
        return self._done(self._calls.job("POST", f"/v1/jobs/{job_id}/cancel"))

    def delete(self, job_id: str) -> None:
        """Remove everything stored for a finished job."""
        self._done(self._calls.delete(job_id))

    def models(self) -> tuple[dict[str, Any], ...]:
        """The models that workers have at hand."""
        return self._done(self._calls.models())

    def wait(self, job_id: str, *, timeout_s: float | None = None, on_progress: OnProgress | None = None) -> Job:
        """The job once it has succeeded; ``on_progress`` hears of every change before that.

        Raises:
            JobFailed: it ended otherwise; ``.job`` has its record, ``.code`` the reason.
            WaitTimeout: it has not ended in ``timeout_s``.
            ProblemError: the service refuses.
            Unreachable: no answer.
        """
        return self._done(self._calls.wait(job_id, timeout_s=timeout_s, on_progress=on_progress))

    def stream_events(self, job_id: str, *, after: int | None = None) -> Iterator[Event]:
        """The job's events as they happen; ends after ``end``. Reconnects by itself and misses no state.

        Raises:
            ProblemError: the service refuses.
            Unreachable: no answer, several times in a row.
        """
        return self._told(self._calls.events(job_id, after=after))

    def download(self, job_id: str, *, to: str | Path, part: str = "image") -> Path:
        """Fetch one part of the result into the file ``to``; it appears whole or not at all.

        Raises:
            ProblemError: there is no such result.
            Unreachable: no answer.
        """
        return self._done(self._calls.download(job_id, to=to, part=part))

    def upload(self, path: str | Path, *, on_upload: OnUpload | None = None) -> str:
        """Send a file to the storage by a presigned URL; its upload id.

        Raises:
            UnsupportedFile: not a picture that the service reads.
            ProblemError: the service refuses.
            Unreachable: no answer.
        """
        return self._done(self._calls.upload(path, on_upload=on_upload))

    def submit_batch(self, wishes: Mapping[str, Any], *, idempotency_key: str | None = None) -> Batch:
        """Submit many pictures; ``wishes`` as in ``POST /v1/batches``: manifest or prefix, output, options and so on.

        Raises:
            ProblemError: the service refuses.
            Unreachable: no answer.
        """
        return self._done(self._calls.submit_batch(wishes, idempotency_key=idempotency_key))

    def get_batch(self, batch_id: str) -> Batch:
        """The batch as it is now.

        Raises:
            ProblemError: ``batch_not_found``, or the service is in trouble.
            Unreachable: no answer.
        """
        return self._done(self._calls.batch("GET", f"/v1/batches/{batch_id}"))

    def list_batches(self, *, limit: int = 50) -> Iterator[Batch]:
        """All batches, newest first, page by page as they are asked for."""
        return self._told(self._calls.batch_pages(limit=limit))

    def change_batch(self, batch_id: str, change: Change) -> Batch:
        """Pause, resume or cancel a batch, or try its failed items again.

        Raises:
            ProblemError: ``illegal_state``: not in the state that it is in.
            Unreachable: no answer.
        """
        return self._done(self._calls.batch("POST", f"/v1/batches/{batch_id}/{change}"))

    def batch_items(
        self, batch_id: str, *, status: ItemStatus = "failed", limit: int = 200
    ) -> Iterator[Mapping[str, Any]]:
        """Items of one kind, in the manifest's order, page by page as they are asked for."""
        return self._told(self._calls.batch_items(batch_id, status=status, limit=limit))

    def review_queue(
        self, batch_id: str, *, decision: Decided = "pending", limit: int = 200
    ) -> Iterator[Mapping[str, Any]]:
        """Items that a person should look at, with what was decided, page by page as they are asked for."""
        return self._told(self._calls.review_queue(batch_id, decision=decision, limit=limit))

    def review_sheet(self, batch_id: str, *, decision: Decided = "all") -> str:
        """The same as the text of a CSV file, with columns for decisions.

        Raises:
            ProblemError: ``batch_not_found``, or the service is in trouble.
            Unreachable: no answer.
        """
        return self._done(self._calls.review_sheet(batch_id, decision=decision))

    def decide_item(
        self, batch_id: str, number: int, decision: Decision, *, by: str = "", note: str = ""
    ) -> Mapping[str, Any]:
        """Write down what a person decided about a result; its row with all decisions.

        Raises:
            ProblemError: ``item_not_found``, or ``illegal_state``: it has no result.
            Unreachable: no answer.
        """
        words = {"decision": decision, "by": by, "note": note}
        return self._done(self._calls.decide_item(batch_id, number, words))

    def redo_items(
        self,
        batch_id: str,
        items: Sequence[Mapping[str, Any]],
        *,
        by: str = "",
        idempotency_key: str | None = None,
    ) -> Batch:
        """Make results once more in another way: a new batch, whose results are versions beside those that are there.

        Args:
            batch_id: whose results.
            items: of each ``number`` (of the manifest's line, from 1) and ``options`` in place of its own.
            by: who decided; the older versions are marked as rejected.
            idempotency_key: the same one again is the same batch.

        Raises:
            ProblemError: ``item_not_found``, ``illegal_state``, ``invalid_option``.
            Unreachable: no answer.
        """
        return self._done(self._calls.redo_items(batch_id, items, by=by, idempotency_key=idempotency_key))

    def download_report(self, batch_id: str, *, to: str | Path, file: ReportFile = "csv") -> Path:
        """Fetch the completion report into the file ``to``; it appears whole or not at all.

        Raises:
            ProblemError: it has not ended.
            Unreachable: no answer.
        """
        return self._done(self._calls.download_report(batch_id, to=to, file=file))

    # -- ours

    def _done(self, steps: Steps[T]) -> T:
        """What the steps end in."""
        with contextlib.closing(_Hands(self._api, self._storage)) as hands:
            outcome: Any = None
            fault: httpx.TransportError | None = None
            try:
                while True:
                    effect = steps.send(outcome) if fault is None else steps.throw(fault)
                    outcome, fault = hands.attempt(effect)
            except StopIteration as end:
                ended: T = end.value
                return ended

    def _told(self, steps: Steps[None]) -> Iterator[Any]:
        """What the steps tell, as it is asked for."""
        with contextlib.closing(_Hands(self._api, self._storage)) as hands, contextlib.suppress(StopIteration):
            outcome: Any = None
            fault: httpx.TransportError | None = None
            while True:
                effect = steps.send(outcome) if fault is None else steps.throw(fault)
                if isinstance(effect, Tell):
                    yield effect.value
                    outcome, fault = None, None
                else:
                    outcome, fault = hands.attempt(effect)


class _Hands:
    """Does what one run of steps asks for."""

    def __init__(self, api: httpx.Client, storage: httpx.Client) -> None:
        self._api, self._storage = api, storage
        self._stream = contextlib.ExitStack()
        self._lines: Iterator[str] = iter(())

    def close(self) -> None:
        self._stream.close()

    def attempt(self, effect: Effect) -> tuple[Any, httpx.TransportError | None]:
        """What came of it, or the fault that it met."""
        try:
            return self._do(effect), None
        except httpx.TransportError as err:
            return None, err

    def _do(self, effect: Effect) -> Any:
        match effect:
            case Call():
                return self._api.request(effect.method, effect.path, **effect.words)
            case Sleep():
                return time.sleep(effect.seconds)
            case Put():
                content = chunks(effect.file, effect.on_upload)
                return self._storage.put(effect.url, headers=dict(effect.headers), content=content)
            case Fetch():
                return self._fetch(effect)
            case Listen():
                return self._listen(effect)
            case NextLine():
                return next(self._lines, None)
        raise AssertionError(f"unknown: {effect}")

    def _fetch(self, effect: Fetch) -> int:
        with self._storage.stream("GET", effect.url) as body:
            if body.is_success:
                with written_whole(effect.to) as file:
                    for chunk in body.iter_bytes(CHUNK_BYTES):
                        file.write(chunk)
            return body.status_code

    def _listen(self, effect: Listen) -> httpx.Response:
        self._stream.close()
        # Comments break the silence between events well within the client's timeout.
        answer = self._stream.enter_context(self._api.stream("GET", effect.path, headers=dict(effect.headers)))
        if answer.is_error:
            answer.read()
        self._lines = answer.iter_lines()
        return answer
