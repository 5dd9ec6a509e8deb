"""``photomend detect``: what is printed, what is written, and what is never written over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.kinds import Kind, options_for
from photomend.cli import app
from photomend.files import Flat, Input, OneFile
from photomend.marking import Marker
from photomend.outcomes import Failed, Finished
from photomend.sightings import show
from pipeline.codec import Limits
from tests.unit.pipeline.test_finding import Sees, picture
from tests.unit.pipeline.test_selection import face

FACES = face(20, 20, 100), face(200, 20, 90, score=0.4)


def marker(layout, **more) -> Marker:
    options = options_for(Kind.DETECT, {"outputs": ["image", "provenance"]})
    return Marker(finder=Sees(*FACES), options=options, layout=layout, limits=Limits(), **more)


def mark(worker: Marker, *paths: Path) -> list[Finished | Failed]:
    return list(worker.mark_all([Input(path=path) for path in paths], on_progress=lambda _: lambda *_: None))


def put(path: Path, data: bytes | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture() if data is None else data)
    return path


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_nothing_is_written_unless_a_place_is_named(tmp_path):
    source = put(tmp_path / "group.png")
    [outcome] = mark(marker(None), source)
    assert isinstance(outcome, Finished)
    assert len(outcome.report.faces) == 2
    assert names(tmp_path) == ["group.png"]


def test_one_picture_goes_where_it_is_told_and_a_folder_s_have_names_of_their_own(tmp_path):
    source = put(tmp_path / "group.png")
    mark(marker(OneFile(path=tmp_path / "look.jpg")), source)
    mark(marker(Flat(folder=tmp_path / "out", suffix="-faces")), source)
    assert names(tmp_path) == [
        "group.png", "look.jpg", "look.provenance.json", "out/group-faces.jpg", "out/group-faces.provenance.json",
    ]  # fmt: skip


def test_inputs_and_existing_files_stay_and_a_bad_picture_does_not_stop_the_rest(tmp_path):
    mine = put(tmp_path / "out" / "b-faces.jpg", b"mine")
    bad = put(tmp_path / "a.png", b"no picture")
    outcomes = mark(
        marker(Flat(folder=tmp_path / "out", suffix="-faces")), bad, put(tmp_path / "b.png"), put(tmp_path / "c.png")
    )
    assert [o.code for o in outcomes if isinstance(o, Failed)] == ["image_unreadable", "output_exists"]
    assert mine.read_bytes() == b"mine"
    assert (tmp_path / "out" / "c-faces.jpg").exists()
    own = put(tmp_path / "photo.jpg")
    [outcome] = mark(marker(OneFile(path=own), overwrite=True), own)
    assert isinstance(outcome, Failed)
    assert outcome.code == "output_is_input"


def test_the_table_tells_ids_fates_and_reasons_and_is_never_cut_off(tmp_path, capsys):
    outcomes = mark(marker(None), put(tmp_path / "group.png"))
    show(outcomes, as_json=False)
    said = capsys.readouterr().out
    assert "group.png: 1 face, 400 x 300 px" in said
    found, rejected = outcomes[0].report.faces
    assert f"{found.id}  20,20,120,120" in said
    assert "restore" in said
    assert said.index(found.id) < said.index(rejected.id), "what is no face comes last"
    assert "score 0.40 is below 0.5" in said
    assert "…" not in said


def test_json_has_every_picture_and_every_field(tmp_path, capsys):
    outcomes = mark(marker(None), put(tmp_path / "group.png"), put(tmp_path / "bad.png", b"x"))
    show(outcomes, as_json=True)
    good, bad = json.loads(capsys.readouterr().out)["pictures"]
    assert [f["status"] for f in good["faces"]] == ["found", "rejected"]
    assert good["model"]["name"] == "sees"
    assert bad["code"] == "image_unreadable"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere.jpg"], "There is no file"),
        (["."], "no pictures"),
        (["a.png", "-o", "a.png"], "JPEG"),
        (["a.png", "b.png", "-o", "c.jpg"], "name a folder"),
        (["a.png", "--faces", "3"], "'3'"),
        (["a.png", "--min-score", "7"], "min_score"),
    ],
)
def test_a_wrong_command_says_what_is_wrong_before_any_network_is_loaded(tmp_path, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["detect", *words], env={"COLUMNS": "200"})
    assert done.exit_code in {1, 2}
    assert sentence in done.stderr
