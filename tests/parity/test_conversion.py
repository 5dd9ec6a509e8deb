"""A converted bilinear GFPGAN gives the bilinear one's pictures, in our clean network and in the package's."""

from __future__ import annotations

import pytest
import torch

from pipeline.arch import networks
from pipeline.arch.conversion import bilinear_to_clean
from pipeline.arch.gfpgan_clean import seeded_noise
from pipeline.device import exact
from tests.parity import upstream
from tests.parity.test_gfpgan_parity import difference

#: Largest difference allowed, relative to the largest value of the output (never less than 1): the same sums with
#: factors taken out, rounded to float32 elsewhere. Measured 3e-6.
TOLERANCE = 1e-5

SHAPES = [
    {"size": 64, "narrow": 0.125, "multiplier": 1, "style": 32},
    {"size": 128, "narrow": 0.25, "multiplier": 2, "style": 48},
]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_converted_network_gives_the_same_pictures(monkeypatch, shape):
    theirs = upstream.gfpgan_bilinear(monkeypatch, **shape)
    clean = bilinear_to_clean(theirs.state_dict())
    ours = networks.build("gfpgan-clean", clean, name="converted").module
    bilinear = networks.build("gfpgan-bilinear", theirs.state_dict(), name="seeded").module
    faces = torch.rand(1, 3, shape["size"], shape["size"]) * 2 - 1
    noise = seeded_noise(3, shape["size"])
    with exact():
        picture, rgbs = theirs(faces, return_rgb=True, randomize_noise=False)
        assert difference(ours(faces), picture) < TOLERANCE
        assert difference(ours(faces, noise=noise), bilinear(faces, noise=noise)) < TOLERANCE
        pyramid = ours.pyramid(ours.encode(faces)[1])
    assert all(difference(a, b) < TOLERANCE for a, b in zip(pyramid, rgbs, strict=True))


def test_the_package_s_clean_network_takes_the_converted_tensors(monkeypatch):
    shape = SHAPES[0]
    theirs = upstream.gfpgan_bilinear(monkeypatch, **shape)
    clean = upstream.gfpgan_clean(**shape)
    clean.load_state_dict(bilinear_to_clean(theirs.state_dict()), strict=True)
    codes, face = torch.randn(3, shape["style"]), torch.rand(1, 3, 64, 64) * 2 - 1
    with exact():
        expected, got = (n(face, return_rgb=False, randomize_noise=False)[0] for n in (theirs, clean))
        mapped = [n.stylegan_decoder.style_mlp(codes) for n in (theirs, clean)]
    assert difference(got, expected) < TOLERANCE
    # GFPGAN never runs the mapping network; whoever does finds it converted as well.
    assert difference(mapped[1], mapped[0]) < TOLERANCE
