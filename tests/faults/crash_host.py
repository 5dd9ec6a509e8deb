"""Runs crash cases by their numbers: ``python -m tests.faults.crash_host FOLDER 0 1 2`` writes one line for each.

A process of one thread that has imported everything and forks: each process of a case (API, worker, keeper) begins in
milliseconds, with clients of its own, against a real Redis and a real S3. What comes after the crash is what the rest
of the installation does: the client asks again, the keeper sweeps, another worker takes the job.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import json
import mmap
import os
import signal
import struct
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import redis
from fastapi import FastAPI

from api.app import create_app
from api.settings import ApiSettings
from jobs import logs
from jobs.blobs import BlobStore
from jobs.errors import ObjectMissing, StorageUnavailable
from jobs.model import LOCAL_TENANT, Callback, Job, JobId, Kind, ObjectRef, Priority, new_job_id
from jobs.options import JobOptions
from jobs.outbound import Answer
from jobs.queue import KEY_PREFIX, QUEUES, Sender, make_celery
from jobs.states import TERMINAL, JobState
from jobs.store import JobStore, Slots
from pipeline.types import Compute, OnProgress
from tests.doubles import FolderBlobs
from tests.faults.checker import Scene, keys_of, violations
from tests.faults.crashing import CASES, Case, Crash, Mode
from tests.faults.history import Event, History
from tests.faults.pictures import Does, PictureEngine, mended, picture, sha256
from tests.faults.witness import WitnessBlobs, WitnessStore, look
from worker.aftermath import Aftermath
from worker.callbacks import CallbackSender
from worker.endpoints import Endpoints, Hold, Shut
from worker.engine import Engine, Outcome
from worker.exits import read_exit
from worker.feeder import Feeder, Rounds
from worker.keeper import Chore, Keeper
from worker.lease import Stop
from worker.node import Node
from worker.run import Workplace
from worker.settings import WorkerSettings
from worker.sweeper import Sweeper

#: A stopped process sleeps for so long, by its own clock (seconds): much longer than its lease.
STOPPED_S = 600.0
#: The longest that a process of a case may live, and a wait inside one (seconds).
PATIENCE_S, WAIT_S = 20.0, 5.0
#: A lease, and a word about slots, that no case outlives (seconds).
LONG_S = 600.0
#: Rounds of one chore; the first may be the one that fails.
TRIES = 4
#: Rounds of the others after a crash; more than any case needs.
ROUNDS = 8
HOOK = "http://127.0.0.1:9/hook"
P = "{photomend}:"

Tap = Callable[[str, Any], Any]


def _untapped(_name: str, target: Any) -> Any:
    return target


class Clock:
    """time.monotonic, moved on for all processes of a case at once."""

    def __init__(self) -> None:
        self._offset = mmap.mmap(-1, 8)

    def __call__(self) -> float:
        return time.monotonic() + float(struct.unpack("d", self._offset[:8])[0])

    def advance(self, seconds: float) -> None:
        self._offset[:8] = struct.pack("d", seconds)


class Installation:
    """One empty installation for one case, and the processes that live and die in it."""

    def __init__(self, settings: WorkerSettings, folder: Path, case: Case, api: FastAPI) -> None:
        self.settings = settings
        self.api = api
        self.case = case
        folder = Path(tempfile.mkdtemp(dir=folder))
        self.history = History(folder / "history.jsonl")
        self._struck_file = folder / "struck"
        self.clock = Clock()
        self.redis = redis.Redis.from_url(settings.redis_url, decode_responses=True)
        self.redis.flushall()
        self.store = JobStore.connect(settings)
        self.blobs = FolderBlobs(folder)
        self.blobs.ensure_bucket(settings.bucket)
        self.complaints: list[str] = []
        self._calls = 0

    # -- what a case is made of

    def run(self) -> dict[str, Any]:
        """Everything about one case: what is broken, and whether it struck."""
        began = time.monotonic()
        try:
            getattr(self, f"_{self.case.point.who}_case")()
            self._check()
        finally:
            self.store.close()
            self.redis.close()
        return {
            "index": CASES.index(self.case),
            "case": str(self.case),
            "struck": self._struck_file.exists(),
            "broken": self.complaints,
            "seconds": round(time.monotonic() - began, 2),
        }

    def submit(self, does: Does = Does.MENDS, *, callback: bool = True) -> JobId:
        data = picture(f"{self.case}", does=does)
        ref = ObjectRef(bucket=self.settings.bucket, key=f"in/{CASES.index(self.case)}.png")
        self.blobs.put(ref, data, content_type="image/png")
        job = Job(
            id=new_job_id(),
            tenant=LOCAL_TENANT,
            input=ref,
            options=JobOptions(),
            callback=Callback(url=HOOK) if callback else None,
        )
        self.store.submit(job)
        self._accepted(job.id, data, callback=callback)
        return job.id

    def _accepted(self, job_id: JobId, data: bytes, *, callback: bool) -> None:
        facts = {"result": sha256(mended(data)), "callback": callback, "poison": False}
        self.history.note(Event.ACCEPTED, job_id, **facts)

    def accuse(self, job_id: JobId) -> None:
        """A process that held the job has died by its own fault."""
        self.store.claim(job_id, worker="dead", lease_s=LONG_S)
        self.store.release_worker("dead", charge=True, cause="SIGSEGV")

    def lapse(self, *indices: str) -> None:
        """Make everything that waits for its time in these indices due now."""
        for index in indices:
            for member in self.redis.zrange(P + index, 0, -1):
                self.redis.zadd(P + index, {member: 1})

    def crash(self, process: Callable[[Tap], None], meanwhile: Callable[[], None]) -> None:
        """Let ``process`` run into the case's point; a stopped one goes on after ``meanwhile``."""
        crash = Crash(self.case, self._struck_file.touch)
        pid = fork(lambda: process(crash.tap))
        _, status = wait(pid)
        if os.WIFSTOPPED(status):
            meanwhile()
            self.clock.advance(STOPPED_S)
            os.kill(pid, signal.SIGCONT)
            _, status = wait(pid)
        ended_as = {
            Mode.EXIT: os.WIFEXITED(status) and os.WEXITSTATUS(status) == 86,
            Mode.SIGKILL: os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL,
        }.get(self.case.mode, os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0)
        if not ended_as:
            self.complaints.append(f"the process ended with wait status {status}")

    def process(self, work: Callable[[Tap], None]) -> None:
        """A process that nothing happens to."""
        _, status = wait(fork(lambda: work(_untapped)))
        if status:
            self.complaints.append(f"an unharmed process ended with wait status {status}")

    def unfinished(self) -> list[Job]:
        return [job for job in self.store.list(LOCAL_TENANT).jobs if job.state not in TERMINAL]

    def others_go_on(self) -> None:
        """What the rest of the installation does when a process is gone: sweep, send again, work, tell."""
        for _ in range(ROUNDS):
            if not self.unfinished():
                break
            self.lapse("leases", "sent:interactive")
            self.process(lambda tap: self._keep(tap, "sweeper"))
            for job in self.unfinished():
                self.process(lambda tap, job_id=job.id: self._work(tap, job_id))
        self._tell_all()

    def _tell_all(self) -> None:
        for _ in range(ROUNDS):
            if not self.redis.zcard(f"{P}outbox"):
                return
            self.lapse("outbox")
            self.process(lambda tap: self._keep(tap, "callbacks"))

    def _check(self) -> None:
        jobs = self.store.list(LOCAL_TENANT).jobs
        look(self.store, self.history, [job.id for job in jobs])
        objects = {}
        for job in jobs:
            for key in keys_of(job):
                try:
                    ref = ObjectRef(bucket=self.settings.bucket, key=key)
                    objects[key] = sha256(self.blobs.get(ref, max_bytes=1 << 20))
                except ObjectMissing:
                    continue
        # A bug ends a job with a code; a picture that is damaged fails.
        forgiven = {"image_truncated"} | ({"internal"} if self.case.mode is Mode.EXCEPTION else set())
        scene = Scene(
            history=self.history.entries(),
            records={job.id: job for job in jobs},
            objects=objects,
            forgiven=frozenset(forgiven),
        )
        self.complaints += [f"{v.promise}: {v.how}" for v in violations(scene)]
        self.complaints += [f"doctor: {v.problem}" for v in self.store.doctor().examine()]
        if jobs and jobs[0].state is JobState.EXPIRED and (objects or self.redis.zcard(f"{P}trash")):
            self.complaints.append(f"expired, and {len(objects)} objects are left")

    # -- API

    def _api_case(self) -> None:
        answers: list[Mapping[str, Any] | None] = []
        data = picture(str(self.case))
        if self.case.point.scenario == "submits":
            ref = ObjectRef(bucket=self.settings.bucket, key="in/api.png")
            self.blobs.put(ref, data, content_type="image/png")

        def ask(tap: Tap, answer: int) -> None:
            os.write(answer, json.dumps(self._call_api(tap, data)).encode())

        def retry() -> None:
            while not (answers and answers[-1]):
                self._calls += 1
                assert self._calls <= ROUNDS, "a client that asks again is answered"
                answers.append(self._answer(self.process, ask))

        if self.case.point.scenario == "repeats":
            retry()
            answers.append(None)
        answers.append(self._answer(lambda work: self.crash(work, retry), ask))
        retry()
        ids = {answer["id"] for answer in answers if answer}
        if len(ids) != 1:
            self.complaints.append(f"one key was answered with {len(ids)} jobs")
        for job_id in ids:
            self._accepted(JobId(job_id), data, callback=False)
        self.others_go_on()

    def _answer(self, run: Callable[[Callable[[Tap], None]], None], ask: Callable[[Tap, int], None]) -> Any:
        """What the client hears, or None where the API died under its request or said that it cannot."""
        reading, writing = os.pipe()
        run(lambda tap: ask(tap, writing))
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            heard = pipe.read()
        return json.loads(heard) if heard else None

    def _call_api(self, tap: Tap, data: bytes) -> dict[str, Any] | None:
        service = self.api.state.service
        self.api.state.service = dataclasses.replace(
            service, store=tap("store", self.store), blobs=tap("blobs", self.blobs)
        )
        headers = {"Idempotency-Key": "one-key"}

        async def call() -> httpx.Response:
            transport = httpx.ASGITransport(self.api, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
                if self.case.point.scenario == "submits":
                    uri = f"s3://{self.settings.bucket}/in/api.png"
                    return await client.post("/v1/jobs", json={"input": uri}, headers=headers)
                files = {"file": ("a.png", data, "image/png")}
                return await client.post("/v1/jobs", files=files, headers=headers)

        answer = asyncio.run(call())
        return {"id": answer.json()["id"]} if answer.status_code == 202 else None

    # -- worker

    def _worker_case(self) -> None:
        does = Does.DAMAGED if self.case.point.scenario == "fails" else Does.MENDS
        job_id = self.submit(does)
        if self.case.point.scenario == "runs_alone":
            self.accuse(job_id)
        self.crash(lambda tap: self._work(tap, job_id, self.case.point.scenario), self.others_go_on)
        self.others_go_on()

    def _work(self, tap: Tap, job_id: JobId, scenario: str = "") -> None:
        """A worker process that gets one message."""
        store = WitnessStore.watched(self.settings, self.history)
        blobs = (_FullBlobs if scenario == "cannot_store" else WitnessBlobs)(self.blobs, self.history)
        engine = _Engine(self.history)
        node = _Node(
            self.settings,
            store=tap("store", _Beats(store, engine)),
            blobs=tap("blobs", blobs),
            build_engine=lambda: engine,
        )
        node.clock = self.clock
        if scenario == "drains":
            engine.meanwhile = lambda: _flight(node).lease.stop(Stop.DRAIN)
        elif scenario == "obeys":
            engine.meanwhile = lambda: self._cancel(node)
        node.start()
        _until(lambda: node.is_ready or None)
        try:
            if scenario == "hands_back":
                node.drain()
            if self.store.get(job_id).is_suspect:
                node._run_alone()
            else:
                node.run(job_id)
        except Exception as error:  # noqa: BLE001 - Celery's border
            sys.stderr.write(f"{error!r}\n")
        assert node._busy == 0, "a slot is not given back"
        node.stop()

    def _cancel(self, node: Node) -> None:
        flight = _flight(node)
        self.store.cancel(flight.job.id)
        self.history.note(Event.CANCEL_ASKED, flight.job.id)
        flight.lease.beat()

    # -- keeper

    def _keeper_case(self) -> None:
        scenario = self.case.point.scenario
        job_id = self.submit()
        if scenario in {"feeds", "sends_again"}:
            self._feed_case(job_id)
            return
        if scenario == "secludes":
            self._seclude_case(job_id)
            return
        if scenario == "sweeps":
            self.store.claim(job_id, worker="dead", lease_s=1e-6)
        else:
            self.process(lambda tap: self._work(tap, job_id))
        chore = "callbacks" if scenario.startswith("tells") else "sweeper"
        if scenario == "expires":
            self._tell_all()
            self.lapse("expiry")

        def others() -> None:
            self.lapse("trash", "outbox")
            self.process(lambda tap: self._keep(tap, chore))
            self.others_go_on()

        self.crash(lambda tap: self._keep(tap, chore), others)
        others()

    def _feed_case(self, job_id: JobId) -> None:
        queue = KEY_PREFIX + QUEUES[Priority.INTERACTIVE]
        self.store.publish_slots(Slots(worker="w", queues=(), free=1, total=1, heartbeat_s=600.0))
        if self.case.point.scenario == "sends_again":
            assert self.store.take(credits=1, priority=Priority.INTERACTIVE) == (job_id,)
        self.lapse("sent:interactive")

        def others() -> None:
            for _ in range(ROUNDS):
                if self.redis.llen(queue) or not self.unfinished():
                    break
                self.lapse("sent:interactive")
                self.process(lambda tap: self._keep(tap, "feeder"))
            if not self.redis.llen(queue) and self.unfinished():
                self.complaints.append("no keeper sends the job")
            # Each message is delivered; a doubled one finds nothing to claim.
            while self.redis.lpop(queue):
                self.process(lambda tap: self._work(tap, job_id))
            self._tell_all()

        self.crash(lambda tap: self._keep(tap, "feeder"), others)
        others()

    def _seclude_case(self, job_id: JobId) -> None:
        self.accuse(job_id)
        self.store.publish_slots(Slots(worker="w", queues=(), free=1, total=1, heartbeat_s=LONG_S))

        def others() -> None:
            self.process(lambda tap: self._keep(tap, "feeder"))
            if self.store.counts()["secluded"] != 1:
                self.complaints.append("not one worker is chosen")

        self.crash(lambda tap: self._keep(tap, "feeder"), others)
        others()
        self.others_go_on()

    def _keep(self, tap: Tap, name: str) -> None:
        """A keeper process that does one round of one chore, or two where the first one failed."""
        store = tap("store", self.store)
        stop = threading.Event()
        steps: dict[str, Callable[[], object]] = {
            "feeder": lambda: self._feed(store, tap),
            "sweeper": lambda: Sweeper(store, tap("blobs", self.blobs)).step(),
            "callbacks": lambda: self._send_callbacks(store, tap),
        }

        tries = iter(range(TRIES))

        def step() -> None:
            if next(tries, None) is None:
                stop.set()
                raise AssertionError(f"the {name} fails again and again")
            steps[name]()
            stop.set()

        self.redis.delete(f"{P}lock:{name}")
        chore = Chore(name=name, every_s=0.05, step=step, is_shared=name == "sweeper")
        Keeper(store, ())._repeat(chore, stop)
        assert next(tries, None) is not None, f"the {name} does its work"

    def _feed(self, store: Any, tap: Tap) -> None:
        feeder = Feeder(store, tap("messages", Sender(make_celery(self.settings))), batch_share=0.1)
        Rounds(store, feeder.step, every_s=0.05).step()

    def _send_callbacks(self, store: Any, tap: Tap) -> None:
        scenario = self.case.point.scenario
        first = {"tells_in_vain": 500, "tells_who_wants_no_more": 410}.get(scenario, 200)
        sender = CallbackSender(
            store,
            tap("posts", _Receiver(self.history, first_answer=first)),
            sign=lambda delivery, _now: {"webhook-id": delivery.id},
            schedule_s=(0.0,) * ROUNDS,
            timeout_s=5.0,
            threads=1,
            endpoints=_Busy() if scenario == "tells_a_busy_receiver" else Endpoints(at_a_time=1, shut_s=1.0),
        )
        sender.step()
        sender.close()

    # -- supervisor

    def _supervisor_case(self) -> None:
        job_id = self.submit()
        self.store.claim(job_id, worker="dead", lease_s=self.settings.lease_s)
        self.crash(self._read_exit, self.others_go_on)
        self.others_go_on()

    def _read_exit(self, tap: Tap) -> None:
        """A supervisor whose worker process was killed."""
        aftermath = Aftermath(tap("store", self.store))
        aftermath.of("dead", read_exit(-signal.SIGKILL, was_told=False, was_oom_killed=False))
        aftermath.close(timeout_s=WAIT_S)


class _Receiver:
    """Takes callbacks, and notes them; the first may be answered in another way."""

    def __init__(self, history: History, *, first_answer: int) -> None:
        self._history = history
        self._first_answer = first_answer

    def post(self, url: str, *, body: str, headers: Mapping[str, str]) -> Answer:
        words = json.loads(body)
        told = [e for e in self._history.entries() if e.event is Event.TOLD]
        status = 200 if told else self._first_answer
        self._history.note(Event.TOLD, words["data"]["id"], id=headers["webhook-id"], type=words["type"], status=status)
        return Answer(status=status, retry_after=None)


class _Busy(Endpoints):
    """Has no room for the first delivery."""

    def __init__(self) -> None:
        super().__init__(at_a_time=1, shut_s=1.0)
        self._is_first = True

    def enter(self, url: str) -> Hold | Shut | None:
        if self._is_first:
            self._is_first = False
            return Hold(for_s=0.0)
        return super().enter(url)


class _Engine(PictureEngine):
    """Works until the first beat was sent, so that each run has one."""

    def __init__(self, history: History) -> None:
        super().__init__(history)
        self.beaten = threading.Event()
        self.meanwhile: Callable[[], object] = lambda: None

    def run(
        self, kind: Kind, data: bytes, options: JobOptions, *, on_progress: OnProgress, compute: Compute
    ) -> Outcome:
        self.beaten.wait(WAIT_S)
        self.meanwhile()
        return super().run(kind, data, options, on_progress=on_progress, compute=compute)


class _Beats:
    """The store; tells the engine when a beat was sent."""

    def __init__(self, store: JobStore, engine: _Engine) -> None:
        self._store = store
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def beat(self, *args: Any, **words: Any) -> Any:
        try:
            return self._store.beat(*args, **words)
        finally:
            self._engine.beaten.set()


class _Node(Node):
    """A worker process whose clock the case moves."""

    clock: Callable[[], float]

    @property
    def is_ready(self) -> bool:
        return self._readiness.engine is not None

    def _place(self, engine: Engine) -> Workplace:
        return dataclasses.replace(super()._place(engine), clock=self.clock)


def _flight(node: Node) -> Any:
    (flight,) = node._flights.all()
    return flight


class _FullBlobs(WitnessBlobs):
    """Takes the first object of a result and not the second."""

    puts = 0

    def put(self, ref: ObjectRef, data: bytes, **words: Any) -> object:
        self.puts += 1
        if self.puts == 2:
            raise StorageUnavailable("503 SlowDown")
        return super().put(ref, data, **words)


def _until(claim: Callable[[], Any]) -> Any:
    until = time.monotonic() + WAIT_S
    while (found := claim()) is None:
        assert time.monotonic() < until
        time.sleep(0.002)
    return found


def fork(work: Callable[[], None]) -> int:
    """The pid of a child that does ``work``; its status says whether that ended well."""
    assert threading.active_count() == 1, "only a process of one thread may fork"
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    except BaseException:  # noqa: BLE001 - a child must never run on as its parent
        traceback.print_exc()
    finally:
        os._exit(status)


def wait(pid: int) -> tuple[int, int]:
    """How the child ended, or that it stopped; one that takes too long is killed."""
    until = time.monotonic() + PATIENCE_S
    while True:
        found = os.waitpid(pid, os.WUNTRACED | os.WNOHANG)
        if found != (0, 0):
            return found
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.001)


def main(folder: Path, numbers: Sequence[int]) -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever logs to stdout logs to stderr
    logs.configure(service="crash")
    settings = WorkerSettings()
    api = ApiSettings()
    app = create_app(JobStore.connect(api), BlobStore.connect(api), api)
    # Children share these pages as long as nobody counts references in them.
    gc.freeze()
    for number in numbers:
        outcome = Installation(settings, folder, CASES[number], app).run()
        answers.write(json.dumps(outcome) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(number) for number in sys.argv[2:]])
