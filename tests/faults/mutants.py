"""``make mutants``: each guard removed in turn, in a copy of the tree; a fast test has to turn red for each.

A guard whose removal no test notices is either not needed or not proved. Exit status 1: a mutant survived.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.fleet import ROOT

#: Longest run of one mutant's tests (seconds).
PATIENCE_S = 180.0
#: pytest's exit status when tests ran and some failed.
TESTS_FAILED = 1

_JOBS = "tests/integration/jobs/"
_WORKER = "tests/unit/worker/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One guard, how it is taken away, and the test that must notice."""

    guard: str
    file: str
    text: str  #: comes once in the file
    without: str  #: what stands there instead
    test: str  #: a pytest node


MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        guard="commit compares the epoch before it sets",
        file="jobs/lua/commit.lua",
        text="local why = refusal(job, epoch)\n",
        without="local why = job and job.state ~= 'processing' and 'illegal' or nil\n",
        test=_JOBS + "test_transitions.py::test_a_worker_whose_job_was_taken_over_is_fenced_off",
    ),
    Mutant(
        guard="release is fenced by the epoch",
        file="jobs/lua/release.lua",
        text="local why = refusal(job, epoch)\n",
        without="local why = job and job.state ~= 'processing' and 'illegal' or nil\n",
        test=_JOBS + "test_transitions.py::test_a_worker_whose_job_was_taken_over_is_fenced_off",
    ),
    Mutant(
        guard="fail is fenced by the epoch",
        file="jobs/lua/fail.lua",
        text="  why = refusal(job, epoch)\n",
        without="  why = job and job.state ~= 'processing' and 'illegal' or nil\n",
        test=_JOBS + "test_transitions.py::test_a_worker_whose_job_was_taken_over_is_fenced_off",
    ),
    Mutant(
        guard="beat is fenced by the epoch",
        file="jobs/lua/beat.lua",
        text="got[1] ~= 'processing' or got[2] ~= ARGV[2]",
        without="got[1] ~= 'processing'",
        test=_JOBS + "test_transitions.py::test_a_worker_whose_job_was_taken_over_is_fenced_off",
    ),
    Mutant(
        guard="only a queued job can be claimed",
        file="jobs/lua/claim.lua",
        text="if job.state ~= 'queued' or tonumber(job.v)",
        without="if tonumber(job.v)",
        test=_JOBS + "test_transitions.py::test_only_a_queued_job_can_be_claimed_or_refused_before_a_claim",
    ),
    Mutant(
        guard="an attempt is charged before a byte is read",
        file="jobs/lua/_common.lua",
        text="tonumber(job.attempt or 0) + 1, tonumber(job.epoch or 0) + 1",
        without="tonumber(job.attempt or 0), tonumber(job.epoch or 0) + 1",
        test=_JOBS + "test_transitions.py::test_a_job_interrupted_as_often_as_allowed_is_failed",
    ),
    Mutant(
        guard="attempts are capped",
        file="jobs/lua/_common.lua",
        text="if tonumber(job.attempt) >= policy.max_attempts then",
        without="if false then",
        test=_JOBS + "test_transitions.py::test_a_job_interrupted_as_often_as_allowed_is_failed",
    ),
    Mutant(
        guard="a commit repeated after a lost answer is the same commit",
        file="jobs/lua/commit.lua",
        text="job.state == 'succeeded' and job.result == ARGV[4] then",
        without="false then",
        test=_JOBS + "test_transitions.py::test_calls_whose_answer_was_lost_may_be_repeated",
    ),
    Mutant(
        guard="a claim repeated after a lost answer is the same claim",
        file="jobs/lua/claim.lua",
        text="if job.state == 'processing' and job.claim == ARGV[5] then return reply('ok', id) end\n",
        without="",
        test=_JOBS + "test_transitions.py::test_the_same_claim_repeated_is_granted_again_and_counted_once",
    ),
    Mutant(
        guard="the idempotency entry is written with the job",
        file="jobs/lua/submit.lua",
        text="if idem then redis.call('SET', idem, ARGV[10] .. ' ' .. id, 'EX', ARGV[11]) end\n",
        without="",
        test=_JOBS + "test_admission.py::test_fifty_parallel_submits_with_one_key_are_one_job",
    ),
    Mutant(
        guard="the callback is written with the end that it tells of",
        file="jobs/lua/_common.lua",
        text="  emit(id, job, EVENTS[to], t)\n",
        without="",
        test=_JOBS + "test_outbox.py::test_each_end_tells_its_one_event",
    ),
    Mutant(
        guard="a delivery is leased to one sender",
        file="jobs/lua/deliveries.lua",
        text="    redis.call('ZADD', KEYS[1], num(t + tonumber(ARGV[2])), delivery)\n",
        without="",
        test=_JOBS + "test_outbox.py::test_a_delivery_is_offered_to_one_sender_and_again_when_that_one_dies",
    ),
    Mutant(
        guard="leases get their length again after a restart of Redis",
        file="jobs/lua/sweep.lua",
        text="elseif uptime >= tonumber(job.lease_s) then",
        without="else",
        test=_JOBS + "test_redis_trouble.py"
        "::test_after_a_restart_scripts_are_loaded_anew_and_leases_get_their_length_again",
    ),
    Mutant(
        guard="work that was accepted goes on at maxmemory",
        file="jobs/lua/_common.lua",
        text="  redis.call('ZREM', P .. 'leases', '')\n",
        without="",
        test=_JOBS + "test_redis_trouble.py::test_at_maxmemory_new_jobs_are_refused_and_running_ones_can_finish",
    ),
    Mutant(
        guard="a submit waits for its replica",
        file="jobs/admission.py",
        text="        if acknowledged < replicas:\n",
        without="        if False:\n",
        test=_JOBS + "test_redis_trouble.py::test_a_submit_is_accepted_only_when_a_connected_replica_has_it",
    ),
    Mutant(
        guard="a suspect is claimed by a process that holds nothing else",
        file="jobs/lua/claim_suspect.lua",
        text="if #held > 0 then",
        without="if false then",
        test=_JOBS + "test_suspects.py::test_a_suspect_runs_alone_and_an_innocent_loses_the_suspicion_at_its_end",
    ),
    Mutant(
        guard="a process that runs a suspect is given nothing else",
        file="jobs/lua/claim.lua",
        text="if secluded and tonumber(secluded) > t then",
        without="if false then",
        test=_JOBS + "test_suspects.py::test_a_chosen_worker_hears_of_it_and_is_given_nothing_else",
    ),
    Mutant(
        guard="poison is declared after three deaths alone",
        file="jobs/lua/_common.lua",
        text="if tonumber(job.suspect or 0) >= policy.max_deaths then",
        without="if false then",
        test=_JOBS + "test_suspects.py::test_poison_is_declared_after_three_deaths_alone_and_told_once",
    ),
    Mutant(
        guard="a death of many accuses nobody of being the cause",
        file="jobs/lua/_common.lua",
        text="local counts = job.suspect ~= nil and cause",
        without="local counts = cause",
        test=_JOBS + "test_suspects.py::test_poison_is_declared_after_three_deaths_alone_and_told_once",
    ),
    Mutant(
        guard="the feeder sends lost messages again",
        file="worker/feeder.py",
        text="        self._resend()\n",
        without="",
        test=_WORKER + "test_feeder.py::test_a_lost_message_is_sent_again_only_where_the_queue_is_empty",
    ),
    Mutant(
        guard="whoever cannot renew his lease stops by himself",
        file="worker/lease.py",
        text="if self._stop is None and self._clock() >= self.safe_until:",
        without="if False:",
        test=_WORKER + "test_lease.py::test_an_unrenewed_lease_is_given_up_before_anyone_else_may_have_it",
    ),
    Mutant(
        guard="a lease is renewed from when the beat was sent",
        file="worker/lease.py",
        text="            self._renewed_at = sent_at\n",
        without="            self._renewed_at = self._clock()\n",
        test=_WORKER + "test_lease.py::test_a_beat_renews_from_when_it_was_sent_not_from_when_it_was_answered",
    ),
    Mutant(
        guard="a job without progress is not renewed",
        file="worker/lease.py",
        text="        if not self._is_alive():\n",
        without="        if False:\n",
        test=_WORKER + "test_lease.py::test_a_job_without_a_pulse_is_not_renewed",
    ),
    Mutant(
        guard="a refused commit deletes what was written",
        file="worker/run.py",
        text='        _discard(place, written)\n        logger.warning("commit refused',
        without='        logger.warning("commit refused',
        test=_WORKER + "test_run.py::test_a_refused_commit_deletes_what_was_written",
    ),
    Mutant(
        guard="an unconfirmed commit keeps what was written",
        file="worker/run.py",
        text='        logger.warning("commit not confirmed, results kept"',
        without='        _discard(place, written)\n        logger.warning("commit not confirmed, results kept"',
        test=_WORKER + "test_run.py"
        "::test_a_commit_that_is_never_confirmed_keeps_the_results_because_it_may_have_happened",
    ),
    Mutant(
        guard="the last word is repeated until Redis answers",
        file="worker/run.py",
        text="            if place.clock() + wait_s > until:\n",
        without="            if True:\n",
        test=_WORKER + "test_run.py::test_a_commit_is_repeated_until_redis_answers",
    ),
    Mutant(
        guard="every attempt writes keys of its own",
        file="jobs/object_names.py",
        text='    unique = f"{job.epoch}-{secrets.token_hex(8)}"\n',
        without='    unique = "1-0"\n',
        test="tests/unit/jobs/test_object_names.py::test_no_two_attempts_nor_two_tries_write_the_same_key",
    ),
    Mutant(
        guard="what a drain releases is not charged",
        file="worker/drain.py",
        text="            release(self._store, flight, charge=False)\n",
        without="            release(self._store, flight, charge=True)\n",
        test=_WORKER + "test_drain.py::test_a_flight_that_does_not_answer_is_released_over_its_head_in_time",
    ),
    Mutant(
        guard="a callback goes only where a record says that we signed",
        file="jobs/outbox.py",
        text=" if self._is_genuine(job_id, record) else None",
        without="",
        test=_JOBS + "test_forged.py::test_no_callback_goes_where_we_did_not_sign_that_it_should",
    ),
    Mutant(
        guard="of what a record names, its job's own results are deleted and nothing else",
        file="jobs/retention.py",
        text=" for ref, is_own in named if is_own)",
        without=" for ref, is_own in named)",
        test=_JOBS + "test_forged.py"
        "::test_the_sweeper_deletes_a_jobs_own_results_and_nothing_else_that_its_record_names",
    ),
    Mutant(
        guard="a batch asks for what it asked for when its seal was looked at",
        file="jobs/batches/store.py",
        text="batch=_as_leased(_batch(answer), batch),",
        without="batch=_batch(answer),",
        test=_JOBS + "test_batches.py::test_a_batch_asks_for_what_it_asked_for_when_it_was_taken",
    ),
    Mutant(
        guard="of what a settled job names, its own results are deleted and nothing else",
        file="jobs/object_names.py",
        text="    return [a.ref for a in named if is_result_of(a.ref, job.id, bucket=bucket, tenant=job.tenant)]",
        without="    return [a.ref for a in named]",
        test=_JOBS + "test_batches.py"
        "::test_a_settled_jobs_own_results_are_deleted_and_nothing_else_that_its_record_names",
    ),
    Mutant(
        guard="an upload's record leads to its own place only",
        file="jobs/retention.py",
        text="        if not self._is_place_of(upload_id, upload):",
        without="        if False:",
        test=_JOBS + "test_forged.py::test_an_upload_is_where_uploads_are_whatever_its_record_says",
    ),
)


def copy_of_the_tree(folder: Path) -> Path:
    """The files that git knows, as they are now."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        source = ROOT / name
        if source.is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return folder


def mutate(tree: Path, mutant: Mutant) -> str:
    """Take the guard away; the file as it was.

    Raises:
        SystemExit: the guard is not there (any more): the list is out of date.
    """
    file = tree / mutant.file
    text = file.read_text()
    if text.count(mutant.text) != 1:
        sys.exit(f"{mutant.guard}: {mutant.file} has {text.count(mutant.text)} of {mutant.text!r}, not one")
    file.write_text(text.replace(mutant.text, mutant.without))
    return text


def run_tests(tree: Path, tests: list[str]) -> tuple[int, str]:
    """pytest's exit status and its last line."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    env = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(tree)}
    done = subprocess.run(
        command, cwd=tree, env=env, capture_output=True, text=True, timeout=PATIENCE_S + 10 * len(tests), check=False
    )
    lines = done.stdout.strip().splitlines()
    return done.returncode, re.sub(r"^=+ | =+$", "", lines[-1]) if lines else done.stderr[-200:]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.mutants", description=__doc__)
    parser.add_argument("words", nargs="*", help="only the guards that have one of these words in their description")
    words = parser.parse_args().words
    chosen = [m for m in MUTANTS if not words or any(word in m.guard for word in words)]
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = copy_of_the_tree(Path(folder))
        status, last = run_tests(tree, sorted({m.test for m in chosen}))
        if status or "skipped" in last:
            sys.stdout.write(f"the tests do not pass as they are: {last}\n")
            return 1
        for mutant in chosen:
            began = time.monotonic()
            before = mutate(tree, mutant)
            status, last = run_tests(tree, [mutant.test])
            (tree / mutant.file).write_text(before)
            died = status == TESTS_FAILED
            survivors += not died
            verdict = "caught" if died else "SURVIVED"
            name = mutant.test.rpartition("::")[2]
            sys.stdout.write(f"{verdict:9} {mutant.guard}\n{'':9} by {name} ({time.monotonic() - began:.1f} s)\n")
            sys.stdout.flush()
    sys.stdout.write(
        f"{len(chosen) - survivors} of {len(chosen)} guards are proved by a test that fails without them\n"
    )
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
