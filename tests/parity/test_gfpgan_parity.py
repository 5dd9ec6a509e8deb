"""With the same weights our clean GFPGAN is the ``gfpgan`` package's, output by output."""

from __future__ import annotations

import pytest
import torch

from pipeline.arch import networks
from pipeline.arch.gfpgan_clean import seeded_noise
from pipeline.device import exact, place
from tests.parity.upstream import gfpgan_clean

#: Largest difference allowed, relative to the largest value of the output (never less than 1): float32 sums in another
#: order. Measured 3e-6 at every size.
TOLERANCE = 1e-5

SMALL = {"size": 64, "narrow": 0.25, "multiplier": 2, "style": 64}
NARROW = {"size": 256, "narrow": 0.125, "multiplier": 1, "style": 128}
PUBLISHED = {"size": 512, "narrow": 1, "multiplier": 2, "style": 512}


def difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).abs().max() / max(1.0, float(theirs.abs().max())))


@pytest.mark.parametrize(("shape", "batch"), [(SMALL, 3), (NARROW, 2)])
def test_picture_and_pyramid_agree(shape, batch):
    theirs = gfpgan_clean(**shape)
    ours = networks.build("gfpgan-clean", theirs.state_dict(), name="seeded").module
    faces = torch.rand(batch, 3, shape["size"], shape["size"]) * 2 - 1
    with exact():
        picture, rgbs = theirs(faces, return_rgb=True, randomize_noise=False)
        mine = ours(faces)
        pyramid = ours.pyramid(ours.encode(faces)[1])
    assert difference(mine, picture) < TOLERANCE
    assert len(pyramid) == len(rgbs)
    assert all(difference(a, b) < TOLERANCE for a, b in zip(pyramid, rgbs, strict=True))


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_published_size_agrees_and_has_the_published_parameters():
    theirs = gfpgan_clean(**PUBLISHED)
    ours = place(networks.build("gfpgan-clean", theirs.state_dict(), name="seeded").module, torch.device("cpu"))
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    face = torch.rand(1, 3, 512, 512) * 2 - 1
    with exact():
        picture, _ = theirs(face, return_rgb=False, randomize_noise=False)
        assert difference(ours(face.contiguous(memory_format=torch.channels_last)), picture) < TOLERANCE


def test_it_never_draws_noise_and_a_seed_changes_it():
    ours = networks.build("gfpgan-clean", gfpgan_clean(**SMALL).state_dict(), name="seeded").module
    faces = torch.rand(2, 3, 64, 64) * 2 - 1
    with exact():
        once, again = ours(faces), ours(faces)
        seeded, reseeded = (ours(faces, noise=seeded_noise(s, 64)) for s in (1, 2))
        alone = ours(faces[1:], noise=seeded_noise(1, 64))
    assert torch.equal(once, again)
    assert not torch.allclose(seeded, reseeded, atol=1e-4)
    # A face's result does not depend on its neighbours in the batch.
    assert difference(alone, seeded[1:]) < TOLERANCE


def test_upstream_draws_noise():
    """Why ours stores it: the same weights and input give the package another picture each time."""
    theirs = gfpgan_clean(**SMALL)
    face = torch.rand(1, 3, 64, 64) * 2 - 1
    with exact():
        assert not torch.allclose(theirs(face, return_rgb=False)[0], theirs(face, return_rgb=False)[0], atol=1e-4)
