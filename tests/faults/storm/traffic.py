"""The callers: submit jobs of several tenants, each under its idempotency key, until each is accepted; and readers."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass
from typing import Any

from jobs.errors import JobsError
from jobs.model import Callback, Job, JobId, ObjectRef, Priority, TenantId, new_job_id
from jobs.outcomes import Idempotency
from jobs.states import TERMINAL
from jobs.store import JobStore
from tests.faults.checker import keys_of
from tests.faults.history import Event
from tests.faults.pictures import Does, mended, picture, sha256
from tests.faults.storm.field import Field
from tests.faults.storm.receiver import TENANTS

#: Work of one picture (seconds).
WORK_S = (0.1, 0.7)
#: Pause of a caller that was not answered, and of the readers (seconds).
AGAIN_S, LOOK_S = 0.1, 0.5
#: How many records a reader looks at in one round.
GLANCES = 15
CALLBACK_SHARE, BATCH_SHARE = 0.8, 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One job as planned: the same for the same seed."""

    number: int
    tenant: TenantId
    priority: Priority
    work_s: float
    has_callback: bool


def wishes(count: int, rng: random.Random) -> list[Wish]:
    """What the callers will want."""
    return [
        Wish(
            number=number,
            tenant=rng.choice(TENANTS),
            priority=Priority.BATCH if rng.random() < BATCH_SHARE else Priority.INTERACTIVE,
            work_s=round(rng.uniform(*WORK_S), 3),
            has_callback=rng.random() < CALLBACK_SHARE,
        )
        for number in range(count)
    ]


class Traffic:
    """One thread that submits as far as it is allowed to, one that reads."""

    def __init__(self, field: Field, planned: list[Wish]) -> None:
        self._field = field
        self._planned = planned
        self._lock = threading.Lock()
        self._accepted: dict[JobId, Wish] = {}
        self._poison: set[JobId] = set()
        self._ended: set[JobId] = set()
        self._sights: dict[JobId, tuple[str, ...]] = {}
        self._allowed = 0.0
        self._extra = len(planned)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._submit, self._read)]
        self._store = JobStore.connect(field.settings)

    @property
    def accepted(self) -> list[JobId]:
        with self._lock:
            return list(self._accepted)

    @property
    def is_done(self) -> bool:
        """Everything that was planned has been accepted."""
        return not self._threads[0].is_alive()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def allow(self, share: float) -> None:
        """Submit up to this share (0 to 1) of what is planned."""
        self._allowed = share

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._store.close()

    def is_poison(self, job_id: JobId) -> bool:
        return job_id in self._poison

    def is_batch(self, job_id: str) -> bool:
        with self._lock:
            wish = self._accepted.get(JobId(job_id))
        return wish is not None and wish.priority is Priority.BATCH

    def unfinished(self) -> list[JobId]:
        """Accepted jobs, the newest first, that no reader has seen ended."""
        with self._lock:
            return [job_id for job_id in reversed(self._accepted) if job_id not in self._ended][:40]

    def left(self) -> int:
        """How many of the accepted jobs have not ended."""
        for job_id in self.accepted:
            if job_id not in self._ended and self.has_ended(job_id):
                self._ended.add(job_id)
        return len(self.accepted) - len(self._ended)

    def submit_one(self, *, does: Does) -> JobId:
        """A job outside the plan."""
        with self._lock:
            self._extra += 1
            number = self._extra
        wish = Wish(number=number, tenant=TENANTS[0], priority=Priority.INTERACTIVE, work_s=0.1, has_callback=True)
        return self._deliver(wish, does)

    def _submit(self) -> None:
        for wish in self._planned:
            while wish.number >= self._allowed * len(self._planned):
                if self._stop.wait(0.05):
                    return
            self._deliver(wish, Does.MENDS)

    def _deliver(self, wish: Wish, does: Does) -> JobId:
        """Put the picture and submit, again and again with the same key, until the answer is 202."""
        data = picture(str(wish.number), work_s=wish.work_s, does=does)
        ref = ObjectRef(bucket=self._field.settings.bucket, key=f"in/{wish.number}.png")
        self._field.fleet.blobs.put(ref, data, content_type="image/png")
        while (job_id := self.ask(wish, ref, sha256(data))) is None:
            time.sleep(AGAIN_S)
        facts: dict[str, Any] = {"result": sha256(mended(data)), "callback": wish.has_callback, "lane": wish.priority}
        self._field.history.note(Event.ACCEPTED, job_id, poison=does is not Does.MENDS, **facts)
        with self._lock:
            self._accepted[job_id] = wish
            if does is not Does.MENDS:
                self._poison.add(job_id)
        return job_id

    def ask(self, wish: Wish, ref: ObjectRef, fingerprint: str) -> JobId | None:
        """Submit once; None where there was no answer."""
        callback = Callback(url=self._field.receiver.url) if wish.has_callback else None
        job = Job(id=new_job_id(), tenant=wish.tenant, input=ref, priority=wish.priority, callback=callback)
        key = Idempotency(key=f"wish-{wish.number}", fingerprint=fingerprint)
        try:
            return self._field.fleet.store.submit(job, idempotency=key).job.id
        except JobsError:
            return None

    def has_ended(self, job_id: JobId) -> bool:
        return self._store.get(job_id).state in TERMINAL

    def look(self, job_id: JobId) -> None:
        """Be a reader of one record; what has not changed since the last look is not noted again."""
        job = self._store.get(job_id)
        sight = (job.state, *keys_of(job))
        if job.state in TERMINAL and self._sights.get(job_id) != sight:
            self._sights[job_id] = sight
            self._field.history.note(Event.SEEN, job_id, state=job.state, keys=keys_of(job))

    def _read(self) -> None:
        """Readers of the records: what they see as ended must stay as they saw it."""
        rng = random.Random(0)
        while not self._stop.wait(LOOK_S):
            ids = self.accepted
            try:
                for job_id in {*self.unfinished()[:GLANCES], *rng.sample(ids, min(GLANCES, len(ids)))}:
                    self.look(job_id)
                    if self.has_ended(job_id):
                        self._ended.add(job_id)
            except JobsError:
                continue
