"""When a process has grown too much."""

from __future__ import annotations

import gc
import mmap
import os
import platform
import subprocess
import sys

import pytest

from worker import memory
from worker.allocator import ALLOCATOR
from worker.growth import LOOKS, Growth


def growth(rss_mb: float, *, recycle: float | None = 100.0, limit: float | None = 200.0) -> Growth:
    """Of a process that held little when it was ready, and holds this now."""
    held = [10.0]
    here = Growth(
        recycle_mb=recycle, limit_mb=limit, recycle_device_share=0.5, device_share=lambda: 0.0, rss_mb=lambda: held[0]
    )
    here.settle()
    held[0] = rss_mb
    return here


@pytest.mark.parametrize(
    ("rss_mb", "leaves", "stops"), [(99, False, False), (101, True, False), (199, True, False), (201, True, True)]
)
def test_past_the_first_limit_it_leaves_between_jobs_and_past_the_second_at_once(
    rss_mb: float, leaves: bool, stops: bool
) -> None:
    here = growth(rss_mb)
    assert bool(here.reason_to_leave()) is leaves
    assert bool(here.reason_to_stop()) is stops


def test_without_limits_it_may_grow() -> None:
    here = growth(10**6, recycle=None, limit=None)
    assert here.reason_to_leave() is here.reason_to_stop() is None


def test_the_reason_names_figures_and_settings() -> None:
    assert growth(150).reason_to_leave() == "150 MB are held, more than PHOTOMEND_RECYCLE_MB = 100"
    assert "PHOTOMEND_MEMORY_LIMIT_MB = 200" in str(growth(250).reason_to_stop())


def test_a_limit_below_what_it_needs_does_not_start_it_anew_for_ever(capsys: pytest.CaptureFixture[str]) -> None:
    held = [400.0]
    here = Growth(
        recycle_mb=300, limit_mb=None, recycle_device_share=0.5, device_share=lambda: 0.0, rss_mb=lambda: held[0]
    )
    assert here.reason_to_leave() is None, "not before it is ready"
    here.settle()
    assert "too low" in capsys.readouterr().err
    assert here.reason_to_leave() is None
    held[0] = 501.0
    assert "501 MB" in str(here.reason_to_leave())


def test_device_memory_that_jobs_use_comes_and_goes_and_a_leak_stays() -> None:
    held = [0.9]
    here = Growth(recycle_mb=None, limit_mb=None, recycle_device_share=0.5, device_share=lambda: held[0])
    here.settle()
    for _ in range(LOOKS - 1):
        here.look()
    assert here.reason_to_leave() is None, "not long enough"
    here.look()
    assert "90% of the GPU's memory" in str(here.reason_to_leave())
    held[0] = 0.1
    here.look()
    held[0] = 0.9
    here.look()
    assert here.reason_to_leave() is None, "once it was below"


def test_memory_that_is_only_kept_by_the_allocator_is_no_reason_to_be_started_anew() -> None:
    held, kept = [10.0], [0.0]
    here = Growth(
        recycle_mb=100.0,
        limit_mb=None,
        recycle_device_share=0.5,
        device_share=lambda: 0.0,
        rss_mb=lambda: held[0] + kept[0],
        give_back=lambda: kept.clear() or kept.append(0.0),  # type: ignore[func-returns-value]
    )
    here.settle()
    held[0], kept[0] = 60.0, 90.0
    assert here.reason_to_leave()
    assert here.reason_that_stays() is None
    held[0] = 110.0
    assert "110 MB" in str(here.reason_that_stays())


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator")
def test_what_was_freed_between_what_is_used_goes_back() -> None:
    words = """
from worker import memory
blocks = [(bytearray(1 << 20), bytearray(5000)) for _ in range(100)]
pins = [pin for _, pin in blocks]
del blocks
before = memory.rss_mb()
memory.give_back()
print(before - memory.rss_mb())
"""
    done = subprocess.run(
        [sys.executable, "-c", words], env=os.environ | ALLOCATOR, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) > 90


def test_the_figures_are_those_of_this_machine() -> None:
    assert 5 < memory.rss_mb() < 100_000
    available = memory.available_mb()
    assert available is not None
    assert available > memory.rss_mb()
    # Nothing that earlier tests left behind may be given back in between, nor what they gave back be used again.
    gc.collect()
    gc.disable()
    before = memory.rss_mb()
    with mmap.mmap(-1, 64 * 1024 * 1024) as block:
        for place in range(0, len(block), mmap.PAGESIZE):
            block[place] = 1
        grown = memory.rss_mb() - before
    gc.enable()
    assert grown == pytest.approx(64, abs=16)


def test_kills_for_memory_are_counted_where_the_kernel_says_so(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("cgroup")
    monkeypatch.setattr(memory, "_container", lambda: folder)
    assert memory.oom_kills() is None
    (folder / "memory.events").write_text("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n")
    assert memory.oom_kills() == 2
    (folder / "memory.max").write_text("max\n")
    machine = memory.available_mb()
    (folder / "memory.max").write_text(f"{100 * 1024 * 1024}\n")
    assert memory.available_mb() == 100
    assert machine is not None
    assert machine > 100


def test_pages_of_mapped_files_do_not_count_as_held() -> None:
    """Large pictures lie in such files: the kernel drops their pages when memory is short."""
    import numpy as np

    from pipeline import scratch

    before, megabytes = memory.rss_mb(), 100
    assert before > 1
    on_disk = scratch.zeros((megabytes, 1024, 1024), np.uint8)
    on_disk[:] = 1
    assert memory.rss_mb() - before < megabytes / 2
    held = np.ones((megabytes, 1024, 1024), np.uint8)
    assert memory.rss_mb() - before > megabytes / 2
    assert held.any() == on_disk.any()
