"""A judge of texture for small budgets: layers of our own on VGG's features, which are not trained.

Source: Sauer et al., Projected GANs Converge Faster (arXiv 2111.01007): a discriminator on a trained network's features
needs a small part of the steps that one on pixels needs. Spectral normalisation: Miyato et al. (arXiv 1802.05957);
loss: the logistic one of Goodfellow et al. (arXiv 1406.2661), non-saturating for the restorer, as GFPGAN's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

#: Channels of the compared VGG features (conv1_1, conv2_1, conv3_1), and those that the critic works with.
FEATURES, WIDTH = (64, 128, 256), 48


class Critic(nn.Module):
    """Scores of small patches at three depths; higher = more like a photograph that nothing was done to."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(_head(channels) for channels in FEATURES)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [head(f) for head, f in zip(self.heads, features, strict=True)]


def _head(channels: int) -> nn.Sequential:
    return nn.Sequential(
        spectral_norm(nn.Conv2d(channels, WIDTH, 1)),
        nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(WIDTH, WIDTH, 3, stride=2, padding=1)),
        nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(WIDTH, 1, 3, padding=1)),
    )


def critic_loss(critic: Critic, real: list[Tensor], made: list[Tensor]) -> Tensor:
    """What the critic learns from: both kinds told apart. Changes nothing in what made ``made``."""
    taken = [f.detach() for f in made]
    scores = zip(critic(real), critic(taken), strict=True)
    return torch.stack([functional.softplus(-r).mean() + functional.softplus(m).mean() for r, m in scores]).mean()


def deceived_loss(critic: Critic, made: list[Tensor]) -> Tensor:
    """What the restorer learns from: ``made`` taken for a photograph. Leaves no gradient in the critic."""
    critic.requires_grad_(False)
    loss = torch.stack([functional.softplus(-m).mean() for m in critic(made)]).mean()
    critic.requires_grad_(True)
    return loss
