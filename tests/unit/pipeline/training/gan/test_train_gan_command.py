"""``photomend train gan``, ``prior``, ``landmarks`` and ``extract`` as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from photomend.cli import app


def run(*words: object):
    return CliRunner().invoke(app, ["train", *(str(word) for word in words)])


@pytest.fixture
def options(tmp_path: Path, pictures: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(
        f'steps = 1\nbatch = 2\n[data]\npictures = "{pictures}"\nsize = 32\nworkers = 0\n'
        '[generator]\narchitecture = "gfpgan-bilinear"\nstyle = 8\nnarrow = 0.03125\n'
        "[discriminator]\nnarrow = 0.03125\n[every]\ncurves = 1\n"
    )
    return path


def test_a_run_is_trained_resumed_extracted_and_converted(options, tmp_path):
    out = tmp_path / "run"
    started = run("gan", options, "-o", out, "--device", "cpu", "--threads", 1)
    again = run("gan", options, "-o", out, "--device", "cpu", "--threads", 1)
    resumed = run("gan", options, "-o", out, "--device", "cpu", "--threads", 1, "--resume", "--steps", 2)
    extracted = run("extract", out, tmp_path / "mine.pth")
    words = ["models", "convert", str(tmp_path / "mine.pth"), str(tmp_path / "clean.pth")]
    converted = CliRunner().invoke(app, words)

    assert [r.exit_code for r in (started, again, resumed, extracted)] == [0, 1, 0, 0]
    assert converted.exit_code == 0, converted.output
    assert "step 1" in started.output
    assert "pixels" in started.output
    assert "--resume goes on" in again.output
    assert 'architecture = "gfpgan-bilinear"' in extracted.output
    assert json.loads((out / "options.json").read_text())["steps"] == 2


def test_each_command_s_help_has_an_example():
    for name in ("gan", "prior", "landmarks", "extract"):
        assert f"photomend train {name}" in run(name, "--help").output.replace("\n", " "), name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('speed = 1\n[data]\npictures = "p"\n', "there is no option speed"),
        ('[data]\npictures = "p"\n', "p is not there"),
        ('kind = "prior"\n[data]\npictures = "p"\n', "photomend train prior"),
        ("steps =", "cannot be read"),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path, text, said):
    path = tmp_path / "mine.toml"
    path.write_text(text)

    result = run("gan", path, "-o", tmp_path / "run", "--device", "cpu")

    assert result.exit_code == 1
    assert said in result.output.replace("\n", " ")
    assert "Traceback" not in result.output


def test_landmarks_of_pictures_without_faces_are_an_error_and_nothing_is_written(pictures, tmp_path):
    result = run("landmarks", pictures, "-o", tmp_path / "marks.pth", "--detector", "preview-detector")

    assert result.exit_code == 1
    assert "no face was found" in result.output
    assert not (tmp_path / "marks.pth").exists()


@pytest.mark.shared
def test_landmarks_of_real_faces_are_where_aligned_faces_have_them(shared_dir, tmp_path):
    from pipeline.geometry import FFHQ_TEMPLATE
    from pipeline.training.gan.components import read_landmarks
    from pipeline.training.gan.sources import open_source

    faces = tmp_path / "faces"
    faces.mkdir()
    for path in sorted((shared_dir / "faces" / "val").iterdir())[:3]:
        (faces / path.name).symlink_to(path)

    result = run("landmarks", faces, "-o", tmp_path / "marks.pth", "--detector", "preview-detector")

    assert result.exit_code == 0, result.output
    found = read_landmarks(tmp_path / "marks.pth", open_source(faces)).components
    # Within a third of the eyes' distance of the template: faces differ, and the folder's are aligned by eye and mouth.
    assert abs(found[:, :2, :2] - FFHQ_TEMPLATE[:2]).max() < 42
    assert ((found[:, :, 2] >= 16) & (found[:, :, 2] < 80)).all()
