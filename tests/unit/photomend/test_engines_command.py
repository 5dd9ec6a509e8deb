"""``photomend engines`` runs what is here in every way and says what is used; a wish that cannot be is refused."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from photomend.cli import app


@pytest.fixture
def photomend(tmp_path, monkeypatch):
    """The command with no weights but the package's own."""
    monkeypatch.setenv("PHOTOMEND_WEIGHTS_DIR", str(tmp_path / "weights"))
    monkeypatch.setenv("PHOTOMEND_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PHOTOMEND_DEVICE", "cpu")
    monkeypatch.setenv("COLUMNS", "160")
    return lambda *words: CliRunner().invoke(app, list(words))


def test_it_tells_every_way_of_every_network_and_what_is_used(photomend, tmp_path):
    done = photomend("engines", "--json", "--engine", "torch")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    here = {one["engine"]: one for one in told["engines"]}
    assert here["torch"]["reason"] is None
    assert "needs a GPU" in here["cuda-graph"]["reason"]
    assert here["openvino"]["reason"]  # not installed, or not wished
    ways = {one["precision"]: one for one in told["networks"] if one["network"] == "preview"}
    expected = {(name, "torch") for name in ("preview", "preview-detector")}
    assert {(one["network"], one["engine"]) for one in told["networks"]} == expected
    assert all(one["runs"] and one["seconds"] > 0 for one in ways.values())
    assert ways["bfloat16"]["agrees_db"] > ways["bfloat16"]["needs_db"]
    pays = told["reduced_precision"]["gain"] >= told["reduced_precision"]["needed"]
    assert ways["bfloat16"]["used_for"] == (["auto"] if pays else [])
    assert ways["float32"]["used_for"] == (["exact"] if pays else ["auto", "exact"])
    assert (tmp_path / "cache" / "measured").is_dir()

    table = photomend("engines", "preview", "--engine", "torch")
    assert "precision=exact" in table.output
    assert "times as fast as float32" in table.output


@pytest.mark.parametrize("command", ["engines", "restore"])
def test_an_engine_that_is_not_here_is_refused(photomend, tmp_path, command):
    (tmp_path / "one.png").touch()
    words = [str(tmp_path / "one.png")] if command == "restore" else []
    refused = photomend(command, *words, "--engine", "cuda-graph")
    assert refused.exit_code == 1
    assert "cuda-graph cannot be used here: it needs a GPU" in " ".join(refused.output.split())


def test_the_setting_knows_the_engines_names(monkeypatch):
    from pydantic import ValidationError

    from pipeline.engines.port import EngineName
    from worker.settings import WorkerSettings

    for name in ("auto", *EngineName):
        monkeypatch.setenv("PHOTOMEND_ENGINE", name)
        assert WorkerSettings().engine == name
    monkeypatch.setenv("PHOTOMEND_ENGINE", "abacus")
    with pytest.raises(ValidationError, match="engine"):
        WorkerSettings()
