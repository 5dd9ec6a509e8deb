"""The one door to Redis: how it is dialled, how scripts are called, and how its errors become ours."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from typing import Any

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.retry import Retry

from jobs.errors import StoreUnavailable
from jobs.model import JobId
from jobs.settings import JobsSettings

#: Start of every key. The braces put all of them into one cluster slot.
PREFIX = "{photomend}:"

#: Seconds to dial, and to wait for an answer. Scripts take well under a millisecond; together with the retries the
#: longest wait stays below a lease, so that a worker learns of an outage while it still owns its jobs.
CONNECT_TIMEOUT_S = 1.5
ANSWER_TIMEOUT_S = 2.5
#: Every script may be called again after its answer was lost, so the client may retry by itself.
RETRIES = 2

#: How Redis begins its words when it is there but does not do what it is asked. Some arrive wrapped by the script.
_REFUSALS = (
    "OOM",
    "READONLY",
    "LOADING",
    "NOREPLICAS",
    "MISCONF",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "BUSY",
    "NOAUTH",
    "WRONGPASS",
    "NOPERM",
    "UNBLOCKED",
    "ERR max number of clients reached",
)


def dial(settings: JobsSettings) -> redis.Redis:
    """A client of our own making; nothing is sent yet."""
    return redis.Redis.from_url(
        settings.redis_url,
        decode_responses=True,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=ANSWER_TIMEOUT_S,
        socket_keepalive=True,
        # Operators tell whose a connection is (CLIENT LIST).
        client_name="photomend",
        health_check_interval=10,
        retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), RETRIES),
    )


@contextmanager
def translated() -> Iterator[None]:
    """Redis' own errors as ours.

    Raises:
        StoreUnavailable: out of reach, loading, out of memory, read-only, without the replicas it must have.
    """
    try:
        yield
    except NoScriptError as err:
        # Loaded, and gone again: it has just been restarted, or another server took over.
        raise StoreUnavailable(f"scripts are lost: {err}") from err
    except ResponseError as err:
        if is_refusal(str(err)):
            raise StoreUnavailable(str(err)) from err
        raise
    except RedisError as err:
        raise StoreUnavailable(f"{type(err).__name__}: {err}") from err


def is_refusal(message: str) -> bool:
    """True where Redis is not able to, false where we asked for nonsense (a bug of ours, not to be retried)."""
    return message.startswith(_REFUSALS) or message.startswith(("command not allowed when used memory", "You can't"))


def job_key(job_id: JobId) -> str:
    """Where a job's record is."""
    return f"{PREFIX}job:{job_id}"


def as_record(flat: Sequence[str]) -> dict[str, str]:
    """A hash as scripts give it, names and values by turns."""
    return dict(zip(flat[::2], flat[1::2], strict=True))


@functools.cache
def script_text(name: str) -> str:
    """One script of ``jobs/lua`` with what they share in front."""
    folder = resources.files("jobs") / "lua"
    shared = ("_common", "_batch") if name.startswith("batch_") else ("_common",)
    return "".join((folder / f"{part}.lua").read_text() for part in (*shared, name))


@functools.cache
def script_hash(name: str) -> str:
    """What the server calls it. Worked out here, so that threads share nothing that one of them could take away."""
    return hashlib.sha1(script_text(name).encode(), usedforsecurity=False).hexdigest()


class Scripts:
    """Calls the Lua scripts by their hash; loads them when the server does not know them (first call, restart)."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client

    def call(self, name: str, *, keys: Sequence[str], args: Sequence[Any] = ()) -> Any:
        """What ``jobs/lua/<name>.lua`` answers; its header says what that is.

        Raises:
            StoreUnavailable: see ``translated``.
        """
        with translated():
            try:
                return self.client.evalsha(script_hash(name), len(keys), *keys, *args)
            except NoScriptError:
                self.client.script_load(script_text(name))
                return self.client.evalsha(script_hash(name), len(keys), *keys, *args)

    def call_each(self, name: str, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
        """The same for many keys and arguments in one round trip; each answer, in their order.

        Raises:
            StoreUnavailable: see ``translated``. Some may have been done.
        """
        with translated():
            for _ in range(2):
                pipeline: Any = self.client.pipeline(transaction=False)
                for keys, args in calls:
                    pipeline.evalsha(script_hash(name), len(keys), *keys, *args)
                answers: list[Any] = pipeline.execute(raise_on_error=False)
                if not any(isinstance(answer, NoScriptError) for answer in answers):
                    break
                self.client.script_load(script_text(name))
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
        return answers

    def call_and_wait(
        self, name: str, *, keys: Sequence[str], args: Sequence[Any], replicas: int, wait_ms: int
    ) -> tuple[Any, int]:
        """The same, and how many replicas have it by then; both go out in one round trip, on one connection.

        Raises:
            StoreUnavailable: see ``translated``.
        """
        with translated():
            for _ in range(2):
                pipeline: Any = self.client.pipeline(transaction=False)
                pipeline.evalsha(script_hash(name), len(keys), *keys, *args)
                pipeline.execute_command("WAIT", replicas, wait_ms)
                answer, acknowledged = pipeline.execute(raise_on_error=False)
                if not isinstance(answer, NoScriptError):
                    break
                self.client.script_load(script_text(name))
            for reply in (answer, acknowledged):
                if isinstance(reply, Exception):
                    raise reply
        return answer, int(acknowledged)
