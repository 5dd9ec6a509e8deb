"""Which GPUs and slices a worker takes: of lists as nvidia-smi writes them, by a program in its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from photomend.cli import app
from worker.devices import Gpu, UnknownGpu, installed, named, parse, visible

WHOLE = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aaaa0000-1111-2222-3333-444444444444)
GPU 1: Tesla T4 (UUID: GPU-bbbb0000-1111-2222-3333-444444444444)
"""
#: The second is cut as drivers before 470 name slices; the third is not cut.
CUT = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
  MIG 1g.5gb      Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
  MIG 2g.10gb     Device  1: (UUID: MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb)
GPU 1: A100-SXM4-40GB (UUID: GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f)
  MIG 3g.20gb Device 0: (UUID: MIG-GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f/1/0)
GPU 2: NVIDIA A100-SXM4-40GB (UUID: GPU-f00d0000-d33d-2b2c-524d-9e3d8d2b8a77)
"""
SLICES = ("MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f", "MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb")
OLD_SLICE = "MIG-GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f/1/0"
UNCUT = "GPU-f00d0000-d33d-2b2c-524d-9e3d8d2b8a77"


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """A program called nvidia-smi that lists what it is told to."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    # The command is not alone in this process.
    monkeypatch.setattr("jobs.logs.configure", lambda **_: None)

    def make(listing: str, status: int = 0) -> None:
        (tmp_path / "listing").write_text(listing)
        tool = tmp_path / "nvidia-smi"
        tool.write_text(f'#!/bin/sh\n[ "$*" = -L ] && cat {tmp_path}/listing\nexit {status}\n')
        tool.chmod(0o755)

    return make


def test_a_cut_gpu_is_its_slices_and_another_itself() -> None:
    assert parse(CUT) == (
        Gpu(number="0:0", uuid=SLICES[0], name="NVIDIA A100-SXM4-40GB MIG 1g.5gb"),
        Gpu(number="0:1", uuid=SLICES[1], name="NVIDIA A100-SXM4-40GB MIG 2g.10gb"),
        Gpu(number="1:0", uuid=OLD_SLICE, name="A100-SXM4-40GB MIG 3g.20gb"),
        Gpu(number="2", uuid=UNCUT, name="NVIDIA A100-SXM4-40GB"),
    )
    assert [gpu.name for gpu in parse(WHOLE)] == ["NVIDIA H100 80GB HBM3", "Tesla T4"]
    assert parse("No devices found.\n") == ()


def test_without_a_driver_or_with_one_that_fails_there_is_no_gpu(
    driver: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", 9)
    assert installed() == ()
    monkeypatch.setenv("PATH", "/nonexistent")
    assert installed() == ()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (None, (*SLICES, OLD_SLICE, UNCUT)),
        ("2", ("2",)),
        ("0", SLICES),
        (SLICES[1], (SLICES[1],)),
        (f"{SLICES[0]} , 2", (SLICES[0], "2")),
        ("", ()),
        ("-1", ()),
    ],
)
def test_the_operators_choice_of_gpus_is_respected(said: str | None, expected: tuple[str, ...]) -> None:
    assert visible(said, parse(CUT)) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("2", (UNCUT,)),
        ("0", SLICES),
        ("0:1, 2", (SLICES[1], UNCUT)),
        (OLD_SLICE, (OLD_SLICE,)),
        ("GPU-f00d", (UNCUT,)),
        ("MIG-cba6", (SLICES[1],)),
    ],
)
def test_gpus_are_named_by_number_or_uuid(words: str, expected: tuple[str, ...]) -> None:
    assert named(words, parse(CUT)) == expected


@pytest.mark.parametrize("words", ["3", "0:2", "GPU-", "MIG-", "GPU-5d5ba0d6", "0,0:1", "2,2", "", ","])
def test_a_gpu_that_is_not_here_or_named_twice_is_refused(words: str) -> None:
    with pytest.raises(UnknownGpu):
        named(words, parse(CUT))


def test_what_the_driver_does_not_list_is_passed_on() -> None:
    assert named("0,MIG-x", ()) == ("0", "MIG-x")


@pytest.mark.parametrize(
    ("words", "listing", "expected"),
    [
        (["--gpus", "all"], CUT, [*SLICES, OLD_SLICE, UNCUT]),
        (["--gpus", "1"], WHOLE, ["GPU-bbbb0000-1111-2222-3333-444444444444"]),
        ([], WHOLE, [gpu.uuid for gpu in parse(WHOLE)]),
        (["--device", "cuda:1"], WHOLE, ["GPU-bbbb0000-1111-2222-3333-444444444444"]),
        (["--cpu", "2"], WHOLE, [None, None]),
        ([], "", [None]),
    ],
)
def test_the_command_plans_one_process_for_each(
    driver: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    listing: str,
    expected: list[str | None],
) -> None:
    driver(listing)
    planned: list[Any] = []

    def supervise(plans: Any, **_: Any) -> int:
        planned.extend(plans)
        return 0

    monkeypatch.setattr("worker.supervisor.supervise", supervise)
    result = CliRunner().invoke(app, ["worker", *words])
    assert result.exit_code == 0, result.output
    assert [plan.environment.get("CUDA_VISIBLE_DEVICES") for plan in planned] == expected
    assert len({plan.name for plan in planned}) == len(planned)


@pytest.mark.parametrize(
    ("words", "listing", "why"),
    [
        (["--gpus", "all"], "", "no GPU was found"),
        (["--gpus", "7"], WHOLE, "Tesla T4"),
        (["--device", "cuda:2"], WHOLE, "2 GPUs were found"),
        (["--gpus", "0", "--cpu", "1"], WHOLE, "give one of"),
    ],
)
def test_what_cannot_be_had_is_a_sentence(
    driver: Callable[..., None], words: list[str], listing: str, why: str
) -> None:
    driver(listing)
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["worker", *words])
    assert result.exit_code == 2
    assert why in " ".join(result.output.split())
