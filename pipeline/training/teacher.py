"""A detector that is learnt from: its features on a picture before that picture grew old.

Source: Romero et al., FitNets: Hints for Thin Deep Nets (arXiv 1412.6550). Here both networks have the same layers, and
what the student should not learn, its teacher's mistakes, is kept from it by the labels, which alone teach the answers.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.arch.retinaface import build
from pipeline.training.losses import channels_last

#: The maps that are compared: the pyramid's three levels, and what the heads see of them.
CONTEXTS = ("ssh1", "ssh2", "ssh3")


class Features:
    """What a RetinaFace (``pipeline.arch.retinaface.build``) had on its way to its last answer."""

    def __init__(self, network: nn.Module) -> None:
        self._seen: dict[str, Tensor] = {}
        for name in CONTEXTS:
            getattr(network, name).register_forward_hook(self._keep(name))

    def _keep(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(_module: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
            self._seen[f"{name} in"], self._seen[name] = given[0], made

        return hook

    def take(self) -> list[Tensor]:
        """(N, 64, H, W) maps in a fixed order, once per forward pass."""
        found = [self._seen[f"{name}{part}"] for name in CONTEXTS for part in (" in", "")]
        self._seen.clear()
        return found


class Teacher(nn.Module):
    """A frozen RetinaFace and its features."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._network = network.eval().requires_grad_(requires_grad=False)
        self._features = Features(self._network)

    def features(self, pictures: Tensor) -> list[Tensor]:
        """Of (N, 3, H, W) pictures as the network takes them."""
        with torch.no_grad():
            self._network(pictures)
        return self._features.take()


def load_teacher(tensors: dict[str, Tensor]) -> Teacher:
    """A RetinaFace ``mobile0.25`` with these weights, which may carry ``module.`` before their names."""
    network = build("mobile0.25")
    network.load_state_dict({name.removeprefix("module."): value for name, value in tensors.items()})
    return Teacher(channels_last(network))


def features_missed(found: list[Tensor], wanted: list[Tensor]) -> Tensor:
    """Mean over the maps of the squared difference as a share of the wanted map's mean square; 0 = the same."""
    shares = [functional.mse_loss(f, w) / w.square().mean().clamp_min(1e-6) for f, w in zip(found, wanted, strict=True)]
    return torch.stack(shares).mean()
