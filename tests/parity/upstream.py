"""The upstream packages as the parity tests need them: seeded, without downloads."""

from __future__ import annotations

import torch
from torch import nn

from pipeline.compat import foreign

#: How strong the noise of a seeded GFPGAN is; upstream starts at zero, where a wrong noise map would not show.
NOISE_STRENGTH = 0.1


def gfpgan_clean(size: int, *, narrow: float, multiplier: int, style: int) -> nn.Module:
    """The ``gfpgan`` package's clean network with seeded weights, noise and biases included."""
    with foreign():
        from gfpgan.archs.gfpganv1_clean_arch import GFPGANv1Clean

    torch.manual_seed(7)
    network = GFPGANv1Clean(
        size,
        num_style_feat=style,
        channel_multiplier=multiplier,
        narrow=narrow,
        fix_decoder=False,
        num_mlp=8,
        input_is_latent=True,
        different_w=True,
        sft_half=True,
    ).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.shape == (1,):
                parameter.normal_(0, NOISE_STRENGTH)
            elif name.endswith("bias"):
                parameter.add_(torch.randn_like(parameter) * 0.05)
    return network


def randomise_batch_norm(network: nn.Module) -> None:
    """Statistics that are not those of an untrained network, so that they must be loaded to agree."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)


def face_helper(monkeypatch, *, detector: nn.Module | None, parser: nn.Module | None, scale: int):
    """facexlib's FaceRestoreHelper with given networks instead of downloaded ones."""
    with foreign():
        from facexlib.utils import face_restoration_helper as upstream

    monkeypatch.setattr(upstream, "init_detection_model", lambda *_, **__: detector)
    monkeypatch.setattr(upstream, "init_parsing_model", lambda *_, **__: parser)
    return upstream.FaceRestoreHelper(
        scale, face_size=512, crop_ratio=(1, 1), use_parse=parser is not None, device=torch.device("cpu")
    )
