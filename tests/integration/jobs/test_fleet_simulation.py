"""The fleet's simulation, small: the real store on a virtual clock, and figures that follow from what it is told."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
import redis

from jobs import connection
from tests.bench.fleet.clocked import told_the_time
from tests.bench.fleet.metered import Costs
from tests.bench.fleet.report import table, words
from tests.bench.fleet.simulation import Outcome, Scenario, simulate
from tests.bench.fleet.virtual import Hub, Machine, Server, Signal

SMALL = Scenario(name="small", gpus=3, warm_s=4.0, measured_s=6.0, interactive_share=0.3, window=16)
COSTS = Costs(overhead_s=20e-6)


def run(url: str, scenario: Scenario = SMALL, costs: Costs = COSTS, *, seed: int = 5) -> Outcome:
    return simulate(scenario, url, costs, seed=seed, send_s=0.0005)


@pytest.fixture
def url(redis_url: str) -> str:
    return redis_url


def test_a_small_fleet_is_busy_and_people_do_not_wait_for_its_batch(url):
    found = run(url)
    assert found.jobs >= 9
    assert found.efficiency > 0.8
    assert found.interactive_jobs > 0
    assert found.waits_s["p50"] < 1.0
    assert any("1,000,000" in line or "million" in line for line in words([found]))
    assert len(list(table([found]))) == 3


def test_the_same_seed_and_costs_make_the_same_fleet(url):
    def figures(outcome: Outcome) -> dict[str, object]:
        # What the machine does meanwhile is no part of it.
        return {k: v for k, v in asdict(outcome).items() if k not in {"real_s", "modelled_over_real", "redis_mb"}}

    short = replace(SMALL, warm_s=1.0, measured_s=1.5, interactive_share=0.6)
    first = figures(run(url, short))
    assert figures(run(url, short)) == first
    assert figures(run(url, short, seed=6)) != first


def test_a_redis_that_is_too_slow_is_seen_to_hold_the_fleet_up(url):
    found = run(url, replace(SMALL, measured_s=3.0), Costs(overhead_s=0.02))
    assert found.redis_busy > 0.9
    assert found.efficiency < 0.5


def test_jobs_of_machines_that_are_taken_run_again_elsewhere(url):
    often = replace(
        SMALL, losses_an_hour=1500.0, replaced_after_s=1.0, measured_s=12.0, window=4, interactive_share=0.0
    )
    found = run(url, often)
    assert found.losses >= 2
    assert found.lost_lane_s > 0
    assert found.efficiency < 0.95
    # Their leases ended, the sweeper put them back, and other machines ended them.
    with redis.Redis.from_url(url, decode_responses=True) as client:
        begun_again = [key for key in client.scan_iter("{photomend}:job:*") if int(client.hget(key, "epoch") or 0) >= 2]
    assert found.jobs > 0
    assert begun_again


def test_scripts_are_told_the_time_only_while_the_simulation_runs():
    before = connection.script_text("beat")
    with told_the_time():
        inside = connection.script_text("beat")
        assert "table.remove(ARGV)" in inside
        assert "redis.call('TIME')" not in inside
        assert connection.script_hash("beat") != "" != connection.script_hash("sweep")
    assert connection.script_text("beat") == before
    assert "redis.call('TIME')" in before


def test_a_server_does_one_thing_at_a_time_and_the_dead_do_nothing():
    hub, told = Hub(100.0), []
    server, signal, machine = Server(hub), Signal(hub), Machine()

    def work(name: str) -> None:
        server.use(2.0)
        told.append((name, hub.now))

    def wait() -> None:
        told.append(("woken", signal.wait(5.0), hub.now))
        told.append(("not woken", signal.wait(1.0), hub.now))

    hub.spawn(work, "a")
    hub.spawn(work, "b")
    hub.spawn(work, "dead", machine=machine)
    hub.spawn(wait)
    hub.run(101.0)
    machine.is_alive = False
    signal.wake()
    hub.run(110.0)
    assert told == [("woken", True, 101.0), ("a", 102.0), ("not woken", False, 102.0), ("b", 104.0)]
    assert hub.now == 110.0
