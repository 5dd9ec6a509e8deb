"""The decode sandbox: honest pictures come out bit for bit, and every limit strikes, in children of a real zygote."""

from __future__ import annotations

import contextlib
import gc
import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.decode import DEFAULT_LIMITS, Limits, read
from pipeline.errors import DecoderLost, HostileImage, ImageTooLarge, OutOfMemory, PipelineError, TruncatedImage
from pipeline.source import SourceImage
from tests.fleet import wait_for
from tests.hostile_zygote import evil
from tests.unit.pipeline import corpus
from worker.sandbox import landlock
from worker.sandbox.answer import HEAD
from worker.sandbox.client import Sandbox
from worker.sandbox.confine import Bounds, memory_for
from worker.sandbox.verify import DecoderBug, read_answer
from worker.sandbox.zygote import FIRST_READY

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux' own")]

HOSTILE = "tests.hostile_zygote"
#: A limit that a test can reach quickly.
SMALL = Limits(max_pixels=1_000_000)
BOUNDS = Bounds(memory_bytes=memory_for(SMALL.max_pixels), cpu_s=1)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """One whose decoder obeys evil files; honest ones are decoded as always."""
    sandbox = Sandbox(BOUNDS, module=HOSTILE)
    sandbox.start()
    yield sandbox
    sandbox.close()


@pytest.fixture
def own_sandbox() -> Iterator[Sandbox]:
    """One that a test may kill."""
    sandbox = Sandbox(BOUNDS, module=HOSTILE)
    sandbox.start()
    yield sandbox
    sandbox.close()


@pytest.fixture(autouse=True)
def _the_next_picture_is_decoded(request: pytest.FixtureRequest) -> Iterator[None]:
    """After every test, whatever it did."""
    yield
    if "sandbox" in request.fixturenames:
        sandbox: Sandbox = request.getfixturevalue("sandbox")
        before = zygote_of(sandbox)
        assert sandbox.decode(photo(), limits=SMALL).width == 64
        assert zygote_of(sandbox) == before, "by the same zygote"


def zygote_of(sandbox: Sandbox) -> int:
    assert sandbox._zygote is not None
    return sandbox._zygote.process.pid


def children_of(pid: int) -> list[int]:
    """All of a zygote's children; one of them, if there is room for it, waits for the next picture."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def photo(width: int = 64, height: int = 48, **options: object) -> bytes:
    rng = np.random.default_rng(3)
    return corpus.saved(Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)), "JPEG", **options)


def assert_same(ours: SourceImage, plain: SourceImage) -> None:
    assert ours.header == plain.header
    assert ours.metadata == plain.metadata
    assert ours.space == plain.space
    assert ours.notices == plain.notices
    assert ours.samples.dtype == plain.samples.dtype
    np.testing.assert_array_equal(ours.samples, plain.samples)
    assert (ours.alpha is None) == (plain.alpha is None)
    if ours.alpha is not None and plain.alpha is not None:
        np.testing.assert_array_equal(ours.alpha, plain.alpha)


# -- honest pictures


@pytest.mark.parametrize("name", corpus.LOSSLESS)
def test_every_kind_of_picture_comes_out_as_without_a_sandbox(sandbox: Sandbox, name: str) -> None:
    data = corpus.LOSSLESS[name]()
    assert_same(sandbox.decode(data, limits=DEFAULT_LIMITS), read(data))


@pytest.mark.shared
def test_real_photos_come_out_as_without_a_sandbox(shared_dir: Path) -> None:
    photos = sorted(
        path for path in (shared_dir / "photos").rglob("*") if path.suffix.lower() in {".jpg", ".png", ".tif"}
    )
    assert photos
    sandbox = Sandbox(Bounds(memory_bytes=memory_for(50_000_000), cpu_s=60))
    try:
        for path in photos:
            data = path.read_bytes()
            try:
                plain = read(data)
            except PipelineError as error:
                with pytest.raises(type(error)):
                    sandbox.decode(data, limits=DEFAULT_LIMITS)
            else:
                assert_same(sandbox.decode(data, limits=DEFAULT_LIMITS), plain)
    finally:
        sandbox.close()


def test_a_damaged_jpeg_file_comes_out_as_without_a_sandbox(sandbox: Sandbox) -> None:
    """It is decoded into the answer twice: strictly, which fails, and again."""
    data = bytearray(photo(640, 480))
    data[len(data) // 2 : len(data) // 2 + 2] = b"\xff\xd3"  # a restart where none belongs
    plain = read(bytes(data))
    assert "input_damaged" in {notice.code for notice in plain.notices}, "the fault struck"
    assert_same(sandbox.decode(bytes(data), limits=SMALL), plain)


def test_a_picture_may_be_written_to_without_changing_another(sandbox: Sandbox) -> None:
    data = photo()
    one, other = (sandbox.decode(data, limits=SMALL) for _ in range(2))
    one.samples[:] = 0
    np.testing.assert_array_equal(other.samples, read(data).samples)


def test_no_answer_holds_anything_of_another_picture(sandbox: Sandbox) -> None:
    """The memory that is made ready for an answer is as long as the latest ones, and new for each."""
    white = corpus.saved(Image.new("RGB", (1000, 900), "white"), "PNG")
    assert sandbox.decode(white, limits=SMALL).samples.all()
    samples = sandbox.decode(photo(), limits=SMALL).samples
    whole: object = samples
    while isinstance(whole, np.ndarray):
        whole = whole.base
    after = bytes(memoryview(whole))[HEAD.size + samples.nbytes :]  # type: ignore[arg-type]
    assert len(after) > 1000 * 900 * 3 - samples.nbytes, "there is memory behind the picture"
    assert not any(after.rpartition(b"}")[2]), "and after the description nothing is in it"


def test_memory_for_pictures_that_do_not_come_is_given_back() -> None:
    def held(pid: int) -> int:
        """What a process has of shared memory; one that has ended has none."""
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("RssShmem:"):
                    return int(line.split()[1]) * 1024
        return 0

    sandbox = Sandbox(BOUNDS, module="tests.restless_zygote")
    sandbox.start()
    try:
        zygote = zygote_of(sandbox)
        wait_for(lambda: any(held(pid) >= FIRST_READY for pid in children_of(zygote)), what="memory is made ready")
        wait_for(lambda: all(held(pid) < FIRST_READY for pid in children_of(zygote)), what="it is given back")
        assert sandbox.decode(photo(), limits=SMALL).width == 64
    finally:
        sandbox.close()


def test_a_decoders_own_errors_keep_their_type_and_words(sandbox: Sandbox) -> None:
    for bad in (b"", b"GIF89a" + bytes(100), photo()[:200], photo(1200, 900)):
        with pytest.raises(PipelineError) as plain:
            read(bad, limits=SMALL)
        with pytest.raises(PipelineError) as ours:
            sandbox.decode(bad, limits=SMALL)
        assert (type(ours.value), str(ours.value)) == (type(plain.value), str(plain.value))


def test_too_many_bytes_are_refused_before_they_are_handed_over(sandbox: Sandbox) -> None:
    with pytest.raises(ImageTooLarge):
        sandbox.decode(photo(), limits=Limits(max_bytes=100))


# -- what code does that a file has taken over

FORBIDDEN = "died of SIGSYS"


@pytest.mark.parametrize(
    ("act", "argument", "error", "words"),
    [
        ("segfault", "", HostileImage, "died of SIGSEGV"),
        ("abort", "", HostileImage, "died of SIGABRT"),
        ("exit", "0", HostileImage, "without an answer"),
        ("exit", "5", HostileImage, "ended with status 5"),
        ("spin", "", HostileImage, "SIGXCPU|took more than 2 s"),
        ("spin-deaf", "", (HostileImage, OutOfMemory), "killed|took more than 2 s"),
        ("sleep", "60", HostileImage, "took more than 2 s"),
        ("allocate", "", ImageTooLarge, "more memory than is allowed"),
        ("allocate-shared", "", (ImageTooLarge, DecoderBug), "more memory|Cannot allocate memory"),
        ("write-much", "", HostileImage, "SIGXFSZ"),
        ("write-garbage", "00ff" * 20, HostileImage, "claims"),
        ("write-garbage", "00", HostileImage, "without an answer"),
        ("seal-first", "", HostileImage, FORBIDDEN),
        ("fork", "", HostileImage, FORBIDDEN),
        ("stay-mapped", "", HostileImage, FORBIDDEN),
        ("exec", "", HostileImage, FORBIDDEN),
        ("socket", "", HostileImage, FORBIDDEN),
        ("kill-parent", "", HostileImage, FORBIDDEN),
        ("kill-self", "", HostileImage, FORBIDDEN),
        ("ptrace", "", HostileImage, FORBIDDEN),
        ("new-file", "", HostileImage, FORBIDDEN),
        ("open", "/etc/passwd", DecoderBug, "Permission denied"),
        ("open", "/proc/self/environ", DecoderBug, "Permission denied"),
        ("write-picture", "", DecoderBug, "not permitted"),
        ("raise-limit", "", DecoderBug, "exceed maximum limit|not permitted|not allowed"),
        ("raise", "a bug of ours", DecoderBug, "ZeroDivisionError: a bug of ours"),
        ("say", "image_truncated|so it is", TruncatedImage, "so it is"),
        ("say", "canceled|never a child's to say", HostileImage, "never"),
        ("say", "not-confined|by its own word", DecoderLost, "by its own word"),
    ],
)
def test_a_hostile_decoder_ends_as_an_error_of_its_picture(
    sandbox: Sandbox, act: str, argument: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        sandbox.decode(evil(act, argument), limits=SMALL)


def test_a_small_picture_gets_little_memory_whatever_a_large_one_may_have() -> None:
    sandbox = Sandbox(Bounds(memory_bytes=memory_for(100_000_000), cpu_s=30), module=HOSTILE)
    try:
        with pytest.raises(DecoderBug) as told:
            sandbox.decode(evil("measure", "1000000"), limits=SMALL)
    finally:
        sandbox.close()
    found_mb = int(str(told.value).removeprefix("RuntimeError: ").removesuffix(" MB"))
    assert 200 <= found_mb <= memory_for(1_000_000) / 1024**2, "the limit struck, at the smaller one of the two"


def test_a_hostile_decoder_creates_no_file(sandbox: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(DecoderBug, match="Permission denied"):
        sandbox.decode(evil("create", str(tmp_path / "x")), limits=SMALL)
    assert list(tmp_path.iterdir()) == []


def test_a_decoder_that_says_that_it_is_done_is_not_waited_for(sandbox: Sandbox) -> None:
    """And that is no way to go on living."""
    began = time.monotonic()
    with pytest.raises(HostileImage, match=r"without an answer|still be changed"):
        sandbox.decode(evil("say-done-and-spin"), limits=SMALL)
    assert time.monotonic() - began < BOUNDS.cpu_s, "long before any limit would strike"
    wait_for(lambda: len(children_of(zygote_of(sandbox))) == 1, what="none is left but the one that waits")


def test_an_answer_still_mapped_by_who_says_that_it_is_done_is_not_believed(sandbox: Sandbox) -> None:
    """It is killed then, and what it wrote is looked at when nobody has it mapped any more."""
    with pytest.raises(HostileImage, match=r"still be changed|not in form|without an answer"):
        sandbox.decode(evil("say-done-and-hold", "4096"), limits=SMALL)


def test_an_answer_that_stays_mapped_is_not_read_and_one_that_is_let_go_in_time_is() -> None:
    file = os.memfd_create("answer", os.MFD_ALLOW_SEALING)
    os.ftruncate(file, 4096)
    held = mmap.mmap(file, 4096)
    with pytest.raises(HostileImage, match="still be changed"):
        read_answer(file, SMALL)
    threading.Timer(0.05, held.close).start()
    with pytest.raises(HostileImage, match="without an answer"):
        read_answer(file, SMALL)
    os.close(file)


# -- without help from the kernel


@pytest.mark.parametrize(
    ("act", "argument", "error", "words"),
    [
        ("spin", "", HostileImage, "SIGXCPU|took more than 2 s"),
        ("sleep", "60", HostileImage, "took more than 2 s"),
        ("allocate", "", ImageTooLarge, "more memory than is allowed"),
        ("write-much", "", HostileImage, "SIGXFSZ"),
        ("open", "/etc/passwd", DecoderBug, "Too many open files"),
        ("socket", "", DecoderBug, "Too many open files"),
        ("write-picture", "", DecoderBug, "not permitted"),
    ],
)
def test_resource_limits_hold_alone(act: str, argument: str, error: type[Exception], words: str) -> None:
    sandbox = Sandbox(BOUNDS, module="tests.unprotected_zygote")
    try:
        with pytest.raises(error, match=words):
            sandbox.decode(evil(act, argument), limits=SMALL)
        assert sandbox._zygote is not None
        assert not sandbox._zygote.protections.seccomp
        assert sandbox.decode(photo(), limits=SMALL).width == 64
    finally:
        sandbox.close()


def test_landlock_closes_every_file_alone() -> None:
    code = (
        "from worker.sandbox import kernel, landlock\n"
        "kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)\n"
        "open('/etc/passwd').close()\n"
        "landlock.deny_everything()\n"
        "open('/etc/passwd')"
    )
    if landlock.version() == 0:
        pytest.skip("this kernel has no Landlock")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "PermissionError" in done.stderr.splitlines()[-1]
    assert "line 5" in done.stderr, "the second time, not the first"


def test_root_is_nobody_special() -> None:
    code = (
        "from worker.sandbox import kernel\n"
        "kernel.drop_capabilities()\n"
        "print([line for line in open('/proc/self/status') if line.startswith(('CapEff', 'CapPrm', 'CapInh'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.count("0" * 16) == 3


# -- the zygote


def test_a_zygote_that_dies_is_started_again_and_the_picture_decoded(own_sandbox: Sandbox) -> None:
    first = zygote_of(own_sandbox)
    os.kill(first, signal.SIGKILL)
    assert own_sandbox.decode(photo(), limits=SMALL).width == 64
    assert zygote_of(own_sandbox) != first, "the fault struck"


def test_a_zygote_that_dies_under_many_pictures_costs_none_of_them(own_sandbox: Sandbox) -> None:
    with ThreadPoolExecutor(4) as threads:
        slow = [threads.submit(own_sandbox.decode, evil("sleep", "1"), limits=SMALL) for _ in range(3)]
        wait_for(lambda: len(children_of(zygote_of(own_sandbox))) == 4, what="three at a time, and one that waits")
        first = zygote_of(own_sandbox)
        os.kill(first, signal.SIGKILL)
        honest = threads.submit(own_sandbox.decode, photo(), limits=SMALL)
        assert honest.result(30).width == 64
        for sleeper in slow:
            # It woke up in its second child, and ended as that act always does.
            with pytest.raises(HostileImage, match="status 77"):
                sleeper.result(30)
    assert zygote_of(own_sandbox) != first, "the fault struck"


def test_the_child_that_waits_serves_one_picture_and_no_other(own_sandbox: Sandbox) -> None:
    zygote, served = zygote_of(own_sandbox), []
    for _ in range(3):
        (waiting,) = wait_for(lambda: (found := children_of(zygote)) and len(found) == 1 and found, what="one waits")
        assert own_sandbox.decode(photo(), limits=SMALL).width == 64
        wait_for(lambda pid=waiting: is_gone(pid), what="it was the one, and is no more")
        served.append(waiting)
    assert len(set(served)) == 3


def test_a_child_that_dies_while_it_waits_costs_no_picture(own_sandbox: Sandbox) -> None:
    zygote = zygote_of(own_sandbox)
    (waiting,) = wait_for(lambda: children_of(zygote), what="one waits")
    os.kill(waiting, signal.SIGKILL)
    wait_for(lambda: is_gone(waiting), what="the fault struck")
    assert own_sandbox.decode(photo(), limits=SMALL).width == 64
    assert zygote_of(own_sandbox) == zygote


def test_the_child_that_waits_is_locked_in_already(own_sandbox: Sandbox) -> None:
    if not own_sandbox._zygote or not own_sandbox._zygote.protections.seccomp:
        pytest.skip("this kernel has no seccomp")
    (waiting,) = wait_for(lambda: children_of(zygote_of(own_sandbox)), what="one waits")

    def threads() -> list[str]:
        return [(task / "status").read_text() for task in Path(f"/proc/{waiting}/task").iterdir()]

    # It is warm, so the libraries have had their threads: they are under the same filter.
    wait_for(lambda: all("\nSeccomp:\t2\n" in status for status in threads()), what="all are filtered")


def test_a_zygote_that_does_not_start_is_no_fault_of_the_pictures(tmp_path: Path) -> None:
    sandbox = Sandbox(BOUNDS, module="tests.no_such_module")
    with pytest.raises(DecoderLost, match="did not start"):
        sandbox.decode(photo(), limits=SMALL)


def test_closing_ends_the_zygote_and_what_it_decodes(own_sandbox: Sandbox) -> None:
    zygote = zygote_of(own_sandbox)
    with ThreadPoolExecutor(1) as threads:
        decoding = threads.submit(own_sandbox.decode, evil("sleep", "60"), limits=SMALL)
        wait_for(lambda: len(children_of(zygote)) == 2, what="a child decodes, and one waits")
        family = [zygote, *children_of(zygote)]
        own_sandbox.close()
        wait_for(lambda: all(map(is_gone, family)), what="the zygote and its children are gone")
        with pytest.raises(DecoderLost, match="closed"):
            decoding.result(30)


def is_gone(pid: int) -> bool:
    """Ended, though perhaps not waited for: its new parent may not care."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def test_the_zygote_knows_no_secrets(own_sandbox: Sandbox) -> None:
    environ = Path(f"/proc/{zygote_of(own_sandbox)}/environ").read_bytes()
    names = {entry.partition(b"=")[0].decode() for entry in environ.split(b"\0") if entry}
    assert "PYTHONPATH" in names
    assert names <= {
        "PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ", "PYTHONPATH",
        "VIPS_CONCURRENCY", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MALLOC_ARENA_MAX", "LD_BIND_NOW",
        "GLIBC_TUNABLES",
    }  # fmt: skip


def test_the_kernel_short_of_memory_takes_a_decoder_before_the_worker(own_sandbox: Sandbox) -> None:
    ours = int(Path("/proc/self/oom_score_adj").read_text())
    assert int(Path(f"/proc/{zygote_of(own_sandbox)}/oom_score_adj").read_text()) == 1000 > ours


def test_the_zygote_has_one_thread_and_has_loaded_no_network(own_sandbox: Sandbox) -> None:
    own_sandbox.decode(photo(), limits=SMALL)
    folder = Path(f"/proc/{zygote_of(own_sandbox)}")
    assert len(list((folder / "task").iterdir())) == 1
    maps = (folder / "maps").read_text()
    assert "libvips" in maps
    assert not [name for name in ("libtorch", "cv2", "libcuda") if name in maps]


def test_three_hundred_pictures_leave_no_file_open_and_no_process_behind(own_sandbox: Sandbox) -> None:
    zygote = zygote_of(own_sandbox)
    files = [photo(), photo()[:300], evil("segfault"), evil("exit", "0"), b"no picture"]

    def decode(number: int) -> None:
        with contextlib.suppress(PipelineError):
            own_sandbox.decode(files[number % len(files)], limits=SMALL)

    def open_files() -> tuple[int, int]:
        # What earlier tests' errors still hold is none of this one's.
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir())), len(list(Path(f"/proc/{zygote}/fd").iterdir()))

    decode(0)
    wait_for(lambda: len(children_of(zygote)) == 1, what="all is as it will be")
    before = open_files()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(decode, range(300)))
    wait_for(lambda: len(children_of(zygote)) == 1, what="no child is left but one, not even as a zombie")
    assert open_files() == before
    assert zygote_of(own_sandbox) == zygote
