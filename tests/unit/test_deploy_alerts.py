"""Alerts and the dashboard: promtool accepts and fires them, they know our metrics, and the runbook knows them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.metrics.catalogue import PREFIX, STANDARD, series
from tests import services
from tests.tools import tool

DEPLOY = Path(__file__).parents[2] / "deploy"
PLAIN = DEPLOY / "observability" / "alerts.yml"
OPERATOR = DEPLOY / "kubernetes" / "components" / "monitoring" / "rules.yaml"
DASHBOARD = DEPLOY / "observability" / "grafana" / "photomend.json"
GROUPS = yaml.safe_load(OPERATOR.read_text())["spec"]["groups"]
RULES = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}

#: How often promtool evaluates: all rules for each test, so that it takes as long as this is short.
EVERY = "5m"

Series = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Case:
    """Two lives of the metrics of one alert, a minute a value: in one it fires, in the other it does not."""

    bad: Series
    good: Series
    summary: str
    at: str = "30m"
    labels: dict[str, str] = field(default_factory=dict)


def metric(name: str, **labels: str) -> str:
    told = ", ".join(f'{key}="{value}"' for key, value in labels.items())
    return f"{PREFIX}{name}{{{told}}}"


def wait_of(priority: str) -> str:
    return metric("oldest_waiting_seconds", priority=priority, pod="a")


WAITING = metric("waiting_jobs", priority="batch", pod="a")
LANE, BUSY = metric("lane_seconds_total", pod="w"), metric("lane_busy_seconds_total", stage="restore", pod="w")
ENDED = metric("jobs_total", state="succeeded", code="", pod="a")
FAILED, HOSTILE = (metric("jobs_total", state="failed", code=code, pod="a") for code in ("internal", "image_hostile"))
ANSWERED, BROKEN = (
    metric("http_request_duration_seconds_count", method="POST", route="/v1/jobs", status=status, pod="a")
    for status in ("202", "503")
)
AVAILABLE = 'kube_deployment_status_replicas_available{{namespace="photomend", deployment="photomend-{}"}}'
RESTARTS = 'kube_pod_container_status_restarts_total{namespace="photomend", pod="w", container="worker"}'
OOM_KILLED = (
    "kube_pod_container_status_last_terminated_reason"
    '{namespace="photomend", pod="w", container="worker", reason="OOMKilled"}'
)
PENDING = 'kube_pod_status_phase{namespace="photomend", phase="Pending", pod="photomend-worker-1"}'


def histogram(name: str, fast: str, all_: str, *, bound: str, **labels: str) -> Series:
    """So many in the bucket that ends at ``bound``, and in all; the bucket above ends at 100 times that."""
    above = f"{100 * float(bound):g}"
    return {
        metric(f"{name}_bucket", le=bound, pod="a", **labels): fast,
        metric(f"{name}_bucket", le=above, pod="a", **labels): all_,
        metric(f"{name}_bucket", le="+Inf", pod="a", **labels): all_,
    }


CASES = {
    "PhotomendStoreDown": Case(
        # One API process that reaches Redis is enough to know that it is there.
        bad={metric("store_up", pod="a"): "1x5 0x40", metric("store_up", pod="b"): "0x45"},
        good={metric("store_up", pod="a"): "1x45", metric("store_up", pod="b"): "0x45"},
        summary="Redis does not answer",
    ),
    "PhotomendMetricsMissing": Case(
        bad={metric("workers", pod="a"): "1x45"},
        good={metric("store_up", pod="a"): "0x45"},
        summary="No API process is scraped",
    ),
    "PhotomendKeeperLoopStuck": Case(
        # Two keepers: the feeder of both has stopped; where one goes on nothing is wrong.
        bad={metric("keeper_loop_last_pass_timestamp_seconds", loop="feeder", pod=pod): "600x45" for pod in "ab"},
        good={
            metric("keeper_loop_last_pass_timestamp_seconds", loop="feeder", pod="a"): "600x45",
            metric("keeper_loop_last_pass_timestamp_seconds", loop="feeder", pod="b"): "0+60x45",
        },
        labels={"loop": "feeder"},
        summary="No keeper has ended a round of feeder for 20m 0s",
    ),
    "PhotomendNoWorkers": Case(
        bad={metric("workers", pod="a"): "0x45", WAITING: "5x45"},
        good={metric("workers", pod="a"): "0x45", WAITING: "0x45"},
        summary="Jobs wait and no worker takes any",
    ),
    "PhotomendPeopleWait": Case(
        bad={wait_of("interactive"): "45x45"},
        good={wait_of("interactive"): "20x45", wait_of("batch"): "900x45"},
        summary="An interactive job has waited for 45s",
    ),
    "PhotomendBatchStarves": Case(
        bad={wait_of("batch"): "18000x45"},
        good={wait_of("batch"): "14000x45"},
        summary="A batch job has waited for 5h 0m 0s",
    ),
    "PhotomendBacklogDeep": Case(
        bad={metric("backlog_work_seconds", pod="a"): "80000x90", metric("workers", pod="a"): "10x90"},
        good={metric("backlog_work_seconds", pod="a"): "80000x90", metric("workers", pod="a"): "40x90"},
        at="60m",
        summary="The backlog is 2h 13m 20s of work for each worker",
    ),
    "PhotomendLanesIdle": Case(
        bad={LANE: "0+60x90", BUSY: "0+15x90", WAITING: "9x90"},
        good={LANE: "0+60x90", BUSY: "0+15x90", WAITING: "0x90"},
        at="60m",
        summary="GPUs are idle for 75% of the time while jobs wait",
    ),
    "PhotomendJobsGivenUp": Case(
        bad={metric("dead_letters", pod=pod): "4x10 7x80" for pod in "ab"},
        good={metric("dead_letters", pod=pod): "4x90" for pod in "ab"},
        at="60m",
        summary="3 jobs were given up within an hour",
    ),
    "PhotomendProcessesDie": Case(
        bad={metric("worker_process_exits_total", cause="SIGSEGV", pod="w"): "0x5 1+1x60"},
        good={metric("worker_process_exits_total", cause="recycled", pod="w"): "0+1x65"},
        labels={"cause": "SIGSEGV"},
        at="60m",
        summary="Worker processes ended 30 times in half an hour: SIGSEGV",
    ),
    "PhotomendDeviceOutOfMemory": Case(
        bad={metric("device_out_of_memory_total", pod="w"): "0+1x65"},
        good={metric("device_out_of_memory_total", pod="w"): "0x40 9x25"},
        at="60m",
        summary="Work did not fit into GPUs' memory 30 times in half an hour",
    ),
    "PhotomendLeasesLost": Case(
        bad={metric("leases_lost_total", reason="lost", pod=pod): "0+1x65" for pod in "vw"},
        good={metric("leases_lost_total", reason="lost", pod="w"): "0x40 3x25"},
        labels={"reason": "lost"},
        at="60m",
        summary="30 leases were lost in 15 minutes: lost",
    ),
    "PhotomendJobsComeBack": Case(
        # Both API processes tell of the same jobs.
        bad={metric("jobs_returned_total", reason="lapsed", pod=pod): "0+4x65" for pod in "ab"} | {ENDED: "0+10x65"},
        good={metric("jobs_returned_total", reason="lapsed", pod=pod): "0+4x65" for pod in "ab"} | {ENDED: "0+100x65"},
        at="60m",
        summary="60 running jobs went back to wait in 15 minutes",
    ),
    "PhotomendJobsFail": Case(
        bad={FAILED: "0+2x65", ENDED: "0+10x65"},
        good={HOSTILE: "0+2x65", ENDED: "0+10x65"},
        at="60m",
        summary="30 jobs failed in 15 minutes by no fault of their pictures",
    ),
    "PhotomendMessagesLost": Case(
        bad={metric("jobs_resent_total", pod=pod): "0+10x65" for pod in "ab"},
        good={metric("jobs_resent_total", pod=pod): "0+3x65" for pod in "ab"},
        at="60m",
        summary="150 jobs had to be sent to workers again in 15 minutes",
    ),
    "PhotomendCallbacksUndelivered": Case(
        bad={metric("callbacks_undelivered", pod="a"): "0x10 2x80"},
        good={metric("callbacks_undelivered", pod="a"): "5x10 2x80"},
        at="60m",
        summary="2 callbacks were given up within an hour",
    ),
    "PhotomendCallbacksLate": Case(
        bad=histogram("callback_lag_seconds", "0x65", "0+10x65", bound="60"),
        good=histogram("callback_lag_seconds", "0+10x65", "0+10x65", bound="60"),
        at="60m",
        summary="One callback in twenty comes 1h 35m 3s late or more",
    ),
    "PhotomendApiErrors": Case(
        bad={ANSWERED: "0+90x45", BROKEN: "0+10x45"},
        good={ANSWERED: "0+990x45", BROKEN: "0+10x45"},
        summary="10% of the API's answers are errors of ours",
    ),
    "PhotomendApiSlow": Case(
        bad=histogram("http_request_duration_seconds", "0x45", "0+60x45", bound="0.1", route="/v1/jobs"),
        good=histogram("http_request_duration_seconds", "0x45", "0+60x45", bound="0.1", route="/v1/jobs/{id}/events"),
        summary="One call in a hundred takes 9.901s or more",
    ),
    "PhotomendKeeperDown": Case(
        bad={AVAILABLE.format("keeper"): "2x5 0x40"},
        good={AVAILABLE.format("keeper"): "1x45"},
        labels={"namespace": "photomend", "deployment": "photomend-keeper"},
        summary="No keeper is running",
    ),
    "PhotomendApiDown": Case(
        bad={AVAILABLE.format("api"): "2x5 0x40"},
        good={AVAILABLE.format("api"): "1x45"},
        labels={"namespace": "photomend", "deployment": "photomend-api"},
        summary="No API pod is ready",
    ),
    "PhotomendWorkersRestart": Case(
        bad={RESTARTS: "0+1x45"},
        good={RESTARTS: "0x10 2x35"},
        summary="Workers' containers were started again 30 times in half an hour",
    ),
    "PhotomendOutOfMemory": Case(
        bad={OOM_KILLED: "1x45", RESTARTS: "0x10 1x35"},
        # It was started again long ago.
        good={OOM_KILLED: "1x45", RESTARTS: "1x45"},
        labels={"container": "worker"},
        summary="The kernel killed worker for its memory",
    ),
    "PhotomendWorkersPending": Case(
        bad={PENDING: "1x45"},
        good={PENDING: "1x10 0x35"},
        summary="1 worker pods wait for a node",
    ),
}


def promtool(*words: str) -> str:
    """What it says; Debian's package has it."""
    try:
        found = tool("promtool")
    except FileNotFoundError:
        services.missing("promtool is not installed: deploy/bootstrap.sh takes it out of Debian's package prometheus")
    done = subprocess.run([found, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """All groups as Prometheus itself reads them."""
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": GROUPS}))
    return file


def lives_of(name: str, case: Case) -> Iterator[dict[str, Any]]:
    rule = RULES[name]
    fires = {
        "exp_labels": rule["labels"] | case.labels,
        "exp_annotations": {"summary": case.summary, "description": rule["annotations"]["description"]},
    }
    for life, expected in ((case.bad, [fires]), (case.good, [])):
        yield {
            "name": f"{name} {'fires' if expected else 'is quiet'}",
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in life.items()],
            "alert_rule_test": [{"eval_time": case.at, "alertname": name, "exp_alerts": expected}],
        }


def test_every_alert_fires_when_it_should_and_not_when_it_should_not(rules):
    assert set(CASES) == set(RULES)
    words = {
        "rule_files": [rules.name],
        "evaluation_interval": EVERY,
        "tests": [one for name, case in CASES.items() for one in lives_of(name, case)],
    }
    file = rules.with_name("tests.yml")
    file.write_text(yaml.safe_dump(words))
    assert "SUCCESS" in promtool("test", "rules", str(file))


def test_promtool_would_refuse_an_alert_that_does_not_fire(rules):
    file = rules.with_name("tests.yml")
    never = Case(bad=CASES["PhotomendStoreDown"].good, good={}, summary="Redis does not answer")
    words = {"rule_files": [rules.name], "evaluation_interval": EVERY}
    file.write_text(yaml.safe_dump(words | {"tests": [next(lives_of("PhotomendStoreDown", never))]}))
    with pytest.raises(AssertionError, match="FAILED"):
        promtool("test", "rules", str(file))


def test_prometheus_accepts_the_rules(rules):
    assert f"{len(RULES)} rules found" in promtool("check", "rules", str(rules))
    promtool("check", "rules", str(PLAIN))


def test_both_forms_of_our_own_alerts_are_the_same():
    (plain,) = yaml.safe_load(PLAIN.read_text())["groups"]
    assert plain == GROUPS[0]


def names_in(query: str) -> set[str]:
    """Metrics of ours in a query."""
    return set(re.findall(rf"\b{PREFIX}\w+", query))


@pytest.mark.parametrize("name", RULES)
def test_an_alert_asks_for_metrics_that_somebody_exports(name):
    rule = RULES[name]
    asked = names_in(rule["expr"])
    assert asked <= series() | STANDARD
    assert asked or "kube_" in rule["expr"]
    assert {"summary", "description"} <= set(rule["annotations"])
    assert "{{" not in rule["annotations"]["description"]


def test_the_runbook_says_of_each_alert_what_it_means_what_to_check_and_what_to_do():
    runbook = (DEPLOY / "RUNBOOK.md").read_text()
    rows = re.findall(r"^\| `(Photomend\w+)` \| (.+) \| (.+) \| (.+) \|$", runbook, re.MULTILINE)
    assert {name for name, *_ in rows} == set(RULES)
    assert len(rows) == len(RULES)


# -- the dashboard


def panels() -> list[dict[str, Any]]:
    """Those that show something."""
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def test_the_dashboard_asks_for_metrics_that_somebody_exports():
    asked = {name for panel in panels() for target in panel["targets"] for name in names_in(target["expr"])}
    assert asked <= series() | STANDARD
    exported = {name.removesuffix(f"_{part}") for name in asked for part in ("bucket", "sum", "count")}
    assert len(exported) > 20


def test_prometheus_understands_every_query_of_the_dashboard(tmp_path):
    queries = [target["expr"] for panel in panels() for target in panel["targets"]]
    # Grafana puts in its own range.
    rules = [{"record": f"x:{n}", "expr": query.replace("$__rate_interval", "5m")} for n, query in enumerate(queries)]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(queries)} rules found" in promtool("check", "rules", str(file))


def test_panels_have_titles_units_and_places_of_their_own():
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        assert panel["title"]
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert max(x for x, _ in cells) < 24
        assert not taken & cells, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in panels()}) == len(panels())
