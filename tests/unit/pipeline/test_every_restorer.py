"""Every restorer that can be named restores through ``Restorer``, and honours or refuses what it is asked."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from pipeline.arch import gfpgan_clean, gfpgan_original, restoreformer
from pipeline.errors import UnsupportedOption
from pipeline.options import RestoreOptions
from pipeline.restorer import Restorer
from pipeline.types import FaceStatus
from pipeline.weights import LOCAL_FILE, WeightStore

NARROW = {"narrow": 0.0625, "multiplier": 1, "style": 8}

#: Name, architecture, a network as small as it goes at 512 px, and whether it adds noise.
RESTORERS = {
    "gfpgan-1": ("gfpgan-original", lambda: gfpgan_original.GFPGANv1(512, **NARROW), True),
    "mine": ("gfpgan-bilinear", lambda: gfpgan_original.GFPGANv1(512, **NARROW, resampling="bilinear"), True),
    "gfpgan-1.4": ("gfpgan-clean", lambda: gfpgan_clean.GFPGANv1Clean(512, **NARROW), True),
    "restoreformer": (
        "restoreformer",
        lambda: restoreformer.RestoreFormer(
            restoreformer.Shape(widths=(32,) * 6, first=32, blocks=1, latent=8, code=8, codes=16)
        ),
        False,
    ),
}


def calmed(module):
    """Seeded, with noise that shows and outputs about the gray of the input: a plausible restoration of it."""
    torch.manual_seed(11)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.shape == (1,):
                parameter.fill_(0.3)
            elif "to_rgb" in name and name.endswith("modulated_conv.weight"):
                parameter.mul_(0.05)
            elif name == "decoder.conv_out.weight":
                parameter.mul_(0.3)
    return module


@pytest.fixture(scope="module", params=RESTORERS)
def model(request, tmp_path_factory):
    """A restorer's name, whether it has noise, and a ``Restorer`` whose folder has its weights."""
    folder = tmp_path_factory.mktemp("weights")
    architecture, build, has_noise = RESTORERS[request.param]
    torch.save({"params_ema": calmed(build()).state_dict()}, folder / "mine.pth")
    digest = hashlib.sha256((folder / "mine.pth").read_bytes()).hexdigest()
    (folder / LOCAL_FILE).write_text(
        f'[[local]]\nname = "{request.param}"\nkind = "restorer"\nfile = "mine.pth"\nsha256 = "{digest}"\n'
        f'architecture = "{architecture}"\nlabel = "seeded"\n'
    )
    return request.param, has_noise, Restorer.load(WeightStore(folder), device="cpu")


@pytest.fixture(scope="module")
def face():
    rng = np.random.default_rng(2)
    return (0.5 + 0.1 * rng.standard_normal((512, 512, 3))).clip(0, 1).astype(np.float32)


def restored(model, face, **options):
    name, _, restorer = model
    words = {"model": name, "aligned": True, "scale": 1, "background": "none", "gray": "allow-color"}
    result = restorer(face, RestoreOptions(**(words | options)))
    status = FaceStatus.SKIPPED if options.get("strength") == 0 else FaceStatus.RESTORED
    assert [one.status for one in result.faces] == [status], result.faces
    assert result.model["name"] == name
    return result.image


def test_it_restores_and_strength_goes_from_the_input_to_the_network(model, face):
    full, half, none = (restored(model, face, strength=strength) for strength in (1, 0.5, 0))
    assert np.array_equal(none, face)
    assert np.abs(full - face).mean() > 0.01
    assert np.abs(half - (full + face) / 2).max() < 1 / 255


def test_a_seed_is_honoured_or_refused(model, face):
    name, has_noise, restorer = model
    if not has_noise:
        with pytest.raises(UnsupportedOption, match=f"seed cannot be honoured by {name}"):
            restorer.require(RestoreOptions(model=name, aligned=True, background="none", seed=1))
        return
    once, again, other = (restored(model, face, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)
