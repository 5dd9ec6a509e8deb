"""``python -m tests.bench.dashboard`` (``make dashboard``): the Grafana dashboard, looked at without Grafana.

Redis, S3, API, keeper and CPU workers with the preview pack run for some minutes under people's jobs, a batch, files
that are none, a worker and a Redis that are killed, and a receiver of callbacks that fails. A real Prometheus, with
the real alert rules, scrapes them every second. Then every panel's own queries are asked over its API, with Grafana's
variables put in, and drawn at their places: build/dashboard/dashboard.png, and latest.json with how much each panel
had. Exits with 1 if a panel had nothing, or nothing but zeros, that should have something, or if an alert did not do as
the trouble should have made it (``expected.py``); that is stated for the length that stands here.

    make dashboard
    make dashboard SECONDS=300
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.dashboard import expected, grafana
from tests.bench.dashboard.draw import Span, draw
from tests.bench.dashboard.life import RATE, live
from tests.bench.dashboard.prometheus import Asked, prometheus
from tests.bench.dashboard.shown import Shown, ask, still, without_data
from tests.bench.dashboard.site import site

ROOT = Path(__file__).parents[3]
OBSERVABILITY = ROOT / "deploy" / "observability"
DASHBOARD, RULES = OBSERVABILITY / "grafana" / "photomend.json", OBSERVABILITY / "alerts.yml"
OUT, PICTURE = ROOT / "build" / "dashboard", "dashboard.png"
#: Before the life begins and after it (seconds): a quiet beginning, and time for the last jobs.
BEFORE_S, AFTER_S = 8.0, 12.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=150)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=RATE, help="jobs a second that people send")
    said = parser.parse_args()
    panels = grafana.read(DASHBOARD)
    with tempfile.TemporaryDirectory(prefix="dashboard-") as name:
        try:
            with site(Path(name)) as here, prometheus(Path(name) / "prometheus", here.targets, rules=RULES) as server:
                start = time.time()
                time.sleep(BEFORE_S)
                told = live(here, seconds=said.seconds, seed=said.seed, rate=said.rate, say=_say)
                time.sleep(AFTER_S)
                end = time.time()
                shown = ask(server, panels, start=start, end=end)
                alerts, fired_at = _alerts(server, start=start, end=end)
        finally:
            _keep_logs(Path(name))
    draw(shown, OUT / PICTURE, span=Span(start=start, end=end, alerts=fired_at))
    found = {
        "seconds": said.seconds,
        "seed": said.seed,
        "events": told.events,
        "answers": told.answers,
        "alerts": alerts,
        "no_data": [[*one, expected.EMPTY.get(one, "?")] for one in without_data(shown)],
        "stays_at_0": [[*one, expected.STILL.get(one, "?")] for one in still(shown)],
        "panels": [one.told() for one in shown if one.panel.kind != "row"],
    }
    (OUT / "latest.json").write_text(json.dumps(found, indent=2) + "\n")
    wrong = list(problems(shown, alerts))
    for line in (*report(shown, alerts), *wrong):
        _say(line)
    return 1 if wrong else 0


def _alerts(server: Asked, *, start: float, end: float) -> tuple[dict[str, list[str]], tuple[float, ...]]:
    """States that each rule had in this time, and when alerts began to fire.

    Raises:
        QueryRefused: a rule's query cannot be answered.
    """
    found: dict[str, set[str]] = {}
    began: dict[str, float] = {}
    for rule in server.alerts():
        found[rule["name"]] = {f"error: {rule['lastError']}"} if rule["health"] != "ok" else set()
    for curve in server.range("ALERTS", start=start, end=end, step_s=server.scrape_s):
        name, state = curve.labels["alertname"], curve.labels["alertstate"]
        found[name].add(state)
        if state == "firing":
            began[name] = min(began.get(name, end), curve.points[0][0])
    return {name: sorted(states) for name, states in found.items()}, tuple(sorted(set(began.values())))


def problems(shown: Sequence[Shown], alerts: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """What is not as ``expected`` has it."""
    for panel, legend in without_data(shown):
        if (panel, legend) not in expected.EMPTY:
            yield f"NOTHING came to {panel!r}, query {legend!r}, and no reason is known"
    for panel, legend in still(shown):
        if (panel, legend) not in expected.STILL:
            yield f"{panel!r}, query {legend!r}, never left 0, and no reason is known"
    for name, states in alerts.items():
        if errors := [state for state in states if state.startswith("error")]:
            yield f"{name} cannot be evaluated: {errors}"
        if ("firing" in states) != (name in expected.FIRES):
            yield f"{name} {'fired, though nothing was made for it' if 'firing' in states else 'did not fire'}"
        if states == ["pending"] and name not in {*expected.PENDS, *expected.MAY_PEND}:
            yield f"{name} was pending, though nothing was made for it"
        if name in expected.PENDS and not states:
            yield f"{name} was not pending, though its trouble was made"


def report(shown: Sequence[Shown], alerts: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """What was seen, and why what was not is no surprise."""
    drawn = [one for one in shown if one.panel.kind != "row"]
    yield f"{len(drawn)} panels, {sum(len(one.answers) for one in drawn)} queries: {OUT / PICTURE}"
    for words, found, reasons in (
        ("no data", without_data(drawn), expected.EMPTY),
        ("stays at 0", still(drawn), expected.STILL),
    ):
        yield from (f"{words}: {one[0]} / {one[1] or 'its only query'}: {reasons.get(one, '?')}" for one in found)
    causes = {**expected.MAY_PEND, **expected.PENDS, **expected.FIRES}
    for name, states in alerts.items():
        if states:
            yield f"alert {name}: {', '.join(states)} ({causes.get(name, '?')})"
    yield f"{sum(1 for states in alerts.values() if not states)} of {len(alerts)} alerts stayed quiet"


def _keep_logs(folder: Path) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    for log in (*folder.glob("*.log"), *folder.glob("prometheus/*.log")):
        (OUT / log.name).write_bytes(log.read_bytes())


def _say(line: Any) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
