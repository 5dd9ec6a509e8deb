"""Every engine makes of every network what torch makes of it in float32, and nearly so in bfloat16."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from pipeline.arch import gfpgan_clean, gfpgan_original, networks, parsenet, restoreformer, upsamplers
from pipeline.engines.choice import every
from pipeline.engines.eager import Eager
from pipeline.engines.vino import OpenVino
from pipeline.precision import Precision
from tests.parity.upstream import randomise_batch_norm

# The first export in a process loads what OpenVINO and torchvision are made of.
pytestmark = pytest.mark.timeout(180)

CPU = torch.device("cpu")

#: Largest difference allowed, relative to the largest value: float32 sums in another order. Measured 4e-6 at most.
TOLERANCE = 1e-4

#: The root of the mean square of what bfloat16 changes, relative to that of the values. Measured 0.02 at most.
REDUCED = 0.08

SIDE_PX = 64
SMALL = {"narrow": 0.25, "multiplier": 1, "style": 32}
FORMER = restoreformer.Shape(widths=(32, 32, 32), first=32, blocks=1, latent=8, code=8, codes=16)

#: By architecture, networks as small as they go.
NETWORKS = {
    "gfpgan-clean": lambda: gfpgan_clean.GFPGANv1Clean(SIDE_PX, **SMALL),
    "gfpgan-original": lambda: gfpgan_original.GFPGANv1(SIDE_PX, **SMALL),
    "restoreformer": lambda: restoreformer.RestoreFormer(FORMER),
    "parsenet": lambda: parsenet.build(base_channels=32),
    "rrdb": lambda: upsamplers.build_rrdb(scale=2, features=16, blocks=1, growth=8),
    "srvgg": lambda: upsamplers.build_srvgg(scale=4, features=16, convolutions=2),
}


@pytest.fixture(scope="module")
def given():
    """A network, two pictures, and what torch makes of them in float32."""
    known = {}

    def give(architecture):
        if architecture not in known:
            torch.manual_seed(5)
            module = NETWORKS[architecture]()
            randomise_batch_norm(module)
            network = networks.build(architecture, module.state_dict(), name="seeded")
            network = dataclasses.replace(network, identity="e" * 64, input_px=SIDE_PX)
            pictures = torch.rand(2, 3, SIDE_PX, SIDE_PX)
            known[architecture] = network, pictures, Eager(CPU).load(network, Precision.FLOAT32)(pictures)
        return known[architecture]

    return give


@pytest.mark.parametrize("engine", [engine.name for engine in every(CPU, None)])
@pytest.mark.parametrize("architecture", NETWORKS)
def test_an_engine_makes_what_torch_makes(architecture, engine, given):
    found = {one.name: one for one in every(CPU, None)}[engine]
    reason = found.missing()
    if reason:
        pytest.skip(f"{engine}: {reason}")
    network, pictures, expected = given(architecture)
    assert expected.std() > 0
    plain = found.load(network, Precision.FLOAT32)(pictures)
    assert (plain - expected).abs().max() < TOLERANCE * max(1.0, float(expected.abs().max()))
    if architecture != "restoreformer":  # it picks the nearest of its codes: a little error picks another
        reduced = found.load(network, Precision.BFLOAT16)(pictures).float()
        assert (reduced - expected).square().mean().sqrt() < REDUCED * expected.square().mean().sqrt()


@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.BFLOAT16])
@pytest.mark.parametrize("architecture", NETWORKS)
def test_what_openvino_compiled_of_a_network_is_read_by_the_next_process(
    architecture, precision, given, tmp_path, monkeypatch
):
    first = OpenVino(CPU, cache=tmp_path)
    if reason := first.missing():
        pytest.skip(reason)
    network, pictures, _ = given(architecture)
    expected = first.load(network, precision)(pictures)
    monkeypatch.setattr(OpenVino, "_compile", lambda *_: pytest.fail("it was compiled again"))
    assert torch.equal(OpenVino(CPU, cache=tmp_path).load(network, precision)(pictures), expected)
