"""What GFPGAN's training minimises, term by term; scalars, means over the batch.

Sources: Wang et al. 2021 (arXiv 2101.04061), section 3.4; Karras et al. 2020 (arXiv 1912.04958), section 3.2 for the
path length; Mescheder et al. 2018 (arXiv 1801.04406), equation 9 for R1; Gatys et al. 2016 for Gram matrices.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.arch.gray_arcface import FACE_PX, GrayArcFace
from pipeline.arch.vgg import VggFeatures

#: Luma as the identity loss weighs it. Source: the seed project's gfpgan_model.
LUMA = (0.2989, 0.5870, 0.1140)

#: How fast the mean path length follows. Source: StyleGAN2, pl_decay.
PATH_DECAY = 0.01

#: Share of the first (finer) features in the style loss. Source: the seed project's gfpgan_model.
FINER_SHARE = 0.5


def taken_for_real(scores: Tensor) -> Tensor:
    """The logistic loss of scores that ought to be those of real pictures: the generator's aim."""
    return functional.softplus(-scores).mean()


def told_apart(real: Tensor, made: Tensor) -> Tensor:
    """The logistic loss of a discriminator."""
    return functional.softplus(-real).mean() + functional.softplus(made).mean()


def gradient_penalty(scores: Tensor, pictures: Tensor) -> Tensor:
    """R1: the mean square length of the scores' gradient on real pictures, which must ask for theirs."""
    (slope,) = torch.autograd.grad(scores.sum(), pictures, create_graph=True)
    return slope.square().flatten(1).sum(1).mean()


def path_lengths(pictures: Tensor, latents: Tensor, noise: Tensor) -> Tensor:
    """How far each picture (B,) moves for a step of its latents (B, L, style), in a random direction ``noise``."""
    scaled = noise / math.sqrt(pictures.shape[2] * pictures.shape[3])
    (slope,) = torch.autograd.grad((pictures * scaled).sum(), latents, create_graph=True)
    return slope.square().sum(2).mean(1).sqrt()


def gram(features: Tensor) -> Tensor:
    """(B, C, C): how channels (B, C, H, W) occur together, whatever the place."""
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])


def component_style(made: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """The distance of Gram matrices of a component discriminator's two features; the finer ones count half."""
    finer = functional.l1_loss(gram(made[0]), gram(real[0].detach()))
    coarser = functional.l1_loss(gram(made[1]), gram(real[1].detach()))
    return FINER_SHARE * finer + coarser


def pyramid(pictures: Sequence[Tensor], target: Tensor) -> Tensor:
    """The mean differences of pictures, smallest first, from the target at their sizes, added up."""
    total, level = target.new_zeros(()), target
    for picture in reversed(pictures):
        if picture.shape[-1] < level.shape[-1]:
            level = functional.interpolate(level, scale_factor=0.5, mode="bilinear", align_corners=False)
        total = total + functional.l1_loss(picture, level)
    return total


class PerceptualLoss(nn.Module):
    """Distances of VGG-19's features, and of their Gram matrices, of (B, 3, H, W) RGB in [-1, 1]."""

    def __init__(self, tensors: Mapping[str, Tensor], layers: Mapping[str, float]) -> None:
        super().__init__()
        self.layers = dict(layers)
        self.vgg = VggFeatures(tensors, list(layers))

    def forward(self, made: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """(of features, of Gram matrices)."""
        ours = self.vgg((made + 1) / 2)
        with torch.no_grad():
            theirs = self.vgg((target + 1) / 2)
        content, style = made.new_zeros(()), made.new_zeros(())
        for name, weight in self.layers.items():
            content = content + functional.l1_loss(ours[name], theirs[name]) * weight
            style = style + functional.l1_loss(gram(ours[name]), gram(theirs[name])) * weight
        return content, style


class IdentityLoss(nn.Module):
    """The mean difference of what ArcFace says of both faces, (B, 3, H, W) RGB in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.recogniser = GrayArcFace()
        self.recogniser.eval().requires_grad_(requires_grad=False)

    def forward(self, made: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = self.recogniser(gray_face(target))
        return functional.l1_loss(self.recogniser(gray_face(made)), wanted)


def gray_face(faces: Tensor) -> Tensor:
    """(B, 1, 128, 128) as the recogniser sees them."""
    weights = faces.new_tensor(LUMA)[None, :, None, None]
    luma = (faces * weights).sum(1, keepdim=True)
    return functional.interpolate(luma, (FACE_PX, FACE_PX), mode="bilinear", align_corners=False)
