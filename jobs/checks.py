"""What is right and what is not about an installation, line by line: what `photomend doctor` and a self-test find."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from jobs.errors import JobsError, StoreUnavailable
from jobs.settings import JobsSettings
from jobs.signing import require_secret
from jobs.store import JobStore
from jobs.traces import collector_answers

#: Clocks further apart than this (seconds) disturb signatures of URLs and of callbacks long before they break them.
CLOCKS_APART_S = 30.0
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


class Verdict(StrEnum):
    """How it is."""

    OK = "ok"
    WARNING = "warning"  #: works, but somebody should know
    FAILED = "failed"
    SKIPPED = "skipped"  #: not tried, and why


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line: what was looked at, how it is, and what to do."""

    name: str  #: stable, such as ``storage.write``
    verdict: Verdict
    said: str  #: what was found
    advice: str = ""  #: what to do; empty where there is nothing

    def words(self) -> dict[str, Any]:
        """The same in JSON's terms."""
        return dataclasses.asdict(self)


def ok(name: str, said: str) -> Check:
    return Check(name=name, verdict=Verdict.OK, said=said)


def warning(name: str, said: str, advice: str) -> Check:
    return Check(name=name, verdict=Verdict.WARNING, said=said, advice=advice)


def failed(name: str, said: str, advice: str) -> Check:
    return Check(name=name, verdict=Verdict.FAILED, said=said, advice=advice)


def skipped(name: str, said: str, advice: str = "") -> Check:
    return Check(name=name, verdict=Verdict.SKIPPED, said=said, advice=advice)


def of_settings(settings: JobsSettings, *, signs_callbacks: bool) -> Iterator[Check]:
    """Whether the secrets are there, and what the addresses give away. API and keeper sign callbacks, workers don't."""
    try:
        require_secret(settings)
    except JobsError as err:
        yield failed("settings.signing_secret", str(err), "set it for API, keeper, worker and operators alike")
    else:
        yield ok("settings.signing_secret", "set")
    if not signs_callbacks:
        pass
    elif settings.callback_secret is None:
        yield warning(
            "settings.callback_secret",
            "not set: callbacks are refused",
            "for API and keeper: PHOTOMEND_CALLBACK_SECRET=whsec_$(openssl rand -base64 32)",
        )
    else:
        yield ok("settings.callback_secret", "set")
    yield _of_redis_url(settings)
    if settings.traces:
        yield _of_traces(settings)


def _of_traces(settings: JobsSettings) -> Check:
    try:
        answers = collector_answers(settings)
    except JobsError as err:
        return failed("traces", str(err), "the images have it; or PHOTOMEND_TRACES=0")
    if answers:
        return ok("traces", "the collector takes spans")
    return warning(
        "traces",
        "the collector does not take spans: jobs are done, their traces are lost",
        "start it, or correct OTEL_EXPORTER_OTLP_ENDPOINT (OTLP over HTTP, as http://collector:4318)",
    )


def _of_redis_url(settings: JobsSettings) -> Check:
    parts = urlsplit(settings.redis_url)
    where = f"{parts.scheme}://{parts.hostname or parts.path}"
    if parts.scheme == "unix" or parts.hostname in _LOOPBACK or parts.password:
        return ok(
            "settings.redis_url", f"{where}, {'with' if parts.password else 'on this machine, without'} a password"
        )
    return warning(
        "settings.redis_url",
        f"{where} asks for no password: whoever reaches it can empty it",
        "an ACL as deploy/secrets.sh makes it",
    )


def of_store(store: JobStore, settings: JobsSettings) -> Iterator[Check]:
    """Whether Redis answers, keeps what it is given, and has our time."""
    doctor = store.doctor()
    try:
        version, apart_s = doctor.server()
        faults = doctor.faults_of_redis(min_replicas=settings.redis_min_replicas)
    except StoreUnavailable as err:
        yield failed("redis", f"does not answer: {err}", "start it, or correct PHOTOMEND_REDIS_URL")
        return
    yield ok("redis", f"{version} answers")
    for fault in faults:
        said, _, advice = fault.partition("; ")
        yield failed("redis.durability", said, advice or "see deploy/redis.conf")
    if not faults:
        yield ok("redis.durability", "evicts nothing, and writes an append-only file")
    if abs(apart_s) > CLOCKS_APART_S:
        yield warning("redis.clock", f"{apart_s:+.0f} s from this machine's", "let both follow one time server (NTP)")
    else:
        yield ok("redis.clock", "that of this machine")


def of_fleet(store: JobStore) -> Check:
    """Who is there to work, and on what.

    Raises:
        StoreUnavailable: Redis did not answer.
    """
    slots = store.slots()
    if not slots:
        return warning("fleet", "no worker offers slots: jobs wait", "start one; its log says what it lacks")
    kinds = Counter(str(one.device.get("name", "unknown")) for one in slots)
    said = ", ".join(f"{count} on {name}" for name, count in sorted(kinds.items()))
    free, total = sum(one.free for one in slots), sum(one.total for one in slots)
    return ok("fleet", f"worker processes: {said}; {free} of {total} slots free")
