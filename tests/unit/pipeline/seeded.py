"""Networks of every restorer's architecture, small and seeded, whose results look plausible."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from pipeline.arch import gfpgan_clean, gfpgan_original, restoreformer
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


def store(folder: Path, name: str) -> WeightStore:
    """A weights folder that has this restorer, and beside it what photomend ships."""
    architecture, build, _ = RESTORERS[name]
    torch.save({"params_ema": calmed(build()).state_dict()}, folder / "mine.pth")
    digest = hashlib.sha256((folder / "mine.pth").read_bytes()).hexdigest()
    (folder / LOCAL_FILE).write_text(
        f'[[local]]\nname = "{name}"\nkind = "restorer"\nfile = "mine.pth"\nsha256 = "{digest}"\n'
        f'architecture = "{architecture}"\nlabel = "seeded"\n'
    )
    return WeightStore(folder, allow_preview=True)
