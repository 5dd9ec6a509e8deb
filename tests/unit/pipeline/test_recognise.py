"""A file's architecture is told by its keys; a wrong file is refused with what was expected and what it looks like."""

from __future__ import annotations

import pytest
import torch

from pipeline.arch import (
    arcface,
    bisenet,
    gfpgan_clean,
    gfpgan_original,
    networks,
    parsenet,
    preview,
    restoreformer,
    retinaface,
    upsamplers,
)
from pipeline.errors import WeightsCorrupt

#: The two whose files have the same keys.
TWINS = ("gfpgan-original", "gfpgan-bilinear")

SMALL = {"size": 16, "narrow": 0.0625, "style": 8}


@pytest.fixture(scope="module")
def states():
    """A state dict of each architecture, as small as it goes."""
    with torch.device("meta"):
        original = gfpgan_original.GFPGANv1(**SMALL)
        modules = {
            "gfpgan-original": original,
            "gfpgan-bilinear": original,
            "gfpgan-clean": gfpgan_clean.GFPGANv1Clean(**SMALL),
            "restoreformer": restoreformer.RestoreFormer(),
            "bisenet": bisenet.build(),
            "arcface": arcface.build(),
            "preview": preview.PreviewRestorer(),
        }
    modules |= {
        "parsenet": parsenet.build(base_channels=8),
        "retinaface-resnet50": retinaface.build("resnet50"),
        "retinaface-mobilenet0.25": retinaface.build("mobile0.25"),
        "rrdb": upsamplers.build_rrdb(scale=2, features=8, blocks=1, growth=4),
        "srvgg": upsamplers.build_srvgg(scale=2, features=8, convolutions=2),
    }
    return {name: module.state_dict() for name, module in modules.items()}


def test_every_architecture_is_recognised_and_taken_for_no_other(states):
    assert set(states) == set(networks.BUILDERS)
    for name, state in states.items():
        assert networks.recognise(state) == (TWINS if name in TWINS else (name,))


def test_one_that_has_no_network_here_is_recognised_as_well():
    codeformer = dict.fromkeys(["position_emb", "quantize.embedding.weight", "encoder.blocks.0.weight"], torch.zeros(1))
    assert networks.recognise(codeformer) == ("codeformer",)
    assert not networks.can_build("codeformer")


@pytest.mark.parametrize(
    ("expected", "given", "looks_like"),
    [
        ("gfpgan-clean", "gfpgan-original", "gfpgan-original or gfpgan-bilinear"),
        ("gfpgan-original", "gfpgan-clean", "gfpgan-clean"),
        ("restoreformer", "gfpgan-clean", "gfpgan-clean"),
        ("gfpgan-clean", "restoreformer", "restoreformer"),
        ("bisenet", "parsenet", "parsenet"),
        ("parsenet", "bisenet", "bisenet"),
        ("srvgg", "rrdb", "rrdb"),
        ("rrdb", "arcface", "arcface"),
    ],
)
def test_a_wrong_file_is_refused_with_what_was_expected_and_what_it_is(states, expected, given, looks_like):
    with pytest.raises(WeightsCorrupt, match=f"expected the .*tensors of {expected}.*looks like {looks_like}$"):
        networks.build(expected, states[given], name="mine")


def test_an_unknown_file_is_refused_with_its_first_keys():
    with pytest.raises(WeightsCorrupt, match=r"of no architecture that is known here; it starts with a\.b, c$"):
        networks.build("restoreformer", {"a.b": torch.zeros(1), "c": torch.zeros(1)}, name="mine")
