"""What a decoder says is believed only where it fits what it describes."""

from __future__ import annotations

import json
import mmap
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.decode import Limits, read
from pipeline.errors import DecoderLost, HostileImage
from tests.unit.pipeline import corpus
from worker.sandbox import seccomp
from worker.sandbox.answer import HEAD, Answer
from worker.sandbox.client import Sandbox
from worker.sandbox.confine import Bounds, Protections, memory_for
from worker.sandbox.verify import read_answer
from worker.settings import WorkerSettings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux' own")

LIMITS = Limits(max_pixels=10_000)


@pytest.fixture
def file() -> Iterator[int]:
    file = os.memfd_create("answer", os.MFD_ALLOW_SEALING)
    yield file
    os.close(file)


def honest(name: str = "png-rgba-16") -> tuple[bytes, dict[str, Any]]:
    """An honest decoder's answer: samples and description."""
    file = os.memfd_create("honest")
    Answer(file).write(read(corpus.LOSSLESS[name]()))
    whole = os.pread(file, 1 << 20, 0)
    os.close(file)
    samples, length = HEAD.unpack_from(whole)
    said = HEAD.size + samples
    return whole[HEAD.size : said], json.loads(whole[said : said + length])


def say(file: int, samples: bytes, description: Any) -> None:
    said = description if isinstance(description, bytes) else json.dumps(description).encode()
    os.write(file, HEAD.pack(len(samples), len(said)) + samples + said)


@pytest.mark.parametrize("name", ["png-rgba-16", "png-gray-8", "tiff-cmyk-8-alpha", "tiff-rgb-16-infrared"])
def test_an_honest_answer_is_the_picture(file: int, name: str) -> None:
    say(file, *honest(name))
    source, plain = read_answer(file, LIMITS), read(corpus.LOSSLESS[name]())
    assert (source.header, source.metadata, source.space) == (plain.header, plain.metadata, plain.space)
    np.testing.assert_array_equal(source.samples, plain.samples)
    assert (source.alpha is None) == (plain.alpha is None)


def header(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda said: said["header"].update(changes)


LIES: dict[str, Callable[[dict[str, Any]], object]] = {
    "wider than its samples": header(width=38),
    "fewer samples than sent": header(height=22),
    "more pixels than allowed": header(width=1_000_000, height=1_000_000),
    "a negative size": header(width=-37, height=-23),
    "no pixels": header(width=0),
    "a depth that nobody has": header(bit_depth=32),
    "another depth than its samples": header(bit_depth=8),
    "a format that we do not read": header(format="pdf"),
    "colours that we do not know": header(kind="lab"),
    "a number that is a word": header(pages="1"),
    "a page behind the last": header(page=2, pages=1),
    "an impossible orientation": header(orientation=9),
    "a resolution of nothing": lambda said: said["metadata"].update(resolution=[0, 1]),
    "an endless resolution": lambda said: said["metadata"].update(resolution=[float("inf"), 1]),
    "a profile that is no bytes": lambda said: said.update(profile=[1, 2]),
    "something more": lambda said: said.update(more=1),
    "something less": lambda said: said.pop("notices"),
    "a header with something more": header(more=1),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_found_out(file: int, lie: str) -> None:
    samples, said = honest()
    LIES[lie](said)
    say(file, samples, said)
    with pytest.raises(HostileImage):
        read_answer(file, LIMITS)


@pytest.mark.parametrize("said", [b"", b"{", b"null", b"[]", b'{"code": 1, "words": ""}', b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_description_is_refused(file: int, said: bytes) -> None:
    say(file, b"", said)
    with pytest.raises(HostileImage):
        read_answer(file, LIMITS)


@pytest.mark.parametrize("whole", [b"", b"\0", bytes(100), b"\xff" * HEAD.size, HEAD.pack(0, 100), HEAD.pack(100, 1)])
def test_an_answer_that_is_too_short_is_refused(file: int, whole: bytes) -> None:
    os.write(file, whole)
    with pytest.raises(HostileImage):
        read_answer(file, LIMITS)


def test_an_answer_that_somebody_can_still_change_is_not_read(file: int) -> None:
    """Checked and used must be the same bytes; and a file that shrinks would end the worker with SIGBUS."""
    say(file, *honest())
    with mmap.mmap(file, 0), pytest.raises(HostileImage, match="still be changed"):
        read_answer(file, LIMITS)


def test_nobody_can_change_an_answer_that_was_read(file: int) -> None:
    say(file, *honest())
    read_answer(file, LIMITS)
    for change in (lambda: os.pwrite(file, b"x", 0), lambda: os.ftruncate(file, 0), lambda: mmap.mmap(file, 0)):
        with pytest.raises(PermissionError):
            change()


def test_an_operator_may_insist_on_every_protection() -> None:
    bounds = Bounds(memory_bytes=memory_for(1), cpu_s=1)
    for lacking in (Protections(seccomp=False, landlock=True), Protections(seccomp=True, landlock=False)):
        Sandbox(bounds)._judge(lacking)
        with pytest.raises(DecoderLost, match="PHOTOMEND_SANDBOX_REQUIRED"):
            Sandbox(bounds, required=True)._judge(lacking)
    Sandbox(bounds, required=True)._judge(Protections(seccomp=True, landlock=True))


def test_a_decoder_may_not_take_so_long_that_its_job_looks_hung() -> None:
    for wrong in ({"sandbox_cpu_s": 150, "stage_budget_s": 300}, {"stage_budget_s": 100}):
        with pytest.raises(ValidationError, match="counts as hung"):
            WorkerSettings(**wrong)
    assert WorkerSettings(sandbox_cpu_s=140, stage_budget_s=300).sandbox_cpu_s == 140


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_kills_what_it_does_not_name(machine: str) -> None:
    """Run here as the kernel would: a small machine with one register."""
    column = ["x86_64", "aarch64"].index(machine)
    kill, allow = 0x80000000, 0x7FFF0000
    steps = seccomp.program(machine, pid=7)

    def answer(number: int, argument: int = 0, architecture: int = seccomp._ARCHITECTURES[machine]) -> int:
        at, register = 0, 0
        memory = {0: number, 4: architecture, 16: argument}
        while True:
            code, if_true, if_false, operand = steps[at]
            at += 1
            if code == seccomp._RETURN:
                return operand
            if code == seccomp._LOAD:
                register = memory[operand]
                continue
            tests = {
                seccomp._EQUAL: register == operand,
                seccomp._AT_LEAST: register >= operand,
                seccomp._ANY_BIT: bool(register & operand),
            }
            at += if_true if tests[code] else if_false

    named = {numbers[column] for numbers in (*seccomp._ALLOWED.values(), *seccomp._REFUSED.values())}
    special = {
        numbers[column]
        for numbers in (seccomp._CLONE, seccomp._CLONE3, seccomp._PRCTL, seccomp._PRLIMIT, seccomp._TGKILL)
    }
    assert {number for number in range(600) if answer(number) == kill} == set(range(600)) - named - special | {
        seccomp._CLONE[column],
        seccomp._TGKILL[column],
    }
    assert all(answer(numbers[column]) == allow for numbers in seccomp._ALLOWED.values())
    assert answer(seccomp._CLONE[column], 0x3D0F00) == allow, "a thread, as the C library starts it"
    assert answer(seccomp._CLONE[column], 0x01200011) == kill, "a process, as fork starts it"
    assert (answer(seccomp._PRLIMIT[column], 0), answer(seccomp._PRLIMIT[column], 9)) == (allow, kill), "its own only"
    assert (answer(seccomp._TGKILL[column], 7), answer(seccomp._TGKILL[column], 8)) == (allow, kill)
    assert answer(seccomp._ALLOWED["read"][column], architecture=0x40000003) == kill, "another architecture's numbers"
    assert answer(seccomp._ALLOWED["read"][column] | 0x40000000) == kill, "x32's numbers"
