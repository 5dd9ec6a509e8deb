"""The worker's side of the sandbox: one zygote, asked by many threads, started again when it dies."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import structlog
from pydantic import BaseModel

from pipeline.decode import Limits
from pipeline.errors import DecoderLost, HostileImage, ImageTooLarge, OutOfMemory
from pipeline.source import SourceImage
from worker.sandbox import kernel
from worker.sandbox.confine import OVERTIME_S, Bounds, Protections, memory_for
from worker.sandbox.verify import read_answer
from worker.sandbox.zygote import MAX_MESSAGE
from worker.settings import WorkerSettings, decoder_environment

logger = structlog.get_logger(__name__)

ZYGOTE = "worker.sandbox.zygote"
#: How long the imports of a zygote may take on a busy machine (seconds).
START_S = 60.0
#: How often a picture is tried when its zygote dies under it.
TRIES = 2
#: The most that one ``write`` takes on Linux is a page less than 2 GiB (bytes).
_PIECE = 1 << 30
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL

#: What a death by these signals means; others are crashes.
_MEANINGS = {
    signal.SIGXCPU: "it took more than the allowed {bounds.cpu_s:g} s of computing",
    signal.SIGXFSZ: "it wrote more than any picture of the allowed size has",
    signal.SIGSYS: "it tried something that no decoder needs",
}


def sandbox_bounds(settings: WorkerSettings) -> Bounds:
    """What the settings allow one child."""
    return Bounds(
        memory_bytes=settings.sandbox_memory_bytes or memory_for(settings.max_pixels), cpu_s=settings.sandbox_cpu_s
    )


class _ZygoteLost(Exception):
    """Raised when the zygote does not answer any more."""


class _Verdict(BaseModel):
    status: int  #: as ``os.waitstatus_to_exitcode`` has it
    timed_out: bool


@dataclass(frozen=True, slots=True)
class _Zygote:
    process: subprocess.Popen[bytes]
    control: socket.socket
    protections: Protections

    @classmethod
    def start(cls, module: str, bounds: Bounds) -> _Zygote:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            number = theirs.fileno()
            # In our own session: Linux shares a busy machine's time out by sessions, and pictures are our work.
            process = subprocess.Popen(  # noqa: S603 - our own command line
                [sys.executable, "-P", "-m", module, str(number), json.dumps(asdict(bounds))],
                pass_fds=[number],
                env=decoder_environment(sys.path),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        ours.settimeout(START_S)
        try:
            protections = Protections(**json.loads(ours.recv(MAX_MESSAGE)))
        except (OSError, ValueError) as error:
            ours.close()
            process.kill()
            raise DecoderLost(f"the decoder did not start; it ended with {process.wait()}") from error
        ours.settimeout(None)
        return cls(process, ours, protections)

    def end(self) -> None:
        """Close its socket, at which it goes; whatever it still does is killed with it."""
        self.control.close()
        try:
            self.process.wait(OVERTIME_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Sandbox:
    """Decodes strangers' bytes in children that can do no harm. Safe from several threads.

    The zygote goes when this process does, however it ends: its socket is closed then.
    """

    def __init__(self, bounds: Bounds, *, required: bool = False, module: str = ZYGOTE) -> None:
        """Nothing runs before ``start``.

        Args:
            bounds: what a child may use.
            required: refuse a kernel that lacks seccomp or Landlock.
            module: what is run as the zygote; tests have one that can be told to misbehave.
        """
        self._bounds = bounds
        self._required = required
        self._module = module
        self._lock = threading.Lock()
        self._zygote: _Zygote | None = None
        self._was_told: Protections | None = None
        self._is_closed = False

    def start(self) -> Protections:
        """Have a zygote run, unless one does; what the kernel gives it.

        Raises:
            DecoderLost: it does not start, or what is required cannot be had.
        """
        return self._living().protections

    def close(self) -> None:
        """End the zygote and whatever it decodes, for good."""
        with self._lock:
            self._is_closed = True
            if self._zygote is not None:
                self._zygote.end()
            self._zygote = None

    def decode(self, data: bytes, *, limits: Limits, page: int = 1) -> SourceImage:
        """As ``pipeline.decode.read``, bit for bit and with its errors.

        Raises:
            HostileImage: the file crashed its decoder, or made it ask for more than any honest picture needs.
            OutOfMemory: the kernel killed the decoder.
            DecoderLost: no decoder could be kept running; no fault of the picture's.
        """
        if len(data) > limits.max_bytes:
            raise ImageTooLarge(f"the file has {len(data):,} bytes, allowed are {limits.max_bytes:,}")
        for _ in range(TRIES):
            zygote = self._living()
            try:
                return self._ask(zygote, data, limits, page)
            except _ZygoteLost as error:
                logger.error("decoder lost, starting it again", pid=zygote.process.pid, how=str(error))  # noqa: TRY400
                self._bury(zygote)
        raise DecoderLost(f"its decoder was lost {TRIES} times")

    def _living(self) -> _Zygote:
        with self._lock:
            if self._is_closed:
                raise DecoderLost("the sandbox is closed")
            if self._zygote is None:
                zygote = _Zygote.start(self._module, self._bounds)
                try:
                    self._judge(zygote.protections)
                except DecoderLost:
                    zygote.end()
                    raise
                self._zygote = zygote
            return self._zygote

    def _bury(self, zygote: _Zygote) -> None:
        with self._lock:
            zygote.process.kill()
            zygote.end()
            # Another thread may have met the same death, and started the next one already.
            if self._zygote is zygote:
                self._zygote = None

    def _judge(self, protections: Protections) -> None:
        active = asdict(protections)
        if self._required and not protections.are_complete:
            raise DecoderLost(f"PHOTOMEND_SANDBOX_REQUIRED is set, and this system does not give all of {active}")
        if protections != self._was_told:
            self._was_told = protections
            log = logger.info if protections.are_complete else logger.warning
            log("decoders are locked in", memory_bytes=self._bounds.memory_bytes, cpu_s=self._bounds.cpu_s, **active)

    def _ask(self, zygote: _Zygote, data: bytes, limits: Limits, page: int) -> SourceImage:
        request = json.dumps({"limits": asdict(limits), "page": page, "picture_bytes": len(data)}).encode()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            with theirs, _memory("picture") as picture:
                _fill(picture, data)
                self._send(zygote, request, [picture, theirs.fileno()])
            with self._verdict(ours) as (verdict, answer):
                self._follow(verdict)
                return read_answer(answer, limits)

    def _send(self, zygote: _Zygote, request: bytes, files: list[int]) -> None:
        # Under the lock: another thread may close a dead zygote's socket, and its number may be another file's then.
        with self._lock:
            try:
                socket.send_fds(zygote.control, [request], files)
            except OSError as error:
                raise _ZygoteLost(f"it does not listen: {error}") from error

    @contextmanager
    def _verdict(self, ours: socket.socket) -> Iterator[tuple[_Verdict, int]]:
        """How the child ended, and the file that it wrote."""
        ours.settimeout(self._bounds.longest_s)
        try:
            said, files = kernel.received(ours, MAX_MESSAGE, 1)
        except OSError as error:
            raise _ZygoteLost(f"it does not answer: {error}") from error
        if not files:
            raise _ZygoteLost("it ended, or could not fork")
        try:
            yield _Verdict.model_validate_json(said), files[0]
        finally:
            os.close(files[0])

    def _follow(self, verdict: _Verdict) -> None:
        """Raise what a child's end means, unless it is a good one."""
        status = verdict.status
        if verdict.timed_out:
            raise HostileImage(f"its decoder took more than {self._bounds.wall_s:g} s")
        if status == -signal.SIGKILL:
            raise OutOfMemory("its decoder was killed, perhaps by the kernel for want of memory")
        if status < 0:
            number = signal.Signals(-status)
            meaning = _MEANINGS.get(number, "it crashed").format(bounds=self._bounds)
            raise HostileImage(f"its decoder died of {number.name}: {meaning}")
        if status > 0:
            raise HostileImage(f"its decoder ended with status {status}")


@contextmanager
def _memory(name: str) -> Iterator[int]:
    """A file in memory, without a name that anyone could open."""
    file = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        yield file
    finally:
        os.close(file)


def _fill(file: int, data: bytes) -> None:
    """Put the bytes into the file for good: the child reads what was checked, and can change nothing."""
    left = memoryview(data)
    while left:
        left = left[os.write(file, left[:_PIECE]) :]
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
