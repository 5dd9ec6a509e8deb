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

    return seeded(GFPGANv1Clean, size, narrow=narrow, multiplier=multiplier, style=style)


def gfpgan_original(monkeypatch, size: int, *, narrow: float, multiplier: int, style: int) -> nn.Module:
    """The ``gfpgan`` package's network of the paper, seeded, without its CUDA operators."""
    with foreign():
        from gfpgan.archs.gfpganv1_arch import GFPGANv1

    plain_fused_activation(monkeypatch)
    return seeded(GFPGANv1, size, narrow=narrow, multiplier=multiplier, style=style)


def gfpgan_bilinear(monkeypatch, size: int, *, narrow: float, multiplier: int, style: int) -> nn.Module:
    """The ``gfpgan`` package's bilinear network, seeded, without its CUDA operator."""
    with foreign():
        from gfpgan.archs.gfpgan_bilinear_arch import GFPGANBilinear

    plain_fused_activation(monkeypatch)
    return seeded(GFPGANBilinear, size, narrow=narrow, multiplier=multiplier, style=style)


def restoreformer(
    *, size: int, width: int, multiples: tuple[int, ...], codes: int, latent: int = 64, code: int = 32
) -> nn.Module:
    """The ``gfpgan`` package's RestoreFormer, seeded, with attention at its smallest size as published."""
    with foreign():
        from gfpgan.archs.restoreformer_arch import RestoreFormer

    torch.manual_seed(7)
    network = RestoreFormer(
        n_embed=codes,
        embed_dim=code,
        ch=width,
        ch_mult=multiples,
        attn_resolutions=(size // 2 ** (len(multiples) - 1),),
        resolution=size,
        z_channels=latent,
    ).eval()
    with torch.no_grad():
        # Upstream's codes start near zero, all nearly the same; and its normalisations do nothing.
        network.quantize.embedding.weight.normal_(0, 0.3)
        for name, parameter in network.named_parameters():
            if "norm" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return network


def plain_fused_activation(monkeypatch) -> None:
    """Plain torch in place of basicsr's compiled ``fused_bias_act`` (bias, LeakyReLU, gain); its other compiled
    operator, ``upfirdn2d``, has a CPU path of basicsr's own."""
    with foreign():
        from basicsr.ops.fused_act import fused_act

    class Compiled:
        @staticmethod
        def fused_bias_act(x, bias, *rest):
            _reference, act, grad, slope, gain = rest
            assert (act, grad) == (3, 0), "LeakyReLU, forward"
            x = x + bias.view(1, -1, *[1] * (x.ndim - 2))
            return torch.where(x > 0, x, x * slope) * gain

    monkeypatch.setattr(fused_act, "fused_act_ext", Compiled, raising=False)


def seeded(architecture, size: int, *, narrow: float, multiplier: int, style: int) -> nn.Module:
    """A network of one of the package's GFPGAN architectures as published, but for its size and widths."""
    torch.manual_seed(7)
    network = architecture(
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
