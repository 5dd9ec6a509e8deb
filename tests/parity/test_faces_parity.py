"""facexlib's BiSeNet and ArcFace load strictly and say what they say in facexlib."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.arch import bisenet, networks, parsenet
from pipeline.compat import foreign
from pipeline.device import exact
from pipeline.shelf import Shelf
from pipeline.tensors import to_batch
from pipeline.weights import WeightStore
from tests.parity.test_gfpgan_parity import difference
from tests.parity.upstream import randomise_batch_norm

#: Largest difference allowed, relative to the largest value of the output (never less than 1): the networks are
#: facexlib's own, so only the input's normalisation is summed in another order. Measured 3e-7.
TOLERANCE = 1e-5

#: What BiSeNet's and ParseNet's classes mean, each in its own order.
BISENET_PARTS = [
    "background",
    "skin",
    "l_brow",
    "r_brow",
    "l_eye",
    "r_eye",
    "eye_g",
    "l_ear",
    "r_ear",
    "ear_r",
    "nose",
    "mouth",
    "u_lip",
    "l_lip",
    "neck",
    "neck_l",
    "cloth",
    "hair",
    "hat",
]
PARSENET_PARTS = [
    "background",
    "skin",
    "nose",
    "eye_g",
    "l_eye",
    "r_eye",
    "l_brow",
    "r_brow",
    "l_ear",
    "r_ear",
    "mouth",
    "u_lip",
    "l_lip",
    "hair",
    "hat",
    "ear_r",
    "neck_l",
    "neck",
    "cloth",
]


@pytest.fixture(scope="module")
def their_bisenet():
    with foreign():
        from facexlib.parsing.bisenet import BiSeNet

    torch.manual_seed(7)
    network = BiSeNet(bisenet.CLASSES).eval()
    randomise_batch_norm(network)
    return network


def test_bisenet_s_scores_are_facexlibs_in_parsenets_order(their_bisenet):
    ours = networks.build("bisenet", their_bisenet.state_dict(), name="seeded").module
    face = np.random.default_rng(3).random((64, 96, 3), np.float32)
    # As facexlib prepares pictures for BiSeNet: RGB in [0, 1], less ImageNet's mean, by its deviation.
    prepared = torch.from_numpy(((face - bisenet.MEAN) / bisenet.DEVIATION).astype(np.float32)).permute(2, 0, 1)[None]
    with exact():
        theirs = their_bisenet(prepared)[0]
        mine = ours(to_batch([face], device=torch.device("cpu"), signed=True))
    assert mine.shape == theirs.shape
    for at, part in enumerate(PARSENET_PARTS):
        assert difference(mine[:, at], theirs[:, BISENET_PARTS.index(part)]) < TOLERANCE, part


def test_both_parsers_call_the_same_parts_the_face():
    pasted = {PARSENET_PARTS[i] for i in parsenet.FACE_CLASSES}
    assert pasted == set(PARSENET_PARTS) - {"background", "hat", "neck_l", "neck", "cloth"}
    assert sorted(bisenet.IN_PARSENETS_ORDER) == list(range(bisenet.CLASSES))


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (["parsing_parsenet.pth", "parsing_bisenet.pth"], "parsenet"),
        (["parsing_bisenet.pth"], "bisenet"),
        ([], None),
    ],
    ids=["both", "bisenet only", "none"],
)
def test_bisenet_makes_the_masks_where_parsenet_is_absent(tmp_path, files, chosen):
    from pipeline.options import RestoreOptions

    for file in ["GFPGANv1.4.pth", "detection_Resnet50_Final.pth", *files]:
        (tmp_path / file).touch()
    shelf = Shelf(WeightStore(tmp_path), torch.device("cpu"))
    assert shelf.choose(RestoreOptions(background="none")).parser == chosen


def test_arcface_loads_strictly_and_gives_facexlibs_unit_vectors():
    with foreign():
        from facexlib.recognition.arcface_arch import Backbone

    torch.manual_seed(7)
    theirs = Backbone(num_layers=50, drop_ratio=0.6, mode="ir_se").eval()
    randomise_batch_norm(theirs)
    ours = networks.build("arcface", theirs.state_dict(), name="seeded").module
    faces = torch.rand(2, 3, 112, 112) * 2 - 1
    with exact():
        mine = ours(faces)
        assert difference(mine, theirs(faces)) < TOLERANCE
    assert mine.shape == (2, 512)
    assert torch.allclose(mine.norm(dim=1), torch.ones(2), atol=1e-5)
