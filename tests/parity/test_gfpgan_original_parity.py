"""With the same weights our original and bilinear GFPGAN are the ``gfpgan`` package's, output by output."""

from __future__ import annotations

import pytest
import torch

from pipeline.arch import networks
from pipeline.arch.gfpgan_clean import seeded_noise
from pipeline.device import exact, place
from tests.parity import upstream
from tests.parity.test_gfpgan_parity import difference

#: Largest difference allowed, relative to the largest value of the output (never less than 1): float32 sums in another
#: order. Measured 2e-6 for the picture, 0 for the pyramid.
TOLERANCE = 1e-5

#: How far the two ways of changing size are apart on the same weights; far beyond the tolerance, so that a parity
#: test could not pass with the wrong one.
APART = 1e-2

SMALL = {"size": 64, "narrow": 0.125, "multiplier": 1, "style": 32}
NARROW = {"size": 128, "narrow": 0.25, "multiplier": 2, "style": 48}
PUBLISHED = {"size": 512, "narrow": 1, "multiplier": 1, "style": 512}

THEIRS = {"gfpgan-original": upstream.gfpgan_original, "gfpgan-bilinear": upstream.gfpgan_bilinear}


@pytest.mark.parametrize("architecture", THEIRS)
@pytest.mark.parametrize(("shape", "batch"), [(SMALL, 3), (NARROW, 1)])
def test_picture_and_pyramid_agree(monkeypatch, architecture, shape, batch):
    theirs = THEIRS[architecture](monkeypatch, **shape)
    ours = place(networks.build(architecture, theirs.state_dict(), name="seeded").module, torch.device("cpu"))
    faces = torch.rand(batch, 3, shape["size"], shape["size"]) * 2 - 1
    with exact():
        picture, rgbs = theirs(faces, return_rgb=True, randomize_noise=False)
        mine = ours(faces)
        pyramid = ours.pyramid(ours.encode(faces)[1])
    assert difference(mine, picture) < TOLERANCE
    assert len(pyramid) == len(rgbs)
    assert all(difference(a, b) < TOLERANCE for a, b in zip(pyramid, rgbs, strict=True))


@pytest.mark.parametrize("architecture", THEIRS)
def test_the_mapping_network_agrees(monkeypatch, architecture):
    """GFPGAN never runs it, but the files carry it, and a decoder of one's own may."""
    theirs = THEIRS[architecture](monkeypatch, **SMALL)
    ours = networks.build(architecture, theirs.state_dict(), name="seeded").module
    codes = torch.randn(4, SMALL["style"])
    with exact():
        assert difference(ours.stylegan_decoder.style_mlp(codes), theirs.stylegan_decoder.style_mlp(codes)) < TOLERANCE


def test_the_published_file_has_these_tensors():
    """Keys and shapes at the published size and widths, without allocating them."""
    from pipeline.arch.gfpgan_original import GFPGANv1
    from pipeline.compat import foreign

    with foreign():
        from gfpgan.archs.gfpganv1_arch import GFPGANv1 as Upstream
    with torch.device("meta"):
        published = Upstream(512, channel_multiplier=1, different_w=True, sft_half=True)
        ours = GFPGANv1()
    expected = {key: value.shape for key, value in published.state_dict().items()}
    assert {key: value.shape for key, value in ours.state_dict().items()} == expected


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_published_size_agrees(monkeypatch):
    theirs = upstream.gfpgan_original(monkeypatch, **PUBLISHED)
    ours = place(networks.build("gfpgan-original", theirs.state_dict(), name="seeded").module, torch.device("cpu"))
    face = torch.rand(1, 3, 512, 512) * 2 - 1
    with exact():
        picture, _ = theirs(face, return_rgb=False, randomize_noise=False)
        assert difference(ours(face.contiguous(memory_format=torch.channels_last)), picture) < TOLERANCE


def test_one_variants_weights_are_another_picture_in_the_other(monkeypatch):
    state = upstream.gfpgan_original(monkeypatch, **SMALL).state_dict()
    face = torch.rand(1, 3, 64, 64) * 2 - 1
    with exact():
        filtered, interpolated = (networks.build(a, state, name="seeded").module(face) for a in THEIRS)
    assert difference(filtered, interpolated) > APART


@pytest.mark.parametrize("architecture", THEIRS)
def test_it_never_draws_noise_and_a_seed_changes_it(monkeypatch, architecture):
    ours = networks.build(architecture, THEIRS[architecture](monkeypatch, **SMALL).state_dict(), name="seeded").module
    face = torch.rand(1, 3, 64, 64) * 2 - 1
    with exact():
        once, again = ours(face), ours(face)
        seeded, repeated, other = (ours(face, noise=seeded_noise(seed, 64)) for seed in (1, 1, 2))
    assert networks.has_noise(architecture)
    assert torch.equal(once, again)
    assert torch.equal(seeded, repeated)
    assert difference(seeded, other) > TOLERANCE
