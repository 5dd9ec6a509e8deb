"""One scenario from its first machine to its figures."""

from __future__ import annotations

import random
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jobs.batches.model import BatchId
from jobs.model import Callback, CallbackEvent, Job, JobId, ObjectRef, Priority, Tenant, TenantId
from jobs.queue import QUEUES, Sender, make_celery
from jobs.settings import JobsSettings
from jobs.states import TERMINAL
from jobs.store import JobStore
from photomend.stack.redis import RedisServer
from tests.bench import batch_million
from tests.bench.fleet.clocked import told_the_time
from tests.bench.fleet.keepers import Keeper, deterministic
from tests.bench.fleet.machines import Broker, Gpu, Ledger
from tests.bench.fleet.metered import Costs, Meter, Site, connect
from tests.bench.fleet.virtual import Hub
from tests.bench.fleet.work import Mix
from tests.doubles import MemoryBlobs

#: Where virtual time begins: 2026-01-01 in UTC.
BEGIN = 1_767_225_600.0
PEOPLE = TenantId("people")
#: A caller asks how its job is so often (seconds); what the API advises.
POLL_S = 1.0
SAMPLE_S = 1.0
#: Of a rehearsal: until every command was measured, and again to hold all of them against Redis' computing time.
REHEARSED_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is simulated."""

    name: str
    gpus: int
    warm_s: float  #: until figures count
    measured_s: float
    mix: Mix = field(default_factory=Mix)
    interactive_share: float = 0.1  #: of the fleet's GPU time that people ask for
    keepers: int = 2
    batches: int = 1
    window: int = 256  #: of each batch
    losses_an_hour: float = 0.05  #: share of the GPUs that is taken away
    hastened: float = 1.0  #: by so much more often, so that a short run sees some
    replaced_after_s: float = 20.0  #: until another one is ready


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of it; seconds are virtual, but for ``real_s``."""

    scenario: Scenario
    seed: int
    jobs: int
    jobs_a_s: float
    ideal_jobs_a_s: float  #: every GPU that was there computing all the time
    efficiency: float  #: lane seconds of jobs that ended, of those that GPUs were there for
    batch_jobs_a_s: float
    waits_s: dict[str, float]  #: interactive jobs, from submit to start
    ends_s: dict[str, float]  #: the same from submit to end
    interactive_jobs: int
    losses: int
    lost_lane_s: float  #: thrown away by one loss, in the mean
    refused: int
    loss_share: float | None  #: of the GPU time, at the rate of the scenario (not hastened); None: none was lost
    redis_busy: float
    redis_commands_a_s: float
    redis_us_a_job: float
    redis_calls_a_job: dict[str, float]
    redis_mb: float
    keeper_busy: float  #: of one keeper's interpreter, the busiest
    modelled_over_real: float  #: Redis' time as charged, over its computing time as measured
    real_s: float

    def words(self) -> dict[str, Any]:
        return asdict(self)


@contextmanager
def server(folder: Path) -> Iterator[RedisServer]:
    """A Redis of our own, as in operation."""
    running = RedisServer(folder)
    running.start()
    try:
        yield running
    finally:
        running.stop()


def settings_of(url: str) -> JobsSettings:
    return JobsSettings(redis_url=url, signing_secret="of this simulation only, nobody's secret")


def rehearse(scenario: Scenario, url: str, *, seed: int) -> Costs:
    """What commands and keepers cost in a fleet of this size, measured."""
    meter = Meter(connect_plainly(url))
    fleet = _Fleet(scenario, url, Costs(), seed=seed, meter=meter, send_s=send_cost_s(url))
    try:
        fleet.start()
        fleet.pass_time(REHEARSED_S)
        meter.begin()
        fleet.pass_time(REHEARSED_S)
        return meter.costs()
    finally:
        fleet.close()


def send_cost_s(url: str, *, messages: int = 200) -> float:
    """Computing time that one message takes of the keeper, by the real Celery."""
    sender = Sender(make_celery(settings_of(url)))
    took = []
    for number in range(messages):
        before = time.process_time()
        sender.send(JobId(f"job_{number:032x}"), QUEUES[Priority.BATCH])
        took.append(time.process_time() - before)
    return statistics.mean(sorted(took)[: messages * 19 // 20])


def simulate(scenario: Scenario, url: str, costs: Costs, *, seed: int, send_s: float) -> Outcome:
    """Let virtual time pass over the whole scenario."""
    began = time.monotonic()
    fleet = _Fleet(scenario, url, costs, seed=seed, meter=None, send_s=send_s)
    try:
        fleet.start()
        fleet.pass_time(scenario.warm_s)
        fleet.begin_measuring()
        fleet.pass_time(scenario.measured_s)
        return fleet.outcome(real_s=time.monotonic() - began)
    finally:
        fleet.close()


def connect_plainly(url: str) -> Any:
    import redis

    return redis.Redis.from_url(url, decode_responses=True)


class _Fleet:
    """Everything that takes part."""

    def __init__(
        self, scenario: Scenario, url: str, costs: Costs, *, seed: int, meter: Meter | None, send_s: float
    ) -> None:
        self._scenario, self._seed = scenario, seed
        self._plain = connect_plainly(url)
        self._plain.flushall()
        self._told = told_the_time()
        self._told.__enter__()
        self._hub = Hub(BEGIN)
        self._site = Site(self._hub, costs, meter=meter)
        self._costs = costs
        settings = settings_of(url)
        self._client = connect(url, self._site)
        self._store = deterministic(JobStore(self._client, settings))
        self._chance = random.Random(seed)
        self._broker = Broker(self._hub, self._client)
        self._ledger = Ledger(done_at=[], waits=[], lost=[])
        self._blobs = MemoryBlobs()
        self._keepers = [
            Keeper(
                number,
                url=url,
                site=self._site,
                broker=self._broker,
                blobs=self._blobs,
                settings=settings,
                window=scenario.window,
                send_s=send_s,
            )
            for number in range(scenario.keepers)
        ]
        self._gpus: list[Gpu] = []
        self._numbers = iter(range(10**9))
        self._mean_lane_s = {priority: scenario.mix.mean_lane_s(priority) for priority in Priority}
        self._asked: dict[JobId, float] = {}
        self._peak_mb = 0.0
        self._before: dict[str, Any] = {}

    # -- what happens

    def start(self) -> None:
        self._store.set_tenant(Tenant(id=PEOPLE))
        for _ in range(self._scenario.gpus):
            self._add_gpu(after_s=self._chance.random())
        share = 1 - self._scenario.interactive_share
        rate = self._scenario.gpus * share / self._mean_lane_s[Priority.BATCH]
        seconds = self._scenario.warm_s + self._scenario.measured_s + 15.0
        items = 2000 + int(1.3 * rate * seconds / self._scenario.batches)
        for number in range(self._scenario.batches):
            batch_million.submit(self._store, self._blobs, items, batch=BatchId(f"batch_{number:032x}"))
        for keeper in self._keepers:
            keeper.start()
        self._hub.spawn(self._people)
        self._hub.spawn(self._losses)

    def pass_time(self, seconds: float) -> None:
        until = self._hub.now + seconds
        while self._hub.now < until:
            self._hub.run(min(until, self._hub.now + SAMPLE_S))
            self._peak_mb = max(self._peak_mb, self._plain.info("memory")["used_memory"] / 1e6)

    def _add_gpu(self, *, after_s: float) -> None:
        number = next(self._numbers)
        gpu = Gpu(
            f"node-{number}:{1000 + number}:gpu0",
            hub=self._hub,
            store=self._store,
            broker=self._broker,
            work_of=lambda job: self._scenario.mix.of(job, self._seed),
            ledger=self._ledger,
        )
        self._gpus.append(gpu)
        gpu.start(after_s=after_s)

    def _people(self) -> None:
        share = self._scenario.interactive_share
        rate = self._scenario.gpus * share / self._mean_lane_s[Priority.INTERACTIVE]
        while share > 0:
            self._hub.sleep(self._chance.expovariate(rate))
            self._hub.spawn(self._ask_for_one, JobId(f"job_{self._chance.getrandbits(128):032x}"))

    def _ask_for_one(self, job_id: JobId) -> None:
        job = Job(
            id=job_id,
            tenant=PEOPLE,
            input=ObjectRef(bucket=batch_million.NOWHERE, key=f"uploads/{job_id}.jpg"),
            priority=Priority.INTERACTIVE,
            callback=Callback(url="https://people.example/hook", events=(CallbackEvent.COMPLETED,)),
            input_bytes=900_000,
        )
        self._asked[job_id] = self._hub.now
        self._store.submit(job)
        while True:
            self._hub.sleep(POLL_S)
            if self._store.get(job_id).state in TERMINAL:
                del self._asked[job_id]
                return

    def _losses(self) -> None:
        rate = self._scenario.losses_an_hour * self._scenario.hastened / 3600
        while rate > 0:
            alive = [gpu for gpu in self._gpus if gpu.is_alive]
            self._hub.sleep(self._chance.expovariate(rate * max(1, len(alive))))
            if alive := [gpu for gpu in self._gpus if gpu.is_alive]:
                self._chance.choice(alive).kill()
                self._hub.spawn(self._replace)

    def _replace(self) -> None:
        self._hub.sleep(self._scenario.replaced_after_s)
        self._add_gpu(after_s=0.0)

    # -- what came of it

    def begin_measuring(self) -> None:
        self._before = {
            "now": self._hub.now,
            "calls": Counter(self._site.calls),
            "busy_s": self._site.server.busy_s,
            "keepers": [keeper.busy_s for keeper in self._keepers],
            "lost": len(self._ledger.lost),
            "cpu_s": Meter(self._plain).cpu_s(),
        }

    def outcome(self, *, real_s: float) -> Outcome:
        began, ends = self._before["now"], self._hub.now
        seconds = ends - began
        done = [lane_s for at, lane_s in self._ledger.done_at if at >= began]
        there_s = sum(max(0.0, (gpu.died_at or ends) - max(began, gpu.since)) for gpu in self._gpus)
        lost = self._ledger.lost[self._before["lost"] :]
        calls = Counter(self._site.calls) - self._before["calls"]
        busy_s = self._site.server.busy_s - self._before["busy_s"]
        cpu_s = Meter(self._plain).cpu_s() - self._before["cpu_s"]
        mean_lost = statistics.mean(self._ledger.lost) if self._ledger.lost else 0.0
        jobs = max(1, len(done))
        return Outcome(
            scenario=self._scenario,
            seed=self._seed,
            jobs=len(done),
            jobs_a_s=len(done) / seconds,
            ideal_jobs_a_s=there_s / seconds / (sum(done) / jobs) if done else 0.0,
            efficiency=sum(done) / there_s,
            batch_jobs_a_s=(len(done) - len(self._waits(began))) / seconds,
            waits_s=self._quantiles([start - made for made, start, _ in self._waits(began)], began),
            ends_s=self._quantiles([end - made for made, _, end in self._waits(began)], began),
            interactive_jobs=len(self._waits(began)),
            losses=len(lost),
            lost_lane_s=mean_lost,
            refused=self._ledger.refused,
            loss_share=self._scenario.losses_an_hour / 3600 * mean_lost if self._ledger.lost else None,
            redis_busy=busy_s / seconds,
            redis_commands_a_s=sum(calls.values()) / seconds,
            redis_us_a_job=1e6 * busy_s / jobs,
            redis_calls_a_job={name: round(count / jobs, 3) for name, count in calls.most_common()},
            redis_mb=self._peak_mb,
            keeper_busy=max(
                (keeper.busy_s - before) / seconds
                for keeper, before in zip(self._keepers, self._before["keepers"], strict=True)
            ),
            modelled_over_real=busy_s / cpu_s if cpu_s else 0.0,
            real_s=real_s,
        )

    def _waits(self, began: float) -> list[tuple[float, float, float]]:
        return [told for told in self._ledger.waits if told[0] >= began]

    def _quantiles(self, ended: list[float], began: float) -> dict[str, float]:
        """With those that have not ended, by how old they are: else who waits longest would not count."""
        old = sorted(ended + [self._hub.now - at for at in self._asked.values() if began <= at < self._hub.now - 10.0])
        if not old:
            return {}
        return {f"p{part}": old[min(len(old) - 1, len(old) * part // 100)] for part in (50, 95, 99)}

    def close(self) -> None:
        for keeper in self._keepers:
            keeper.close()
        self._told.__exit__(None, None, None)
        self._client.close()
        self._plain.close()
