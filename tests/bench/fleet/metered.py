"""The one Redis of the simulation: a real server, which takes the time that it really takes, in virtual time.

It does one command at a time. What a command costs it is measured beforehand by this very simulation, in a rehearsal
(``Meter``), and charged while it runs (``Costs``): so a fleet that asks too much of it is seen to wait.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import redis
from redis.client import Pipeline

from jobs import connection
from jobs.connection import PREFIX
from tests.bench.fleet.virtual import Hub, Server, Signal, computing_s

#: There and back between two machines of one zone (seconds).
ROUND_TRIP_S = 0.0003
#: Commands of each kind that are measured one by one.
MEASURED = 100
NUDGE = f"{PREFIX}nudge"
#: After these there may be a nudge.
_NUDGING = frozenset({"submit", "slots", "release", "release_worker", "hand_back", "sweep", "claim"})
_FALLBACK_S = 50e-6
#: What Celery computes around these is measured by itself.
_SENT_BY_CELERY = frozenset({"SMEMBERS", "LPUSH"})


@dataclass(slots=True, kw_only=True)
class Costs:
    """Seconds, by kind of command: in Redis, and of the keeper that sends it."""

    redis: dict[str, float] = field(default_factory=dict)
    overhead_s: float = 0.0  #: of each command in Redis besides: reading, answering, the append-only file
    keeper: dict[str, float] = field(default_factory=dict)  #: computing time since the command before

    def of(self, label: str) -> float:
        return self.redis.get(label, _FALLBACK_S) + self.overhead_s


class Meter:
    """What commands really cost: some by Redis' own account of each, all by its computing time."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._took: dict[str, list[float]] = defaultdict(list)
        self._keeper: dict[str, list[float]] = defaultdict(list)
        self._began: tuple[float, dict[str, int]] | None = None
        self.counts: dict[str, int] = defaultdict(int)

    def wants(self, label: str) -> bool:
        return self._began is None and len(self._took[label]) < MEASURED

    def measured(self, label: str, act: Callable[[], Any], *, commands: int) -> Any:
        before = self._spent(label)
        answer = act()
        self._took[label].append((self._spent(label) - before) / commands)
        return answer

    def told(self, label: str, seconds: float) -> None:
        """A keeper computed for so long around this command."""
        self._keeper[label].append(seconds)

    def begin(self) -> None:
        """From here on count, to compare with Redis' computing time."""
        self._began = (self.cpu_s(), dict(self.counts))

    def costs(self) -> Costs:
        found = Costs(
            redis={label: _usual(took) for label, took in self._took.items()},
            keeper={label: _usual(took) for label, took in self._keeper.items()},
        )
        if self._began is not None:
            cpu_s, before = self._began
            made = {label: count - before.get(label, 0) for label, count in self.counts.items()}
            inside = sum(count * found.of(label) for label, count in made.items())
            found.overhead_s = max(0.0, (self.cpu_s() - cpu_s - inside) / max(1, sum(made.values())))
        return found

    def cpu_s(self) -> float:
        """Computing time of Redis' one thread that runs commands."""
        told: Any = self._client.info("cpu")
        return float(told["used_cpu_user_main_thread"] + told["used_cpu_sys_main_thread"])

    def _spent(self, label: str) -> float:
        """What Redis says that commands of this kind took so far; for a script, with all that it calls."""
        told: Any = self._client.info("commandstats")
        entry = told.get(f"cmdstat_{label.lower()}") if label.isupper() else told.get("cmdstat_evalsha")
        return float(entry["usec"]) / 1e6 if entry else 0.0


def _usual(took: list[float]) -> float:
    """The mean without the slowest twentieth, in which others had the processor."""
    return statistics.mean(sorted(took)[: max(1, len(took) * 19 // 20)])


class Site:
    """What all clients share: the clock, the one Redis and its queue, and who waits for a nudge."""

    def __init__(self, hub: Hub, costs: Costs, *, meter: Meter | None = None) -> None:
        self.hub, self.costs, self.meter = hub, costs, meter
        self.server, self.nudges = Server(hub), Signal(hub)
        self.calls: dict[str, int] = defaultdict(int)
        #: Locks that keepers share work by: until when each is held.
        self.locks: dict[str, float] = {}

    def in_turn(self, labels: Sequence[str], act: Callable[[], Any], *, interpreter: Server | None) -> Any:
        """What ``act`` gives, once these commands had their turn; a keeper's ``interpreter`` computes before."""
        if not self.hub.is_inside:
            return act()
        spent_s = computing_s() - self.hub.resumed_at
        if interpreter is not None:
            interpreter.use(self.costs.keeper.get(labels[0], 0.0) * len(labels))
        is_measured = self.meter is not None and len(set(labels)) == 1 and self.meter.wants(labels[0])
        for label in labels:
            self.calls[label] += 1
        cost_s = sum(self.costs.of(label) for label in labels)
        begins = self.server.reserve(cost_s)
        self.hub.sleep_until(begins)
        answer = self._metered(labels, act, is_measured=is_measured)
        # Measuring computes too.
        if self.meter is not None and interpreter is not None and not is_measured and labels[0] not in _SENT_BY_CELERY:
            self.meter.told(labels[0], (spent_s + computing_s() - self.hub.resumed_at) / len(labels))
        self.hub.sleep_until(begins + cost_s + ROUND_TRIP_S)
        return answer

    def _metered(self, labels: Sequence[str], act: Callable[[], Any], *, is_measured: bool) -> Any:
        if self.meter is None:
            return act()
        for label in labels:
            self.meter.counts[label] += 1
        if is_measured:
            return self.meter.measured(labels[0], act, commands=len(labels))
        return act()


class VirtualRedis(redis.Redis):
    """A client whose every call waits its turn, in virtual time, at the one Redis of the fleet."""

    #: Set by ``connect``, since the constructor belongs to redis-py.
    site: Site
    interpreter: Server | None = None

    def execute_command(self, *args: Any, **options: Any) -> Any:
        label = _label(args)

        def act() -> Any:
            told = _with_time(args, self.site.hub.now)
            if label in _NUDGING and self.site.nudges.is_awaited:
                return self._and_nudge(told)
            return super(VirtualRedis, self).execute_command(*told, **options)

        return self.site.in_turn([label], act, interpreter=self.interpreter)

    def _and_nudge(self, args: Sequence[Any]) -> Any:
        """The same, and whoever waits for a nudge has it at once, as from a blocking POP."""
        with super().pipeline(transaction=False) as both:
            both.execute_command(*args)
            both.execute_command("LPOP", NUDGE)
            answer, nudge = both.execute(raise_on_error=False)
        if nudge is not None:
            self.site.nudges.wake()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Any:
        made = _VirtualPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        made.owner = self
        return made


class _VirtualPipeline(Pipeline):  # type: ignore[type-arg]
    owner: VirtualRedis

    def execute(self, raise_on_error: bool = True) -> Any:
        stack = list(self.command_stack)
        if not stack:
            return []
        labels = [_label(args) for args, _ in stack]

        def act() -> Any:
            now = self.owner.site.hub.now
            self.command_stack[:] = [(_with_time(args, now), options) for args, options in stack]
            return super(_VirtualPipeline, self).execute(raise_on_error)

        return self.owner.site.in_turn(labels, act, interpreter=self.owner.interpreter)


def _label(args: Sequence[Any]) -> str:
    name = str(args[0])
    if name != "EVALSHA":
        return name
    script = _NAMES.get(str(args[1])) or _learn(str(args[1]))
    # Who reads all slots pays for all workers; who publishes its own does not.
    return "slots.read" if script == "slots" and args[5] == "" else script


_NAMES: dict[str, str] = {}


def _learn(hashed: str) -> str:
    for entry in (resources.files("jobs") / "lua").iterdir():
        name = entry.name.removesuffix(".lua")
        if not name.startswith("_"):
            _NAMES[connection.script_hash(name)] = name
    return _NAMES[hashed]


def _with_time(args: Sequence[Any], now: float) -> tuple[Any, ...]:
    return (*args, f"{now:.6f}") if args[0] == "EVALSHA" else tuple(args)


def connect(url: str, site: Site, *, interpreter: Server | None = None) -> VirtualRedis:
    """A client of the simulation's own server; with an ``interpreter``, that of a keeper."""
    found: VirtualRedis = VirtualRedis.from_url(url, decode_responses=True)
    found.site, found.interpreter = site, interpreter
    return found
