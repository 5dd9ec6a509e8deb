"""``python -m tests.bench.fleet`` (``make fleet``): 1 to 1,000 GPUs in virtual time, and where one Redis ends.

The store with its Lua on a redis-server that this starts, the feeder, sweeper and batch runner are the product's; GPUs,
networks, storage, callers and machines that are taken away are simulated. First a rehearsal measures what each command
costs Redis and the keepers on this machine, then the same fleet runs with these costs: with the same seed and
``--costs`` the same happens.

    make fleet SEED=7
    make fleet ARGS="--only 10,100 --costs build/fleet/latest.json"
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import structlog

from tests.bench.fleet.metered import Costs
from tests.bench.fleet.report import table, words
from tests.bench.fleet.simulation import Outcome, Scenario, rehearse, send_cost_s, server, simulate
from tests.bench.fleet.work import Mix

OUT = Path("build/fleet")
#: By a short name for ``--only``. Seconds are chosen so that all of them end within five minutes on a quiet machine.
SCENARIOS = {
    "1": Scenario(name="1 H100", gpus=1, warm_s=10, measured_s=60),
    "10": Scenario(name="10 H100", gpus=10, warm_s=10, measured_s=40),
    "100": Scenario(name="100 H100", gpus=100, warm_s=8, measured_s=12, window=1000),
    "spot": Scenario(name="50 H100, losses hastened", gpus=50, warm_s=8, measured_s=25, window=1000, hastened=800.0),
    "window": Scenario(name="100 H100, a batch's window of 64", gpus=100, warm_s=8, measured_s=8, window=64),
    "1000": Scenario(name="1,000 T4", gpus=1000, warm_s=30, measured_s=10, window=5000, keepers=4, mix=Mix(gpu="T4")),
    "beyond": Scenario(name="1,000 H100, too many", gpus=1000, warm_s=8, measured_s=6, window=5000, keepers=4),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default=",".join(SCENARIOS), help=f"of {', '.join(SCENARIOS)}")
    parser.add_argument("--costs", type=Path, help="an earlier run's latest.json: its measured costs are used again")
    said = parser.parse_args()
    names = [name.strip() for name in said.only.split(",")]
    if unknown := set(names) - set(SCENARIOS):
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    known = json.loads(said.costs.read_text())["costs"] if said.costs else {}
    outcomes, costs = [], {}
    for name in names:
        outcome, costs[name] = _run(SCENARIOS[name], known.get(name), seed=said.seed)
        outcomes.append(outcome)
        _say(f"{outcome.scenario.name}: {outcome.jobs:,} jobs in {outcome.real_s:.0f} real seconds", to=sys.stderr)
    for line in (*table(outcomes), "", *words(outcomes)):
        _say(line)
    OUT.mkdir(parents=True, exist_ok=True)
    told = {
        "seed": said.seed,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg(),
        "costs": costs,
        "outcomes": [one.words() for one in outcomes],
    }
    (OUT / "latest.json").write_text(json.dumps(told, indent=2) + "\n")
    load = os.getloadavg()[0]
    _say(f"\nseed {said.seed}; load average {load:.1f} on {os.cpu_count()} cores; all of it: {OUT}/latest.json")
    return 0


def _run(scenario: Scenario, known: dict[str, object] | None, *, seed: int) -> tuple[Outcome, dict[str, object]]:
    """A server of its own for each: memory is not given back."""
    with tempfile.TemporaryDirectory() as folder, server(Path(folder)) as running:
        if known is None:
            send_s, costs = send_cost_s(running.url), rehearse(scenario, running.url, seed=seed)
        else:
            send_s, costs = float(known["send_s"]), Costs(**{k: v for k, v in known.items() if k != "send_s"})  # type: ignore[arg-type]
        outcome = simulate(scenario, running.url, costs, seed=seed, send_s=send_s)
        return outcome, asdict(costs) | {"send_s": send_s}


def _say(line: str, *, to: object = None) -> None:
    stream = to or sys.stdout
    stream.write(line + "\n")  # type: ignore[attr-defined]
    stream.flush()  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.exit(main())
