"""The networks that the options ask for, with random weights by the seed or with those of the files that they name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.arch import networks
from pipeline.arch.discriminators import ComponentDiscriminator, StyleGAN2Discriminator
from pipeline.arch.gfpgan_clean import GFPGANv1Clean
from pipeline.arch.gfpgan_original import GFPGANv1
from pipeline.errors import WeightsCorrupt
from pipeline.training.errors import WrongOptions
from pipeline.training.gan import options
from pipeline.weights import StateDict, read_checkpoint_file, unwrap

GFPGANNetwork = GFPGANv1 | GFPGANv1Clean


class Mender(nn.Module):
    """A GFPGAN as training sees it: the restored faces, and the U-Net's own pictures, smallest first."""

    def __init__(self, network: GFPGANNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, faces: Tensor, noise: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        latent, features = self.network.encode(faces)
        return self.network.decode(latent, features, noise=noise), self.network.pyramid(features)


def restorer(wanted: options.Generator, *, size: int) -> GFPGANNetwork:
    """The GFPGAN: random, with a prior, or gone on from a file, whose widths then count and not the options'.

    Raises:
        WeightsMissing, WeightsCorrupt: a named file is not there, or does not fit.
        WrongOptions: the file is for faces of another size.
    """
    if wanted.start is not None:
        built = networks.build(wanted.architecture, tensors(wanted.start), name=wanted.start.name).module
        network = built.train().requires_grad_()
        if network.size != size:
            raise WrongOptions(f"{wanted.start.name} restores faces of {network.size} px; data.size is {size}")
    else:
        network = _random(wanted, size)
        if wanted.prior is not None:
            fit(network.stylegan_decoder, tensors(wanted.prior), wanted.prior.name)
    trained: GFPGANNetwork = network  # type: ignore[assignment]
    # What leads no picture here gets no gradient, which processes that share theirs would wait for.
    trained.stylegan_decoder.style_mlp.requires_grad_(requires_grad=False)
    decoder_learns = wanted.train_prior or (wanted.prior is None and wanted.start is None)
    if not decoder_learns:
        trained.stylegan_decoder.requires_grad_(requires_grad=False)
    return trained


def _random(wanted: options.Generator, size: int) -> GFPGANNetwork:
    shape: dict[str, Any] = {"style": wanted.style, "narrow": wanted.narrow, "multiplier": wanted.multiplier}
    if wanted.architecture == "gfpgan-clean":
        return GFPGANv1Clean(size, **shape)
    return GFPGANv1(size, **shape, resampling="fir" if wanted.architecture == "gfpgan-original" else "bilinear")


def discriminator(wanted: options.Discriminator, *, size: int) -> StyleGAN2Discriminator:
    """The discriminator of whole faces.

    Raises:
        WeightsMissing, WeightsCorrupt: a named file is not there, or does not fit.
    """
    network = StyleGAN2Discriminator(size, narrow=wanted.narrow, multiplier=wanted.multiplier, group=wanted.group)
    if wanted.start is not None:
        fit(network, tensors(wanted.start), wanted.start.name)
    return network


def component_discriminator(start: Path | None) -> ComponentDiscriminator:
    """The discriminator of an eye or of mouths.

    Raises:
        WeightsMissing, WeightsCorrupt: a named file is not there, or does not fit.
    """
    network = ComponentDiscriminator()
    if start is not None:
        fit(network, tensors(start), start.name)
    return network


def tensors(path: Path) -> StateDict:
    """The state dict in a checkpoint, the averaged one where there are two.

    Raises:
        WeightsMissing, WeightsCorrupt: not there, or not a file of tensors.
    """
    return unwrap(read_checkpoint_file(path), path.name)


def fit(network: nn.Module, state: StateDict, name: str) -> None:
    """Load strictly.

    Raises:
        WeightsCorrupt: keys or shapes differ.
    """
    # BatchNorm's step counter came with torch 0.4.1, and nothing reads it.
    counters = {k: torch.zeros_like(v) for k, v in network.state_dict().items() if k.endswith("num_batches_tracked")}
    try:
        network.load_state_dict(counters | state)
    except RuntimeError as err:
        raise WeightsCorrupt(f"{name} does not fit: {err}") from err
