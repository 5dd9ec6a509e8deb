"""Training in processes of its own: killed and gone on with, and shared by two."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from pipeline.training.checkpoints import CheckpointFolder
from pipeline.training.gan.curves import read_curves
from pipeline.training.gan.options import read
from pipeline.training.gan.running import execute
from pipeline.training.processes import Processes

SIDE, PICTURES = 32, 5

#: Two processes add up gradients in another order than one.
TOLERANCE = 1e-4

OPTIONS = """
seed = 3
steps = {steps}
batch = 4
[data]
pictures = "{pictures}"
size = 32
landmarks = "{landmarks}"
workers = 1
[generator]
architecture = "gfpgan-bilinear"
style = 8
narrow = 0.03125
[discriminator]
narrow = 0.03125
group = 2
[losses]
r1_every = 2
[every]
curves = 1
checkpoint = {checkpoint}
samples = 1000
{more}
"""

#: No address of this machine but its own is used, and no thread waits for another.
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    for number in range(PICTURES):
        noise = cv2.GaussianBlur(rng.random((SIDE, SIDE, 3)), (0, 0), 2)
        cv2.imwrite(str(pictures / f"{number:08d}.png"), (noise * 255).astype(np.uint8))
    part = {"left_eye": np.array([10.0, 12, 4]), "right_eye": np.array([22.0, 12, 4]), "mouth": np.array([16.0, 24, 6])}
    torch.save({f"{number:08d}": part for number in range(PICTURES)}, tmp_path / "landmarks.pth")
    return {"pictures": pictures, "landmarks": tmp_path / "landmarks.pth"}


def write_options(place: Path, data: dict[str, Any], *, steps: int, checkpoint: int, more: str = "") -> Path:
    place.write_text(OPTIONS.format(**data, steps=steps, checkpoint=checkpoint, more=more))
    return place


def train(options: Path, out: Path, *more: str, launcher: tuple[str, ...] = ()) -> list[str]:
    command = ["-m", "photomend", "train", "gan", str(options), "--out", str(out), "--threads", "1", "--device", "cpu"]
    return [sys.executable, *launcher, *command, *more]


def finished(command: list[str]) -> str:
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def here(options: Path, out: Path, *, resume: bool = False) -> None:
    """The same run in this process, which spares starting one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = Processes(rank=0, world=1, device=torch.device("cpu"))
    execute(read(options), out, processes=alone, resume=resume, told=lambda step, row: None)
    torch.set_num_threads(before)


def curves(out: Path) -> dict[tuple[int, str], float]:
    return {(step, name): mean for step, name, mean in read_curves(out / "curves.csv")}


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(equal(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def test_a_run_killed_between_checkpoints_goes_on_bit_for_bit(data, tmp_path):
    long = write_options(tmp_path / "long.toml", data, steps=100_000, checkpoint=3)
    out = tmp_path / "killed"
    running = subprocess.Popen(train(long, out), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        # Beyond its first checkpoint, so that steps were done which no checkpoint knows.
        while not any(step >= 5 for step, _ in curves(out)):
            assert running.poll() is None, running.communicate()[1].decode()
            time.sleep(0.05)
    finally:
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
        running.stderr.close()
    at_kill, _ = CheckpointFolder(out / "checkpoints", keep=9).read()
    last = at_kill + 2
    short = write_options(tmp_path / "short.toml", data, steps=last, checkpoint=3)

    here(short, out, resume=True)
    here(short, tmp_path / "whole")

    assert curves(out) == curves(tmp_path / "whole")
    resumed, whole = (CheckpointFolder(place / "checkpoints", keep=9).read() for place in (out, tmp_path / "whole"))
    assert resumed[0] == last
    assert equal(resumed, whole)


def test_two_processes_follow_the_curve_of_one_with_the_same_batch(data, tmp_path):
    options = write_options(tmp_path / "run.toml", data, steps=4, checkpoint=4, more="[components]")
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")

    said = finished(train(options, tmp_path / "two", launcher=launcher))
    here(options, tmp_path / "one")

    one, two = curves(tmp_path / "one"), curves(tmp_path / "two")
    assert one.keys() == two.keys()
    assert {"mouth", "component_style", "r1", "pyramid"} <= {name for _, name in one}
    assert max(abs(one[at] - two[at]) / max(1.0, abs(one[at])) for at in one) < TOLERANCE
    assert said.count("step 4") == 1  # only the first process speaks


def test_sigterm_leaves_a_checkpoint_behind(data, tmp_path):
    options = write_options(tmp_path / "run.toml", data, steps=100_000, checkpoint=50_000)
    out = tmp_path / "run"
    running = subprocess.Popen(train(options, out), env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    while not curves(out):
        assert running.poll() is None
        time.sleep(0.05)
    running.terminate()
    said, _ = running.communicate(timeout=60)

    step, _ = CheckpointFolder(out / "checkpoints", keep=9).read()
    assert running.returncode == 130
    assert f"Stopped after step {step}" in said
