"""``photomend models convert`` writes a clean checkpoint that gives the same pictures, or nothing."""

from __future__ import annotations

import hashlib
import tomllib

import pytest
import torch
from typer.testing import CliRunner

from photomend import converting
from photomend.cli import app
from pipeline.arch import gfpgan_clean, gfpgan_original, networks
from pipeline.device import exact
from pipeline.weights import LOCAL_FILE, WeightStore

SMALL = {"size": 16, "narrow": 0.125, "style": 16}


@pytest.fixture
def bilinear(tmp_path):
    """A bilinear checkpoint of one's own training, with noise that shows."""
    torch.manual_seed(5)
    network = gfpgan_original.GFPGANv1(**SMALL, resampling="bilinear")
    for parameter in network.parameters():
        parameter.data += torch.randn_like(parameter) * 0.05
    torch.save({"params_ema": network.state_dict()}, tmp_path / "bilinear.pth")
    return network.eval()


def run(tmp_path, source="bilinear.pth", target="clean.pth", *more):
    words = ["models", "convert", str(tmp_path / source), str(tmp_path / target), "--weights-dir", str(tmp_path), *more]
    return CliRunner().invoke(app, words)


def test_the_written_file_gives_the_same_picture_under_the_name_it_says(tmp_path, bilinear):
    result = run(tmp_path)
    assert result.exit_code == 0, result.output
    assert "same picture as bilinear.pth within" in result.stderr
    # What is on standard output can be appended to local.toml as it is.
    row = tomllib.loads(result.stdout)["local"][0]
    assert row["sha256"] == hashlib.sha256((tmp_path / "clean.pth").read_bytes()).hexdigest()
    (tmp_path / LOCAL_FILE).write_text(result.stdout)
    store = WeightStore(tmp_path)
    assert row["name"] == "gfpgan-1.2"
    clean = networks.build(store.find(row["name"]).architecture, store.load(row["name"]), name="clean").module
    assert isinstance(clean, gfpgan_clean.GFPGANv1Clean)
    face = torch.rand(2, 3, 16, 16) * 2 - 1
    with exact():
        expected = bilinear(face)
        assert (clean(face) - expected).abs().max() < 1e-5 * expected.abs().max()


def test_a_name_that_no_job_can_ask_for_is_refused(tmp_path, bilinear):
    assert tomllib.loads(run(tmp_path, "bilinear.pth", "a.pth", "--name", "gfpgan-1.3").stdout)["local"][0]["name"] == (
        "gfpgan-1.3"
    )
    result = run(tmp_path, "bilinear.pth", "b.pth", "--name", "mine")
    assert result.exit_code == 2
    assert not (tmp_path / "b.pth").exists()


def test_an_existing_file_is_not_overwritten(tmp_path, bilinear):
    (tmp_path / "clean.pth").write_bytes(b"precious")
    result = run(tmp_path)
    assert result.exit_code == 1
    assert "is there already" in result.stderr
    assert (tmp_path / "clean.pth").read_bytes() == b"precious"


def test_a_known_original_is_refused_though_its_tensors_fit(tmp_path, bilinear):
    digest = hashlib.sha256((tmp_path / "bilinear.pth").read_bytes()).hexdigest()
    (tmp_path / LOCAL_FILE).write_text(
        f'[[local]]\nname = "gfpgan-1"\nkind = "restorer"\nfile = "GFPGANv1.pth"\nsha256 = "{digest}"\n'
        'architecture = "gfpgan-original"\n'
    )
    result = run(tmp_path)
    assert result.exit_code == 1
    assert "is gfpgan-1, of architecture gfpgan-original" in result.stderr
    assert not (tmp_path / "clean.pth").exists()


def test_another_architecture_is_refused_by_what_it_looks_like(tmp_path):
    state = gfpgan_clean.GFPGANv1Clean(16, narrow=0.125, style=16).state_dict()
    torch.save({"params": state}, tmp_path / "bilinear.pth")
    result = run(tmp_path)
    assert result.exit_code == 1
    assert "expected the" in result.stderr
    assert "the file looks like gfpgan-clean" in result.stderr
    assert not (tmp_path / "clean.pth").exists()


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [("absent.pth", "clean.pth", "is not there"), ("bilinear.pth", "nowhere/clean.pth", "cannot write")],
)
def test_what_cannot_be_read_or_written_is_one_sentence(tmp_path, bilinear, source, target, says):
    result = run(tmp_path, source, target)
    assert result.exit_code == 1
    assert says in result.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bilinear.pth"]


def test_a_network_that_gives_another_picture_is_not_written(tmp_path, bilinear, monkeypatch):
    import pipeline.arch.conversion

    right = pipeline.arch.conversion.bilinear_to_clean

    def wrong(state):
        return right(state) | {"final_conv.bias": right(state)["final_conv.bias"] * 2}

    monkeypatch.setattr(pipeline.arch.conversion, "bilinear_to_clean", wrong)
    with pytest.raises(converting.ConvertError, match=r"is .* away from bilinear\.pth's"):
        converting.convert(tmp_path / "bilinear.pth", tmp_path / "clean.pth", store=WeightStore(tmp_path))
    assert not (tmp_path / "clean.pth").exists()
