"""With the same weights our RestoreFormer is the ``gfpgan`` package's, stage by stage."""

from __future__ import annotations

import pytest
import torch

from pipeline.arch import networks
from pipeline.arch.restoreformer import RestoreFormer
from pipeline.compat import foreign
from pipeline.device import exact, place
from tests.parity import upstream
from tests.parity.test_gfpgan_parity import difference

#: Largest differences allowed, relative to the largest value of the output (never less than 1). In float64 the two
#: are equal but for rounding (measured 2e-14): the formulas are the same. In float32 every stage up to the codes stays
#: within 1e-5; the picture after the decoder within 3e-5 (measured 1.6e-5), since the package's own float32 picture is
#: 1.3e-5 away from its float64 one: with seeded weights the normalisations amplify rounding.
EXACT = 1e-12
STAGE = 1e-5
PICTURE = 3e-5

SHAPES = [
    {"size": 32, "width": 32, "multiples": (1, 2, 2), "codes": 48},
    {"size": 64, "width": 32, "multiples": (1, 1, 2, 4), "codes": 100},
]


@pytest.fixture(params=SHAPES, ids=["three levels", "four levels"])
def pair(request):
    theirs = upstream.restoreformer(**request.param)
    ours = networks.build("restoreformer", theirs.state_dict(), name="seeded").module
    faces = torch.rand(2, 3, request.param["size"], request.param["size"]) * 2 - 1
    return place(ours, torch.device("cpu")), theirs, faces


def test_the_picture_agrees(pair):
    ours, theirs, faces = pair
    with exact():
        assert difference(ours(faces), theirs(faces)[0]) < PICTURE
        ours, theirs, faces = ours.double(), theirs.double(), faces.double()
        assert difference(ours(faces), theirs(faces)[0]) < EXACT


def test_every_stage_agrees(pair):
    ours, theirs, faces = pair
    with exact():
        codes, _, (_, _, chosen, _), kept = theirs.encode(faces)
        features, asks_level, asks_middle = ours.encoder(faces)
        mine = ours.quantize(ours.quant_conv(features))
    last = len(theirs.encoder.down) - 1
    assert difference(features, kept["out"]) < STAGE
    assert difference(asks_level, kept[f"block_{last}_atten"]) < STAGE
    assert difference(asks_middle, kept["mid_atten"]) < STAGE
    assert difference(mine, codes) < STAGE
    # The comparison of codes means something: more than a few are in use.
    assert len(chosen.unique()) > 5


def test_the_degraded_face_asks(pair):
    """Attention in the decoder looks at the input; without that the picture is another one."""
    ours, _, faces = pair
    with exact():
        features, asks_level, asks_middle = ours.encoder(faces)
        codes = ours.post_quant_conv(ours.quantize(ours.quant_conv(features)))
        asked = ours.decoder(codes, asks_level, asks_middle)
        unasked = ours.decoder(codes, asks_level.flip(0), asks_middle.flip(0))
    assert difference(asked, unasked) > 10 * PICTURE


def test_the_published_file_has_these_tensors():
    """Keys and shapes at the published size and widths, without allocating them."""
    with foreign():
        from gfpgan.archs.restoreformer_arch import RestoreFormer as Upstream
    with torch.device("meta"):
        published, ours = Upstream(), RestoreFormer()
    expected = {key: value.shape for key, value in published.state_dict().items()}
    assert {key: value.shape for key, value in ours.state_dict().items()} == expected


@pytest.mark.slow
def test_the_published_widths_agree():
    """At a quarter of the published size; at 512 px white noise drives both 1e-4 apart in float32."""
    theirs = upstream.restoreformer(size=128, width=64, multiples=(1, 2, 2, 4, 4, 8), codes=1024, latent=256, code=256)
    ours = networks.build("restoreformer", theirs.state_dict(), name="seeded").module
    face = torch.rand(1, 3, 128, 128) * 2 - 1
    with exact():
        assert difference(ours(face), theirs(face)[0]) < PICTURE


def test_a_face_does_not_depend_on_its_neighbours_and_nothing_is_drawn(pair):
    ours, _, faces = pair
    with exact():
        both, again, alone = ours(faces), ours(faces), ours(faces[1:])
    assert torch.equal(both, again)
    assert difference(alone, both[1:]) < PICTURE
    assert not networks.has_noise("restoreformer")
