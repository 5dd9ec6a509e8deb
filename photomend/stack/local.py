"""Everything on one machine: Redis, S3, API, keeper and a worker, started in order and stopped in reverse."""

from __future__ import annotations

import base64
import fcntl
import json
import secrets
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from photomend.stack import private
from photomend.stack.errors import PortTaken, ServerFailed, StackError
from photomend.stack.ports import LOOPBACK, free_ports, is_free
from photomend.stack.probe import answers_ok
from photomend.stack.process import Child
from photomend.stack.redis import RedisServer
from photomend.stack.settings import child_environment
from photomend.stack.swift import S3Server

if TYPE_CHECKING:
    from jobs.settings import JobsSettings

#: Where the API listens unless that port is taken.
API_PORT = 8080
#: Imports and the first connection; minutes only on a machine that is very busy.
READY_TIMEOUT_S = 120.0
#: A worker may first finish what it has; see its drain_s.
DRAIN_GRACE_S = 40.0
#: Callbacks may go to receivers on this machine, on any port.
LOOPBACK_NAMES = (LOOPBACK, "localhost")

OnStep = Callable[[str], None]


def _say_nothing(words: str) -> None:
    """For callers that show no steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run, and where."""

    data_dir: Path  #: data, logs and secrets; everything is there again at the next start
    api_port: int | None = None  #: None = 8080, or another one where that is taken
    redis_port: int | None = None  #: None = any free one
    s3_port: int | None = None  #: None = any free one
    threads: int | None = None  #: jobs that the worker takes at a time; None = its own default


class LocalStack:
    """The stack: ``start()`` it, then use it with ``with``, which stops it.

    ``PHOTOMEND_REDIS_URL`` and ``PHOTOMEND_S3_ENDPOINT_URL`` replace our own servers.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.api_port = 0
        self._on_step: OnStep = _say_nothing
        self._cleanup = ExitStack()
        self._children: list[Child] = []
        self._env: dict[str, str] = {}

    def start(self, on_step: OnStep | None = None) -> None:
        """Return when a job can be submitted and would be done. ``on_step`` hears a few words before each step.

        Raises:
            StackError: something does not start; what had started is stopped again.
        """
        self._on_step = on_step or _say_nothing
        try:
            self._choose_port()
            self._lock_data()
            self._choose_settings()
            self._start_redis()
            self._start_s3()
            self._start_api()
            self._run("keeper", "Starting the keeper")
            self._start_worker()
            self.check()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def api_url(self) -> str:
        return f"http://{LOOPBACK}:{self.api_port}"

    @property
    def log_dir(self) -> Path:
        return self.plan.data_dir / "log"

    @property
    def settings(self) -> JobsSettings:
        """What the stack's own processes are told, for our side of the wire."""
        from jobs.settings import JobsSettings

        return JobsSettings.model_validate(self._told_to_processes())

    def check(self) -> None:
        """Make sure that every process is alive.

        Raises:
            ServerFailed: one has ended by itself.
        """
        for child in self._children:
            if not child.is_running:
                raise ServerFailed(
                    f"{child.name} ended by itself with status {child.exit_status} (log: {child.log})",
                    log_tail=child.tail(),
                )

    def stop(self) -> None:
        """Stop everything that this stack started, the last first. Idempotent."""
        self._children.clear()
        self._cleanup.close()

    def _lock_data(self) -> None:
        private.make_folder(self.plan.data_dir)
        lock = self._cleanup.enter_context((self.plan.data_dir / "lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            raise StackError(f"another photomend is running with its data in {self.plan.data_dir}") from err

    def _choose_port(self) -> None:
        wanted = self.plan.api_port
        if wanted is not None and not is_free(wanted):
            raise PortTaken(f"port {wanted} is in use; choose another one with --port")
        self.api_port = wanted or (API_PORT if is_free(API_PORT) else free_ports(1)[0])
        self._env |= {"PHOTOMEND_API_HOST": LOOPBACK, "PHOTOMEND_API_PORT": str(self.api_port)}

    def _choose_settings(self) -> None:
        from worker.settings import WorkerSettings

        given = WorkerSettings()
        hosts = [*given.callback_allow_hosts, *LOOPBACK_NAMES]
        self._env["PHOTOMEND_CALLBACK_ALLOW_HOSTS"] = json.dumps(hosts)
        if "allow_preview" not in given.model_fields_set:
            self._env["PHOTOMEND_ALLOW_PREVIEW"] = "1"
        if given.callback_secret is None:
            kept = private.keep(self.plan.data_dir / "callback-secret", _new_callback_secret())
            self._env["PHOTOMEND_CALLBACK_SECRET"] = kept
        if given.signing_secret is None:
            kept = private.keep(self.plan.data_dir / "signing-secret", secrets.token_urlsafe(32))
            self._env["PHOTOMEND_SIGNING_SECRET"] = kept

    def _start_redis(self) -> None:
        from jobs.errors import JobsError
        from jobs.settings import JobsSettings
        from jobs.store import JobStore

        given = JobsSettings()
        if "redis_url" in given.model_fields_set:
            self._on_step("Connecting to Redis")
            try:
                JobStore.connect(given).ping()
            except JobsError as err:
                raise StackError(f"the Redis that PHOTOMEND_REDIS_URL names does not answer: {err}") from err
            if "allow_volatile_redis" not in given.model_fields_set:
                # One's own on one's own machine, often as it was installed; `photomend doctor` says what it may lose.
                self._env["PHOTOMEND_ALLOW_VOLATILE_REDIS"] = "1"
            return
        self._on_step("Starting Redis")
        server = RedisServer(self.plan.data_dir / "redis", self.plan.redis_port)
        self._cleanup.callback(server.stop)
        server.start()
        if server.child is not None:
            self._children.append(server.child)
        self._env["PHOTOMEND_REDIS_URL"] = server.url

    def _start_s3(self) -> None:
        from jobs.blobs import BlobStore
        from jobs.errors import JobsError
        from jobs.settings import JobsSettings

        if "s3_endpoint_url" in JobsSettings().model_fields_set:
            self._on_step("Connecting to the S3 server")
        else:
            self._on_step("Starting the S3 server")
            server = S3Server(self.plan.data_dir / "s3", self.plan.s3_port, origins=self._page_origins())
            self._cleanup.callback(server.stop)
            server.start()
            self._children.extend(server.children)
            self._env |= {
                "PHOTOMEND_S3_ENDPOINT_URL": server.endpoint_url,
                "PHOTOMEND_S3_PUBLIC_ENDPOINT_URL": server.endpoint_url,
                "PHOTOMEND_S3_REGION": server.region,
                "PHOTOMEND_S3_ACCESS_KEY_ID": server.access_key,
                "PHOTOMEND_S3_SECRET_ACCESS_KEY": server.secret_key,
            }
        settings = self.settings
        try:
            blobs = BlobStore.connect(settings)
            blobs.ensure_bucket(settings.bucket)
            if "s3_endpoint_url" in JobsSettings().model_fields_set:
                # Where it refuses, the page uploads through the API, and the doctor says so.
                blobs.let_pages_in(settings.bucket, self._page_origins())
        except JobsError as err:
            raise StackError(f"the bucket {settings.bucket} cannot be made or reached: {err}") from err

    def _page_origins(self) -> list[str]:
        return [f"http://{name}:{self.api_port}" for name in LOOPBACK_NAMES]

    def _start_api(self) -> None:
        api = self._run("api", "Starting the API")
        api.wait_until(lambda: answers_ok(self.api_port, "/readyz"), timeout_s=READY_TIMEOUT_S)

    def _start_worker(self) -> None:
        from jobs.store import JobStore

        words = [] if self.plan.threads is None else ["--threads", str(self.plan.threads)]
        worker = self._run("worker", "Starting a worker", *words, grace_s=DRAIN_GRACE_S)
        store = JobStore.connect(self.settings)
        worker.wait_until(lambda: bool(store.slots()), timeout_s=READY_TIMEOUT_S)

    def _run(self, command: str, step: str, *words: str, grace_s: float = 10.0) -> Child:
        self._on_step(step)
        child = Child(
            f"the {command}",
            [sys.executable, "-m", "photomend", command, *words],
            log=self.log_dir / f"{command}.log",
            env=child_environment(self._env),
        )
        self._cleanup.callback(child.stop, grace_s=grace_s)
        self._children.append(child)
        return child

    def _told_to_processes(self) -> dict[str, object]:
        prefix = "PHOTOMEND_"
        told: dict[str, object] = {name.removeprefix(prefix).lower(): value for name, value in self._env.items()}
        told["callback_allow_hosts"] = json.loads(self._env["PHOTOMEND_CALLBACK_ALLOW_HOSTS"])
        return told


def _new_callback_secret() -> str:
    """A Standard Webhooks secret: 32 random bytes."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
