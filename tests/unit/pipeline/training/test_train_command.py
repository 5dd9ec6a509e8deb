"""``photomend train`` as a user calls it, on a tiny data folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from photomend.cli import app
from pipeline.training import recipe


@pytest.fixture
def data(tmp_path: Path, faces_folder: Path, vgg_tensors: dict[str, torch.Tensor]) -> Path:
    """What ``--data`` names: drawn pictures as faces, and VGG layers of random numbers."""
    place = tmp_path / "data"
    (place / "faces").mkdir(parents=True)
    (place / "faces" / "train").symlink_to(faces_folder)
    (place / "weights").mkdir()
    torch.save(vgg_tensors, place / "weights" / recipe.VGG)
    return place


def run(*words: object):
    return CliRunner().invoke(app, ["train", *(str(word) for word in words)])


def test_a_run_can_be_started_resumed_and_exported(data, tmp_path):
    out = tmp_path / "out"

    started = run("restorer", "--data", data, "--out", out, "--steps", 1)
    resumed = run("restorer", "--data", data, "--out", out, "--steps", 2, "--resume")
    exported = run("export", "--restorer", out, "--target", tmp_path / "pack")

    assert [started.exit_code, resumed.exit_code, exported.exit_code] == [0, 0, 0]
    written = (tmp_path / "pack" / recipe.RESTORER_FILE).stat().st_size
    assert f"{written} bytes" in exported.output.replace("\n", " ")


def test_help_shows_the_commands_that_make_the_pack_again():
    shown = run("--help").output

    commands = ("train restorer", "train detector", "train upsampler", "train export", "photomend evaluate")
    assert all(command in shown for command in commands)


def test_saying_nothing_is_a_wrong_command_line():
    assert run().exit_code == 2
    assert run("export").exit_code == 2


@pytest.mark.parametrize("words", [("restorer",), ("detector",), ("upsampler",)])
def test_a_missing_data_folder_is_one_sentence(words, tmp_path):
    result = run(*words, "--data", tmp_path / "nowhere")

    assert result.exit_code == 1
    assert "nowhere" in result.output.replace("\n", "")
    assert "Traceback" not in result.output


def test_resuming_what_never_started_says_so(data, tmp_path):
    result = run("restorer", "--data", data, "--out", tmp_path / "none", "--resume")

    assert result.exit_code == 1
    assert "without --resume" in result.output.replace("\n", " ")
