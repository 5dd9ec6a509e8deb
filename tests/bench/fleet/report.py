"""The simulation's figures as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.bench.fleet.simulation import Outcome

#: Busier than this, its queue says more than its work.
FULL = 0.95
#: Share of its time that Redis may be busy before people notice.
PLANNED = 0.7
_HEADS = (
    "fleet", "jobs/s", "ideal", "efficiency", "people wait p50 · p95 · p99 (s)", "Redis busy", "commands/s", "us a job",
    "Redis MB", "keeper busy", "losses", "virtual s",
)  # fmt: skip


def table(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """A line for each, Markdown."""
    yield "| " + " | ".join(_HEADS) + " |"
    yield "|" + "---|" * len(_HEADS)
    for one in outcomes:
        yield "| " + " | ".join(_cells(one)) + " |"


def _cells(one: Outcome) -> Iterator[str]:
    yield one.scenario.name
    yield f"{one.jobs_a_s:.1f}"
    yield f"{one.ideal_jobs_a_s:.1f}"
    yield f"{one.efficiency:.1%}"
    yield " · ".join(f"{one.waits_s[name]:.3f}" for name in ("p50", "p95", "p99")) if one.waits_s else "none ended"
    yield f"{one.redis_busy:.0%}"
    yield f"{one.redis_commands_a_s:,.0f}"
    yield f"{one.redis_us_a_job:,.0f}"
    yield f"{one.redis_mb:.1f}"
    yield f"{one.keeper_busy:.0%}"
    yield str(one.losses)
    yield f"{one.scenario.measured_s:g}"


def words(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """What follows from them."""
    for one in outcomes:
        name, rate = one.scenario.name, one.scenario.losses_an_hour
        if one.batch_jobs_a_s > 0:
            hours = 1e6 / one.batch_jobs_a_s / 3600
            yield f"{name}: a batch of a million takes {hours:,.1f} h at this pace; Redis holds its window alone"
        if one.loss_share is not None and one.losses:
            yield (
                f"{name}: {one.losses} machines taken without a word, {one.scenario.hastened:g} times as often as"
                f" {rate:.0%} an hour; one throws {one.lost_lane_s:.2f} GPU seconds away: {one.loss_share:.4%} of the"
                f" GPU time at {rate:.0%} an hour"
            )
    most = max((one for one in outcomes if one.redis_busy < FULL), key=lambda one: one.redis_busy, default=None)
    if most is not None:
        yield (
            f"one Redis, as fast as here: {most.jobs_a_s / most.redis_busy:,.0f} jobs a second when it does nothing"
            f" else (by {most.scenario.name}); plan with {PLANNED:.0%} of that"
        )
