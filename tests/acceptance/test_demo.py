"""``photomend demo`` as a user runs it: the main job on a real picture through API, Redis, Celery, S3 and callback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from photomend.demo import picture

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def run_demo(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "photomend", "demo", *words],
        check=False, capture_output=True, text=True, timeout=280, cwd=ROOT, env=environment,
    )  # fmt: skip


def processes_about(folder: Path) -> list[str]:
    """Command lines and environments of running processes that name ``folder``; ours is not among them."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if int(entry.name) != os.getpid() and str(folder).encode() in words:
            found.append(words.decode(errors="replace"))
    return found


def clean_portrait(side_px: int) -> np.ndarray:
    """What the old photo was before it grew old: (side, side, 3) BGR float32."""
    from skimage import data

    left, top, side = picture.CROP
    crop = data.astronaut()[top : top + side, left : left + side, ::-1]
    return cv2.resize(np.ascontiguousarray(crop), (side_px, side_px), interpolation=cv2.INTER_CUBIC).astype(np.float32)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("demo")
    return folder, run_demo("-o", str(folder))


def test_it_succeeds_and_leaves_nothing_running(demo):
    folder, done = demo
    assert done.returncode == 0, done.stdout + done.stderr
    assert processes_about(folder) == []


def test_it_says_what_it_found_and_verified(demo):
    said = demo[1].stdout
    assert "1 face found" in said
    assert "Callback job.completed came; its signature is genuine" in said
    for stage in ("detect", "restore", "blend"):
        assert stage in said
    for name in ("input.png", "restored.png", "comparison.png"):
        assert str(demo[0] / name) in said


def test_it_says_that_preview_weights_were_used(demo):
    assert "preview" in demo[1].stdout.split("Note:")[1]


def test_the_result_has_twice_the_size_and_the_comparison_shows_both(demo):
    before, after, both = (cv2.imread(str(demo[0] / name)) for name in ("input.png", "restored.png", "comparison.png"))
    height, width = before.shape[:2]
    assert after.shape == (2 * height, 2 * width, 3)
    assert both.shape[1] > 2 * both.shape[0] * 0.85
    label_bar = both[:10]
    assert label_bar.mean() > 200


def test_the_face_is_nearer_to_the_portrait_than_it_was(demo):
    """The weights are small, so little is asked: the restored face must be better than the plainly enlarged one."""
    before, after = (cv2.imread(str(demo[0] / name)) for name in ("input.png", "restored.png"))
    size = after.shape[0]
    truth = clean_portrait(size)
    enlarged = cv2.resize(before, (size, size), interpolation=cv2.INTER_LANCZOS4).astype(np.float32)
    record = json.loads((demo[0] / "provenance.json").read_text())
    (face,) = record["faces"]
    x0, y0, x1, y1 = (round(2 * edge) for edge in face["box"])
    errors = [float(np.mean((image[y0:y1, x0:x1] - truth[y0:y1, x0:x1]) ** 2)) for image in (enlarged, after)]
    assert errors[1] < errors[0]


def test_a_file_that_is_no_photo_ends_it_with_one_sentence_before_anything_starts(tmp_path):
    letter = tmp_path / "letter.jpg"
    letter.write_text("Dear aunt")
    done = run_demo("--photo", str(letter), "-o", str(tmp_path / "out"))
    assert done.returncode == 1
    assert "The demo failed: this photo cannot be used" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Redis" not in done.stdout


def test_a_redis_that_does_not_answer_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PHOTOMEND_REDIS_URL", "redis://127.0.0.1:1/0")
    done = run_demo("-o", str(tmp_path / "out"))
    assert done.returncode == 1
    assert "PHOTOMEND_REDIS_URL" in done.stderr
    assert "Traceback" not in done.stderr
