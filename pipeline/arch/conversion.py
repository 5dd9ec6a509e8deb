"""A bilinear GFPGAN's tensors as those of a clean one that gives the same pictures.

The two networks compute the same sums: what the bilinear one does at every use (scaling parameters by fan-in, the
activations' gain of sqrt(2), halving a residual sum's variance) is here done once to the parameters. LeakyReLU lets a
positive factor through, which is why the gain can go to weights, noise strength and bias before it.

Fact taken from: the state-dict keys of https://github.com/TencentARC/GFPGAN (Apache-2.0), whose released clean files
came from such a conversion.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from pipeline.arch.gfpgan_clean import GAIN
from pipeline.arch.gfpgan_original import MAPPING_RATE

State = Mapping[str, Tensor]


def bilinear_to_clean(state: State) -> dict[str, Tensor]:
    """The clean network's state dict, float32, for a strictly fitting bilinear one's.

    Raises:
        KeyError: a tensor of the bilinear network is missing.
    """
    clean: dict[str, Tensor] = {}
    levels = len({key.split(".")[1] for key in state if key.startswith("condition_scale.")})
    for name in ("conv_body_first", "final_conv"):
        clean |= _layer(name, state[f"{name}.0.weight"], state[f"{name}.1.bias"], gain=GAIN)
    clean |= _layer("final_linear", state["final_linear.weight"], state["final_linear.bias"])
    for i in range(levels):
        clean |= _unet_level(state, i)
    clean |= _decoder(state, "stylegan_decoder", levels)
    return {key: value.float().contiguous() for key, value in clean.items()}


def _unet_level(state: State, i: int) -> dict[str, Tensor]:
    down, up = f"conv_body_down.{i}", f"conv_body_up.{i}"
    # (leaky(...) * sqrt(2) + skip) / sqrt(2): the second convolution's gain cancels, the shortcut's weight shrinks.
    level = (
        _layer(f"{down}.conv1", state[f"{down}.conv1.0.weight"], state[f"{down}.conv1.1.bias"], gain=GAIN)
        | _layer(f"{down}.conv2", state[f"{down}.conv2.1.weight"], state[f"{down}.conv2.2.bias"])
        | {f"{down}.skip.weight": _fanned(state[f"{down}.skip.1.weight"]) / GAIN}
        | _layer(f"{up}.conv1", state[f"{up}.conv1.0.weight"], state[f"{up}.conv1.1.bias"], gain=GAIN)
        | _layer(f"{up}.conv2", state[f"{up}.conv2.weight"], state[f"{up}.conv2.activation.bias"])
        | {f"{up}.skip.weight": _fanned(state[f"{up}.skip.weight"]) / GAIN}
        | _layer(f"toRGB.{i}", state[f"toRGB.{i}.weight"], state[f"toRGB.{i}.bias"])
    )
    for name in (f"condition_scale.{i}", f"condition_shift.{i}"):
        level |= _layer(f"{name}.0", state[f"{name}.0.weight"], state[f"{name}.0.bias"], gain=GAIN)
        level |= _layer(f"{name}.2", state[f"{name}.2.weight"], state[f"{name}.2.bias"])
    return level


def _decoder(state: State, name: str, levels: int) -> dict[str, Tensor]:
    decoder = {key: value for key, value in state.items() if key.startswith((f"{name}.noises.", f"{name}.constant_"))}
    mapping = len([key for key in state if key.startswith(f"{name}.style_mlp.") and key.endswith(".weight")])
    for i in range(1, mapping + 1):
        weight, bias = state[f"{name}.style_mlp.{i}.weight"], state[f"{name}.style_mlp.{i}.bias"]
        # The clean network's activations are layers of their own, so that its linear layers stand at odd places.
        decoder |= _layer(f"{name}.style_mlp.{2 * i - 1}", weight, bias, gain=GAIN * MAPPING_RATE)
    for conv in (f"{name}.style_conv1", *(f"{name}.style_convs.{i}" for i in range(2 * levels))):
        decoder |= _modulated(state, f"{conv}.modulated_conv")
        decoder[f"{conv}.weight"] = state[f"{conv}.weight"].double() * GAIN
        decoder[f"{conv}.bias"] = state[f"{conv}.activate.bias"].double()[None, :, None, None] * GAIN
    for to_rgb in (f"{name}.to_rgb1", *(f"{name}.to_rgbs.{i}" for i in range(levels))):
        decoder |= _modulated(state, f"{to_rgb}.modulated_conv")
        decoder[f"{to_rgb}.bias"] = state[f"{to_rgb}.bias"]
    return decoder


def _modulated(state: State, name: str) -> dict[str, Tensor]:
    weight = {f"{name}.weight": _fanned(state[f"{name}.weight"])}
    return weight | _layer(f"{name}.modulation", state[f"{name}.modulation.weight"], state[f"{name}.modulation.bias"])


def _layer(name: str, weight: Tensor, bias: Tensor, *, gain: float = 1) -> dict[str, Tensor]:
    return {f"{name}.weight": _fanned(weight) * gain, f"{name}.bias": bias.double() * gain}


def _fanned(weight: Tensor) -> Tensor:
    """The weight (…, c_out, c_in[, k, k]) divided by the root of its fan-in, in float64, to be rounded once."""
    kernel = weight[0] if weight.ndim == 5 else weight
    return weight.double() / math.sqrt(kernel[0].numel())
