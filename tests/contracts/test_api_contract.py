"""Schemathesis speaks to the running API as its OpenAPI document says one may, and as it says one may not.

Examples, boundaries, random and chained calls, right and wrong ones; with real Redis and storage, and a worker that
ends what is submitted. ``make contract`` looks longer: EXAMPLES and SEED say for how long and where it begins.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from jobs.batches.model import Batch, BatchState
from jobs.batches.store import BatchNotFound
from jobs.errors import IllegalMove
from jobs.keys import Scope
from jobs.model import Job, Tenant, TenantId
from jobs.states import JobState
from tests.integration.api.conftest import Service, make_settings, serve

__all__ = ["serve"]

#: Calls of each random phase and operation; boundaries and examples come on top.
EXAMPLES = int(os.environ.get("EXAMPLES", "4"))
SEED = int(os.environ.get("SEED", "1"))
#: Fewer calls than this would prove nothing.
LEAST_CALLS = 400
ACME = TenantId("acme")
PHASES = ("examples", "coverage", "fuzzing", "stateful")
#: Succeeds only for a job with a callback whose event has happened; tests/integration/api/test_callbacks.py has it.
NEEDS_A_CALLBACK = "POST /v1/jobs/{job_id}/callbacks/replay"
#: Succeed only for a batch in the right state or with results, and none is run here; test_batches.py and
#: test_batch_reviewing.py of tests/integration/api have them.
NEED_A_RUNNER = {
    f"{call} /v1/batches/{{batch_id}}/{name}"
    for call, name in (
        ("POST", "pause"), ("POST", "resume"), ("POST", "retry-failed"), ("GET", "report"), ("POST", "redo"),
        ("GET", "items/{number}"), ("GET", "items/{number}/result"), ("POST", "items/{number}/review"),
    )
}  # fmt: skip

#: Ten times what it takes on two quiet cores: how busy the machine is says nothing of the contract.
pytestmark = pytest.mark.timeout(200 + 100 * EXAMPLES)

CONFIG = """
hooks = "tests.contracts.api_checks"
continue-on-failure = true
request-timeout = 60.0
max-redirects = 0
seed = {seed}
headers = {{ Authorization = "Bearer {key}" }}
[checks]
# See api_checks.py, which knows our codes.
positive_data_acceptance.enabled = false
# A list of too many may be refused by its size, before it is read.
negative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429, "5xx"]
# A deleted job's record stays, as expired, until everything stored for it is gone.
use_after_free.enabled = false
[generation]
max-examples = {examples}
database = "none"
"""


@contextmanager
def ending_jobs(service: Service) -> Iterator[None]:
    """While this lasts, whatever is submitted ends soon: two of three jobs well, batches with an item that failed."""
    over = threading.Event()

    def work() -> None:
        done = 0
        while not over.wait(0.05):
            for job in service.store.list(ACME, state=JobState.QUEUED, limit=200).jobs:
                claimed = service.store.claim(job.id, worker="w", lease_s=30)
                if isinstance(claimed, Job):
                    done += 1
                    (service.finish if done % 3 else service.fail)(claimed)
            for batch in service.store.batches.page(ACME, limit=200).batches:
                advance(service, batch)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def advance(service: Service, batch: Batch) -> None:
    """The next step of a batch's life, as a runner without anything to do would make it."""
    following = {
        BatchState.PREPARING: BatchState.RUNNING,
        BatchState.RUNNING: BatchState.COMPLETING,
        BatchState.CANCELING: BatchState.COMPLETING,
        BatchState.COMPLETING: batch.ending or BatchState.SUCCEEDED,
    }
    if to := following.get(batch.state):
        with suppress(IllegalMove, BatchNotFound):
            service.store.batches.note(batch, to=to, prepared=1, total=1, n_failed=1)


def test_every_answer_to_right_and_wrong_calls_is_one_that_the_contract_has(
    jobs_settings, serve: Callable[[Service], str], tmp_path: Path
):
    settings = make_settings(
        jobs_settings,
        max_upload_bytes=1_000_000,
        api_keys_required=True,
        key_requests_per_min=0,
        tenant_requests_per_min=0,
    )
    service = Service(settings)
    service.store.set_tenant(Tenant(id=ACME, inputs=("photos",), outputs=("mended",)))
    key, _ = service.store.keys.create(ACME, scopes=tuple(Scope))
    config, report = tmp_path / "schemathesis.toml", tmp_path / "report.json"
    config.write_text(CONFIG.format(seed=SEED, examples=EXAMPLES, key=key))
    words = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", f"{serve(service)}/openapi.json",
        "--report", "json", "--report-json-path", str(report), "--no-color",
    ]  # fmt: skip
    with ending_jobs(service):
        ran = subprocess.run(
            words, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
            env=os.environ | {"PYTHONPATH": "."},
        )  # fmt: skip
    service.store.close()
    assert ran.returncode == 0, ran.stdout[-12000:] + ran.stderr[-2000:]
    said = json.loads(report.read_text())
    assert {name: phase["status"] for name, phase in said["phases"].items()} == dict.fromkeys(PHASES, "success")
    assert said["operations"]["tested"] == said["operations"]["total"] == said["operations"]["selected"]
    assert said["test_cases"]["generated"] >= LEAST_CALLS
    reached = {name: sum(phase["accepted"] for phase in rates.values()) for name, rates in said["valid_rates"].items()}
    assert {name for name, count in reached.items() if not count} <= {NEEDS_A_CALLBACK} | NEED_A_RUNNER
