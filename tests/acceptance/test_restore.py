"""``photomend restore`` as a user runs it: real processes, the weights that the package ships, real pictures."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def photomend(
    *words: object, home: Path, command: str = "restore", **environment: str
) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, with no weights installed."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PHOTOMEND_", "XDG_", "MALLOC_"))}
    return subprocess.run(
        [sys.executable, "-m", "photomend", command, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        # The machine's own weights must not help.
        env=clean | {"XDG_DATA_HOME": str(home), "COLUMNS": "200"} | environment,
    )


@pytest.fixture(scope="session")
def portrait() -> bytes:
    """A photo of a person as an old one would be: small, grainy, a JPEG with a name and a date."""
    data = pytest.importorskip("skimage.data", reason="the extra `local` has the picture")
    small = Image.fromarray(data.astronaut()).crop((64, 0, 384, 320)).resize((240, 240), Image.Resampling.LANCZOS)
    grain = np.random.default_rng(3).normal(0, 6, (240, 240, 3))
    old = Image.fromarray(np.clip(np.asarray(small) + grain, 0, 255).astype(np.uint8))
    exif = Image.Exif()
    exif[0x013B] = "NASA"
    buffer = io.BytesIO()
    old.save(buffer, "JPEG", quality=80, exif=exif, dpi=(150, 150))
    return buffer.getvalue()


def names(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_one_photo_is_mended_and_everything_is_told(tmp_path, portrait):
    source, out = tmp_path / "old.jpg", tmp_path / "out"
    source.write_bytes(portrait)
    parts = "image,comparison,mask,faces,provenance"
    done = photomend(source, "-o", out / "mended.jpg", "--outputs", parts, "--json", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert names(out) == {
        "mended.jpg", "mended.comparison.png", "mended.mask.png", "mended.provenance.json",
        "mended.face-0.png", "mended.face-0-before.png",
    }  # fmt: skip
    assert source.read_bytes() == portrait
    with Image.open(out / "mended.jpg") as mended:
        assert (mended.format, mended.size) == ("JPEG", (480, 480))
        assert mended.getexif()[0x013B] == "NASA"
        assert mended.info["dpi"] == (300, 300)
    with Image.open(out / "mended.mask.png") as mask:
        share = (np.asarray(mask) == 255).mean()
    assert 0.02 < share < 0.6, "the face was changed, not the picture"
    assert "1 face found, 1 restored" in done.stderr
    assert "preview" in done.stderr
    assert str(out / "mended.jpg") in done.stderr
    [told] = json.loads(done.stdout)["pictures"]
    assert told["model"]["name"] == "preview"
    record = json.loads((out / "mended.provenance.json").read_bytes())
    assert record["faces"] == [{k: v for k, v in face.items() if k != "seconds"} for face in told["faces"]]
    assert record["model"] == told["model"]


def test_a_folder_goes_on_past_bad_pictures_and_says_which(tmp_path, portrait):
    photos, out = tmp_path / "in", tmp_path / "out"
    (photos / "1969").mkdir(parents=True)
    (photos / "a.jpg").write_bytes(portrait)
    (photos / "1969" / "b.jpg").write_bytes(portrait)
    (photos / "cut.jpg").write_bytes(portrait[:4000])
    (photos / "fake.png").write_bytes(b"this is no picture")
    (photos / "notes.txt").write_text("not a picture either, and not announced as one")
    words = (photos, "-o", out, "--recursive", "--scale", "1", "--background", "none")
    done = photomend(*words, home=tmp_path)
    assert done.returncode == 1
    assert names(out) == {"a.jpg", "a.provenance.json", "1969/b.jpg", "1969/b.provenance.json"}
    assert "2 of 4 pictures mended" in done.stderr
    assert "image_truncated" in done.stderr
    assert "image_unreadable" in done.stderr
    assert "Traceback" not in done.stderr
    assert "VIPS" not in done.stderr
    for kind in ("jpg", "provenance.json"):
        twins = {(out / f"a.{kind}").read_bytes(), (out / "1969" / f"b.{kind}").read_bytes()}
        assert len(twins) == 1, "the same picture gives the same bytes and the same record"
    again = photomend(*words, home=tmp_path)
    assert again.returncode == 1
    assert again.stderr.count("output_exists") >= 2


def test_the_seed_project_s_words_and_folders_work(tmp_path, portrait):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "old.jpg").write_bytes(portrait)
    words = "-s 1 --bg_upsampler none --bg_tile 400 --only_center_face --suffix new --ext png --layout gfpgan -w 0.5"
    done = photomend("-i", tmp_path / "in", "-o", tmp_path / "results", *words.split(), home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert names(tmp_path / "results") == {
        "restored_imgs/old_new.png", "restored_imgs/old_new.provenance.json", "cropped_faces/old_00.png",
        "restored_faces/old_00_new.png", "cmp/old_00.png",
    }  # fmt: skip


def test_a_named_model_without_weights_is_refused_with_what_to_do(tmp_path, portrait):
    source = tmp_path / "old.jpg"
    source.write_bytes(portrait)
    done = photomend(source, "-o", tmp_path / "out", "-v", "1.3", home=tmp_path)
    assert done.returncode == 1
    assert "photomend models fetch gfpgan-1.3" in done.stderr
    assert "weights_missing" in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_size_limit_is_a_setting(tmp_path, portrait):
    source = tmp_path / "old.jpg"
    source.write_bytes(portrait)
    done = photomend(source, "-o", tmp_path / "out", home=tmp_path, PHOTOMEND_MAX_PIXELS="1000")
    assert done.returncode == 1
    assert "image_too_large" in done.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--scale", "9"], "scale must be between 1 and 4"),
        (["--outputs", "image,video"], "outputs must name one or more of"),
        (["--model", "gfpgan-9"], "model must be one of"),
        (["--denoise", "1", "--background", "none"], "denoise is honoured by realesr-general-x4v3 only"),
        (["-o", "x.png", "--format", "jpeg"], "--format says jpeg"),
        (["--no-such-option"], "No such option"),
    ],
)
def test_wrong_words_are_refused_in_one_sentence_before_any_work(words, sentence, tmp_path, monkeypatch):
    from photomend.cli import app

    monkeypatch.chdir(tmp_path)
    Path("old.jpg").write_bytes(b"never read")
    result = CliRunner(env={"COLUMNS": "300", "TERM": "dumb"}).invoke(app, ["restore", "old.jpg", *words])
    assert result.exit_code == 2
    assert sentence in " ".join(result.output.split())


@pytest.mark.parametrize("words", [["gone.jpg"], ["empty"]])
def test_nothing_to_mend_is_said_without_loading_networks(words, tmp_path, monkeypatch):
    from photomend.cli import app

    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    result = CliRunner(env={"COLUMNS": "300"}).invoke(app, ["restore", *words])
    assert result.exit_code == 1
    assert words[0] in result.output


def test_a_wrong_setting_is_named(tmp_path, monkeypatch):
    from photomend.cli import app

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PHOTOMEND_MAX_PIXELS", "many")
    Path("old.jpg").write_bytes(b"never read")
    result = CliRunner(env={"COLUMNS": "300"}).invoke(app, ["restore", "old.jpg"])
    assert result.exit_code == 1
    assert "PHOTOMEND_MAX_PIXELS is not valid" in result.output


def test_the_process_starts_anew_once_with_the_allocator_set_up(monkeypatch):
    from types import SimpleNamespace

    from photomend.commands.local import restart_tuned
    from worker.allocator import ALLOCATOR

    started = []
    monkeypatch.setattr(os, "execve", lambda *words: started.append(words))
    for name in ALLOCATOR:
        monkeypatch.delenv(name, raising=False)
    restart_tuned(SimpleNamespace(obj=None))
    assert started == [], "never inside another program"
    own = SimpleNamespace(obj={"own_process": True})
    restart_tuned(own)
    [(program, words, environment)] = started
    assert (program, words) == (sys.executable, sys.orig_argv)
    assert environment.items() >= ALLOCATOR.items()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    restart_tuned(own)
    assert len(started) == 1


def test_the_command_is_light_until_it_works():
    code = (
        "import sys, photomend.commands.restore\n"
        "sys.exit(bool({'numpy', 'torch', 'cv2', 'pyvips', 'pydantic', 'celery'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_faces_are_found_looked_at_and_chosen(tmp_path, portrait):
    source, out = tmp_path / "old.jpg", tmp_path / "out"
    source.write_bytes(portrait)
    looked = photomend(source, "-o", out / "look.jpg", "--json", home=tmp_path, command="detect")
    assert looked.returncode == 0, looked.stderr
    assert names(out) == {"look.jpg", "look.provenance.json"}
    [told] = json.loads(looked.stdout)["pictures"]
    [face] = [f for f in told["faces"] if f["status"] == "found"]

    words = ("--faces", face["id"], "--min-score", "0.2", "--scale", "1", "--json")
    done = photomend(source, "-o", out / "mended.jpg", *words, home=tmp_path)
    assert done.returncode == 0, done.stderr
    [mended] = json.loads(done.stdout)["pictures"]
    assert [f["id"] for f in mended["faces"] if f["status"] == "restored"] == [face["id"]], "whatever else is said"
    for record in ("look.provenance.json", "mended.provenance.json"):
        schema = json.loads((resources.files("pipeline") / "provenance.schema.json").read_text())
        jsonschema.Draft202012Validator(schema).validate(json.loads((out / record).read_bytes()))
