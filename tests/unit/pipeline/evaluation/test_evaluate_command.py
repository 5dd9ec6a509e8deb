"""``photomend evaluate`` as a user calls it, on drawn pictures in the place of faces."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.random import default_rng
from typer.testing import CliRunner

from photomend.cli import app
from pipeline.training.textures import drawn
from pipeline.weights import preview_folder

FACE_PX = 512


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("faces")
    for number in range(2):
        pixels = (drawn(default_rng(number), FACE_PX) * 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"face_{number}.png"), pixels)
    return folder


def run(*words: object):
    return CliRunner().invoke(app, ["evaluate", *(str(word) for word in words)])


def test_models_by_name_and_file_are_compared_with_the_input_and_everything_is_written(faces, tmp_path):
    out = tmp_path / "figures"
    file = preview_folder() / "restorer.pth"
    words = ["--severity", "medium", "--measure", "psnr", "--measure", "fid", "--weights-dir", tmp_path, "-o", out]

    result = run(faces, "-m", "preview", "-m", file, *words)

    assert result.exit_code == 0, result.output
    assert "fid not run: weights missing" in " ".join(result.output.split())
    with (out / "evaluation.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [(r["subject"], r["group"], r["measure"], r["pictures"]) for r in rows] == [
        (subject, "medium", "psnr", "2") for subject in ("input", "preview", "restorer")
    ]
    assert rows[1]["mean"] == rows[2]["mean"] != rows[0]["mean"]
    told = json.loads((out / "evaluation.json").read_text())
    assert told["seed"] == 20210111
    assert len(told["pictures"]) == 6
    grid = cv2.imread(str(out / "grid.png"))
    assert grid.shape[1] == 4 * 256
    assert cv2.imread(str(out / "evaluation.png")) is not None


def test_pairs_are_matched_by_name_and_small_ones_enlarged(faces, tmp_path):
    low = tmp_path / "low"
    low.mkdir()
    for path in faces.iterdir():
        small = cv2.resize(cv2.imread(str(path)), (128, 128), interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(low / f"{path.stem}.jpg"), small)
    words = ["--degraded", low, "--measure", "ssim", "--weights-dir", tmp_path]

    result = run(faces, *words, "--most", 1)
    (low / "face_0.jpg").unlink()
    without = run(faces, *words)

    assert result.exit_code == 0, result.output
    assert "pairs" in result.output
    assert without.exit_code == 1
    assert "holds no counterpart of face_0.png" in " ".join(without.output.split())


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--severity", "awful"], 2, "awful"),
        (["--measure", "beauty"], 2, "beauty"),
        (["-m", "no-such-model"], 1, "no-such-model"),
        (["-m", preview_folder() / "detector.pth"], 1, "not a restorer of faces"),
    ],
)
def test_wrong_words_are_one_sentence(words, code, said, faces, tmp_path):
    result = run(faces, *words, "--weights-dir", tmp_path)

    assert result.exit_code == code
    assert said in " ".join(result.output.split())
    assert "Traceback" not in result.output


def test_a_folder_without_pictures_is_one_sentence(tmp_path):
    result = run(tmp_path)

    assert result.exit_code == 1
    assert "no pictures" in result.output
