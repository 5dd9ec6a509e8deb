"""The process that children are forked from: ``python -m worker.sandbox.zygote SOCKET BOUNDS``.

It has imported all that decoding needs, has one thread, no secrets, and has never looked at a picture. It sleeps until
a request comes, a child ends, or one has had its time; at the end of its socket it goes, and its children with it.

One child is always ahead: locked in, warm, with memory for an answer as long as the latest ones, and waiting for its
one picture. Each picture has a child and an answer of its own; no memory is ever used for two.
"""

from __future__ import annotations

import contextlib
import gc
import json
import math
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol

from pipeline import vips
from pipeline.decode import Limits, read
from pipeline.source import SourceImage
from worker.sandbox import answer, confine, kernel
from worker.sandbox.warmth import warm_up

#: Longest request (bytes): a few numbers.
MAX_MESSAGE = 4096
#: A request's files: the picture, and the socket that the verdict goes to, with the answer.
FILES = 2
#: The most memory that is made ready for an answer before its picture comes (bytes): 32 megapixels of three bytes.
MOST_READY = 96 * 1024**2
#: So much before there has been a picture: 12 megapixels.
FIRST_READY = 40 * 1024**2
#: As much as the longest of so many answers.
_REMEMBERED = 8
#: After so long without a picture that memory is given back (seconds).
IDLE_S = 60.0
#: The kernel, short of memory, takes a decoder before it takes the worker. Source: proc(5), oom_score_adj.
_FIRST_TO_GO = "1000"


class DecodeInto(Protocol):
    """What ``pipeline.decode.read`` does; tests have one that can be told to misbehave."""

    def __call__(self, data: bytes, *, limits: Limits, page: int, allocate: vips.Allocate) -> SourceImage: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    picture_bytes: int
    limits: Limits
    page: int  #: 1 = first


@dataclass(slots=True, kw_only=True)
class _Child:
    pid: int
    pidfd: int  #: readable once the child has ended
    done: int  #: the pipe on which it says that its answer is whole
    request: socket.socket  #: where it waits for its picture
    answer: int  #: the file that it writes
    verdict: socket.socket | None = None  #: where it is told how it ended; None = it has no picture yet
    was_told: bool = False  #: whether the verdict is given
    kill_at: float = math.inf  #: by ``time.monotonic()``
    timed_out: bool = False


class Zygote:
    """Serves one socket until its other end is closed."""

    def __init__(self, control: socket.socket, bounds: confine.Bounds, decode: DecodeInto) -> None:
        self._control = control
        self._bounds = bounds
        self._decode = decode
        self._protections = confine.probe()
        self._spare: _Child | None = None
        #: Lengths of the latest answers (bytes).
        self._lengths: deque[int] = deque([FIRST_READY], maxlen=_REMEMBERED)
        #: When the spare child's memory is given back, by ``time.monotonic()``.
        self._idle_at = math.inf
        self._events = select.poll()
        #: By ``pidfd``, and those that may still say something by ``done``.
        self._children: dict[int, _Child] = {}
        self._talking: dict[int, _Child] = {}

    def serve(self) -> None:
        """Give each request to a child of its own, and tell how it ended."""
        self._control.send(json.dumps(asdict(self._protections)).encode())
        self._events.register(self._control, select.POLLIN)
        self._spare = self._fork()
        self._make_ready()
        while True:
            ready = {file for file, _ in self._events.poll(self._timeout_ms())}
            for file in ready & self._talking.keys():
                self._hear(self._talking[file])
            for file in ready & self._children.keys():
                self._bury(self._children[file])
            # Last: what it opens may get the number of a file that was just closed.
            if self._control.fileno() in ready:
                self._accept()
            self._kill_overdue()
            self._rest()

    def _make_ready(self) -> None:
        """Have the waiting child find memory for its answer, but not while another one could use the processor."""
        is_busy = any(child.verdict is not None and not child.was_told for child in self._children.values())
        if self._spare is not None and not is_busy:
            with contextlib.suppress(OSError):  # it may have ended
                self._spare.request.send(str(min(MOST_READY, max(self._lengths))).encode())
            self._idle_at = time.monotonic() + IDLE_S

    def _rest(self) -> None:
        """Hold no memory for pictures that do not come."""
        if self._idle_at <= time.monotonic():
            if self._spare is not None:
                os.kill(self._spare.pid, signal.SIGKILL)
            self._spare = self._fork()
            self._idle_at = math.inf

    def _timeout_ms(self) -> float | None:
        running = [child.kill_at for child in self._children.values() if not child.timed_out]
        next_at = min([self._idle_at, *running])
        # Rounded up: poll counts whole milliseconds, and would turn idly through the last one.
        return math.ceil(max(0.0, next_at - time.monotonic()) * 1000) if next_at < math.inf else None

    def _accept(self) -> None:
        message, files = kernel.received(self._control, MAX_MESSAGE, FILES)
        if not message:
            # The worker is gone, and whoever waited for the children with it; PR_SET_PDEATHSIG ends them too.
            raise SystemExit
        picture, verdict_file = files
        verdict = socket.socket(fileno=verdict_file)
        try:
            child = self._handed_over(message, picture)
        finally:
            os.close(picture)
        if child is None:
            # Neither process nor memory to be had: closed without a word, which the worker knows for our own failure.
            verdict.close()
        else:
            child.verdict = verdict
            child.kill_at = time.monotonic() + self._bounds.wall_s
        # After the picture is on its way; it warms up beside it.
        self._spare = self._fork()
        self._idle_at = math.inf

    def _handed_over(self, message: bytes, picture: int) -> _Child | None:
        """The child that has the picture now; None = there is none."""
        for child in (self._spare, None):
            chosen = child or self._fork()
            if chosen is None:
                break
            # One that ended while it waited does not listen; the next one is new.
            with chosen.request, contextlib.suppress(OSError):
                socket.send_fds(chosen.request, [message], [picture])
                return chosen
        return None

    def _fork(self) -> _Child | None:
        """A child that waits for its picture; None = there is no room for one."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        done, done_end = os.pipe()
        answer_file = os.memfd_create("answer", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with theirs:
            try:
                pid = os.fork()
            except OSError:
                ours.close()
                os.close(done)
                os.close(answer_file)
                return None
            else:
                if pid == 0:
                    self._be_a_child(answer_file, done_end, theirs.fileno())
            finally:
                os.close(done_end)
        child = _Child(pid=pid, pidfd=os.pidfd_open(pid), done=done, request=ours, answer=answer_file)
        self._children[child.pidfd] = self._talking[done] = child
        for file in (child.pidfd, done):
            self._events.register(file, select.POLLIN)
        return child

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for child in self._children.values():
            if child.kill_at <= now and not child.timed_out:
                child.timed_out = True
                os.kill(child.pid, signal.SIGKILL)

    def _hear(self, child: _Child) -> None:
        """A child that says that it is done is told of at once, and killed: taking its memory apart takes long.

        That may be a lie. But the worker seals the answer before it looks, which fails as long as anyone has it mapped
        for writing; and a child of bad intent could as well have ended with 0.
        """
        is_done = os.read(child.done, 1) != b""
        self._stop_listening(child)
        if is_done and not child.timed_out:
            os.kill(child.pid, signal.SIGKILL)
            self._tell(child, status=0)

    def _bury(self, child: _Child) -> None:
        # Its pipe may be closed already, and the number another's.
        if self._talking.get(child.done) is child:
            self._stop_listening(child)
        self._events.unregister(child.pidfd)
        del self._children[child.pidfd]
        os.close(child.pidfd)
        child.request.close()
        if self._spare is child:
            # Another one is made when it is needed: what ended this one might end the next.
            self._spare = None
        status = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
        if not child.was_told:
            self._tell(child, status=status)
        os.close(child.answer)

    def _stop_listening(self, child: _Child) -> None:
        self._events.unregister(child.done)
        del self._talking[child.done]
        os.close(child.done)

    def _tell(self, child: _Child, *, status: int) -> None:
        child.was_told = True
        if child.verdict is None:
            return
        said = json.dumps({"status": status, "timed_out": child.timed_out}).encode()
        with child.verdict, contextlib.suppress(OSError):  # whoever asked may be gone
            socket.send_fds(child.verdict, [said], [child.answer])
        self._lengths.append(answer.length(child.answer))
        self._make_ready()

    def _be_a_child(self, answer_file: int, done: int, request: int) -> NoReturn:
        """Lock itself in, warm up, wait, decode one picture; nothing of the parent's life is gone on with."""
        try:
            confine.keep_only(answer_file, done, request)
            waiting = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=confine.REQUEST_FD)
            born_bytes, trouble = self._lock_in()
            said = answer.Answer(confine.ANSWER_FD)
            message, files = _awaited(waiting, said)
            waiting.close()
            if files == [confine.PICTURE_FD]:
                self._serve_one(json.loads(message), said, born_bytes, trouble)
                os.write(confine.DONE_FD, b"1")
            os._exit(0)
        finally:
            os._exit(1)

    def _lock_in(self) -> tuple[int, str | None]:
        """The address space that it starts with, or why it is not locked in: then it decodes nothing."""
        try:
            born_bytes = confine.lock_in(self._protections)
        except OSError as error:
            return 0, str(error)
        warm_up(lambda data: self._decode(data, limits=Limits(), page=1, allocate=_private))
        return born_bytes, None

    def _serve_one(self, request: dict[str, Any], said: answer.Answer, born_bytes: int, trouble: str | None) -> None:
        wish = _Wish(picture_bytes=request["picture_bytes"], limits=Limits(**request["limits"]), page=request["page"])
        if trouble is None:
            begin_bytes = confine.limit(
                self._bounds,
                born_bytes=born_bytes,
                picture_bytes=wish.picture_bytes,
                answer_bytes=answer.most_bytes(wish.limits.max_pixels),
            )
            _answer(self._decode, wish, said, born_bytes=begin_bytes)
        else:
            said.refuse_with(answer.NOT_CONFINED, trouble)
        said.let_go()


def _awaited(waiting: socket.socket, said: answer.Answer) -> tuple[bytes, list[int]]:
    """The request and its file; before it may come how much memory to make ready, which is done until it comes."""
    message, files = kernel.received(waiting, MAX_MESSAGE, FILES)
    if files or not message:
        return message, files
    for _ in said.make_ready(int(message)):
        with contextlib.suppress(BlockingIOError):
            return kernel.received(waiting, MAX_MESSAGE, FILES, socket.MSG_DONTWAIT)
    return kernel.received(waiting, MAX_MESSAGE, FILES)


def _private(size: int) -> memoryview:
    return memoryview(bytearray(size))


def _answer(decode: DecodeInto, wish: _Wish, said: answer.Answer, *, born_bytes: int) -> None:
    def allocate(size: int) -> memoryview:
        # A pixel has a byte at least. What a small picture's decoder wants beyond that, none should get.
        unneeded = max(0, said.mapped_bytes - size)
        confine.limit_memory(born_bytes + unneeded + confine.memory_for(pixels=size))
        return said.allocate(size)

    try:
        data = _read_all(confine.PICTURE_FD, wish.picture_bytes)
        said.write(decode(data, limits=wish.limits, page=wish.page, allocate=allocate))
    # A border: whatever went wrong becomes words in the answer.
    except BaseException as error:  # noqa: BLE001
        said.refuse(error)


def _read_all(file: int, size: int) -> bytes:
    pieces: list[bytes] = []
    at = 0
    while at < size:
        piece = os.pread(file, size - at, at)
        if not piece:
            raise EOFError(f"the picture's memory has {at} of {size} bytes")
        pieces.append(piece)
        at += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def main(decode: DecodeInto = read) -> None:
    """Serve the socket that the command line names."""
    control = socket.socket(fileno=int(sys.argv[1]))
    bounds = confine.Bounds(**json.loads(sys.argv[2]))
    # A service manager may signal every process of the service; while the worker drains, its pictures must be decoded.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # no /proc, or not ours to say
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)
    vips.learn_operations()
    threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208
    if threads != 1:
        raise RuntimeError(f"{threads} threads: for what another one holds at a fork, a child would wait for ever")
    # What is here now stays: without this the collector's marks would copy each page into every child.
    gc.collect()
    gc.freeze()
    Zygote(control, bounds, decode).serve()


if __name__ == "__main__":
    main()
