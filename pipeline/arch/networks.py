"""From a state dict to a network that it fits exactly.

Sizes and widths that vary within an architecture are read from the tensors' shapes, so that a narrow network of
one's own training loads as the published one does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pipeline.arch import (
    arcface,
    bisenet,
    gfpgan_clean,
    gfpgan_original,
    parsenet,
    preview,
    restoreformer,
    retinaface,
    upsamplers,
)
from pipeline.errors import WeightsCorrupt
from pipeline.geometry import CROP_PX

State = Mapping[str, Tensor]

#: Names shown when keys do not fit.
SHOWN_KEYS = 3


class Runs(Protocol):
    """A network on its device, in one engine and precision."""

    def __call__(self, batch: Tensor, **more: Any) -> Tensor:
        """What it makes of (B, 3, H, W) float32; ``more`` is what its module takes besides. Device work."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Network:
    """A network in eval mode on the CPU, and what its users must know about it."""

    module: nn.Module
    architecture: str
    signed: bool = True  #: values in and out are in [-1, 1], else [0, 1]; restorers and parsers only
    has_noise: bool = False  #: takes noise maps, so that a seed means something
    scale: int = 1  #: output size / input size
    receptive_px: int = 0  #: how far, in input pixels, an output pixel sees; upsamplers only
    multiple_px: int = 1  #: input sides must be multiples of this; upsamplers only
    takes_any_size: bool = False  #: else aligned faces of ``input_px``
    sizes_vary: bool = False  #: each picture gives it a size of its own, so that preparing for one does not pay
    input_px: int = CROP_PX  #: side of the aligned faces that it is given
    identity: str | None = None  #: of the weights, by the hashes of their files; None = they are from no file
    runs: dict[Any, Runs] = field(default_factory=dict, repr=False)  #: ready to run, by engine and precision


def build(architecture: str, state: State, *, name: str) -> Network:
    """The network of this architecture with these tensors, strictly.

    Raises:
        WeightsCorrupt: the tensors are not this architecture's; the message says what was expected.
    """
    builder = BUILDERS.get(architecture)
    if builder is None:
        raise WeightsCorrupt(f"{name}: no network of architecture {architecture!r}; known: {', '.join(BUILDERS)}")
    try:
        network = _built(architecture, builder, state)
    except (KeyError, IndexError, ValueError) as err:
        raise WeightsCorrupt(
            f"{name}: expected the tensors of {architecture}, but found no fit for {err}; {_likeness(state)}"
        ) from err
    _load(network.module, state, architecture=architecture, name=name)
    make_lean = LEAN.get(architecture)
    return network if make_lean is None else replace(network, module=make_lean(network.module))


def _built(architecture: str, builder: Callable[[State], Network], state: State) -> Network:
    """The network without values, so that none are drawn that are overwritten at once; they come from ``state``.

    An architecture that computes something of its own when it is made, which no file has, is made with values.
    """
    if architecture in MADE_WITH_VALUES:
        return builder(state)
    with torch.device("meta"):
        network = builder(state)
    named = {*network.module.state_dict()}
    tensors = {**dict(network.module.named_parameters()), **dict(network.module.named_buffers())}
    return network if named >= tensors.keys() else builder(state)


def can_build(architecture: str) -> bool:
    """Whether there is a network for this architecture here."""
    return architecture in BUILDERS


def recognise(state: State) -> tuple[str, ...]:
    """The architectures that a file of these keys may be of; empty = none that is known.

    More than one only where they have the same keys (the original and the bilinear GFPGAN).
    """
    return tuple(name for name, keys in FINGERPRINTS.items() if all(key in state for key in keys))


def _likeness(state: State) -> str:
    found = recognise(state)
    if found:
        return f"the file looks like {' or '.join(found)}"
    return f"the file is of no architecture that is known here; it starts with {', '.join(list(state)[:SHOWN_KEYS])}"


def has_noise(architecture: str) -> bool:
    """Whether this architecture's networks take noise, without loading one."""
    return architecture in WITH_NOISE


def _load(module: nn.Module, state: State, *, architecture: str, name: str) -> None:
    expected = module.state_dict()
    # BatchNorm's step counter came with torch 0.4.1; older files lack it and nothing at inference reads it.
    missing = [key for key in expected if key not in state and not key.endswith("num_batches_tracked")]
    surplus = [key for key in state if key not in expected]
    wrong = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in expected
        if key in state and state[key].shape != expected[key].shape
    ]
    for fault, keys in (("lacks", missing), ("has besides", surplus), ("has other shapes:", wrong)):
        if keys:
            raise WeightsCorrupt(
                f"{name}: expected the {len(expected)} tensors of {architecture}, but it {fault} "
                f"{', '.join(keys[:SHOWN_KEYS])} ({len(keys)} in all); {_likeness(state)}"
            )
    # Assigned and not copied: what was mapped from a file stays mapped. A file in half precision runs in full.
    known = {key: state[key].to(expected[key].dtype) if key in state else _untracked(expected[key]) for key in expected}
    module.load_state_dict(known, strict=True, assign=True)
    module.eval().requires_grad_(requires_grad=False)


def _untracked(counter: Tensor) -> Tensor:
    return torch.zeros(counter.shape, dtype=counter.dtype)


def _gfpgan_clean(state: State) -> Network:
    module = gfpgan_clean.GFPGANv1Clean(**_gfpgan_shape(state, "stylegan_decoder.style_convs.{}.bias"))
    return Network(module=module, architecture="gfpgan-clean", has_noise=True)


def _gfpgan_equalised(architecture: str, resampling: gfpgan_original.Resampling) -> Callable[[State], Network]:
    def builder(state: State) -> Network:
        shape = _gfpgan_shape(state, "stylegan_decoder.style_convs.{}.activate.bias")
        module = gfpgan_original.GFPGANv1(**shape, resampling=resampling)
        return Network(module=module, architecture=architecture, has_noise=True)

    return builder


def _gfpgan_shape(state: State, widest: str) -> dict[str, Any]:
    """Size and widths; ``widest`` is the pattern of the biases of the decoder's convolutions."""
    decoder = state["stylegan_decoder.constant_input.weight"]
    levels = _count(state, "condition_scale.{}.0.weight")
    size = 2 ** (levels + 2)
    narrow = decoder.shape[1] / gfpgan_clean.channels(4, narrow=1, multiplier=1)
    last = state[widest.format(2 * levels - 1)].numel()
    multiplier = round(last / gfpgan_clean.channels(size, narrow=narrow, multiplier=1)) or 1
    style = state["stylegan_decoder.style_mlp.1.weight"].shape[0]
    return {"size": size, "style": style, "narrow": narrow, "multiplier": multiplier}


def _restoreformer(state: State) -> Network:
    levels = _count(state, "encoder.down.{}.block.0.conv1.weight")
    shape = restoreformer.Shape(
        widths=tuple(state[f"encoder.down.{i}.block.0.conv1.weight"].shape[0] for i in range(levels)),
        first=state["encoder.conv_in.weight"].shape[0],
        blocks=_count(state, "encoder.down.0.block.{}.conv1.weight"),
        latent=state["encoder.conv_out.weight"].shape[0],
        code=state["quantize.embedding.weight"].shape[1],
        codes=state["quantize.embedding.weight"].shape[0],
    )
    return Network(module=restoreformer.RestoreFormer(shape), architecture="restoreformer")


def _retinaface(architecture: str, backbone: retinaface.Backbone) -> Callable[[State], Network]:
    def builder(_: State) -> Network:
        module = retinaface.build(backbone)
        return Network(module=module, architecture=architecture, signed=False, takes_any_size=True, sizes_vary=True)

    return builder


def _parsenet(state: State) -> Network:
    module = parsenet.build(base_channels=state["encoder.0.conv2d.weight"].shape[0])
    return Network(module=module, architecture="parsenet", input_px=parsenet.INPUT_PX)


def _bisenet(_: State) -> Network:
    return Network(module=bisenet.build(), architecture="bisenet")


def _arcface(_: State) -> Network:
    return Network(module=arcface.build(), architecture="arcface")


def _preview(_: State) -> Network:
    return Network(module=preview.PreviewRestorer(), architecture="preview", signed=False)


def _rrdb(state: State) -> Network:
    first = state["conv_first.weight"]
    scale = {3: 4, 12: 2}.get(first.shape[1])
    if scale is None:
        raise ValueError(f"a first convolution of {first.shape[1]} inputs (3 for x4, 12 for x2)")
    blocks = _count(state, "body.{}.rdb1.conv1.weight")
    growth = state["body.0.rdb1.conv1.weight"].shape[0]
    return Network(
        module=upsamplers.build_rrdb(scale=scale, features=first.shape[0], blocks=blocks, growth=growth),
        architecture="rrdb",
        takes_any_size=True,
        scale=scale,
        receptive_px=upsamplers.rrdb_receptive_radius(scale=scale, blocks=blocks),
        multiple_px=2 if scale == 2 else 1,
    )


def _srvgg(state: State) -> Network:
    first = state["body.0.weight"]
    # body holds convolution, activation, convolution, …, activation, last convolution.
    last = max(int(key.split(".")[1]) for key in state if key.startswith("body."))
    scale = round((state[f"body.{last}.weight"].shape[0] / 3) ** 0.5)
    convolutions = last // 2 - 1
    return Network(
        module=upsamplers.build_srvgg(scale=scale, features=first.shape[0], convolutions=convolutions),
        architecture="srvgg",
        takes_any_size=True,
        scale=scale,
        receptive_px=upsamplers.srvgg_receptive_radius(convolutions=convolutions),
    )


def _count(state: State, pattern: str) -> int:
    count = 0
    while pattern.format(count) in state:
        count += 1
    if count == 0:
        raise KeyError(pattern.format(0))
    return count


#: Keys that together only this architecture's files have (the first two GFPGANs share all of theirs).
FINGERPRINTS: dict[str, tuple[str, ...]] = {
    "gfpgan-original": ("conv_body_first.0.weight", "stylegan_decoder.style_conv1.activate.bias"),
    "gfpgan-bilinear": ("conv_body_first.0.weight", "stylegan_decoder.style_conv1.activate.bias"),
    "gfpgan-clean": ("conv_body_first.weight", "stylegan_decoder.style_conv1.bias"),
    "restoreformer": (
        "quantize.embedding.weight",
        "encoder.down.0.block.0.norm1.weight",
        "decoder.mid.attn_1.q.weight",
    ),
    "codeformer": ("quantize.embedding.weight", "position_emb", "encoder.blocks.0.weight"),
    "retinaface-resnet50": ("ClassHead.0.conv1x1.weight", "body.layer1.0.conv1.weight"),
    "retinaface-mobilenet0.25": ("ClassHead.0.conv1x1.weight", "body.stage1.0.0.weight"),
    "parsenet": ("encoder.0.conv2d.weight", "out_mask_conv.conv2d.weight"),
    "bisenet": ("cp.resnet.conv1.weight", "ffm.convblk.conv.weight"),
    "arcface": ("input_layer.0.weight", "body.0.res_layer.0.weight", "output_layer.3.weight"),
    "preview": ("head.weight", "bottleneck.0.first.weight", "style.0.weight"),
    "rrdb": ("conv_first.weight", "body.0.rdb1.conv1.weight"),
    "srvgg": ("body.0.weight", "body.1.weight"),
}

#: Builders by the architecture's name in weights.toml.
BUILDERS: dict[str, Callable[[State], Network]] = {
    "gfpgan-clean": _gfpgan_clean,
    "gfpgan-original": _gfpgan_equalised("gfpgan-original", "fir"),
    "gfpgan-bilinear": _gfpgan_equalised("gfpgan-bilinear", "bilinear"),
    "restoreformer": _restoreformer,
    "retinaface-resnet50": _retinaface("retinaface-resnet50", "resnet50"),
    "retinaface-mobilenet0.25": _retinaface("retinaface-mobilenet0.25", "mobile0.25"),
    "parsenet": _parsenet,
    "bisenet": _bisenet,
    "arcface": _arcface,
    "preview": _preview,
    "rrdb": _rrdb,
    "srvgg": _srvgg,
}

#: Architectures whose makers (facexlib and basicsr) compute with values. On ``meta`` there are none, and torch's
#: arithmetic without them imports its compiler, which takes longer than to draw them.
MADE_WITH_VALUES = frozenset({"retinaface-resnet50", "retinaface-mobilenet0.25", "rrdb"})

#: What makes of a loaded network one that does the same by fewer operations.
LEAN: dict[str, Callable[[nn.Module], nn.Module]] = {
    "parsenet": parsenet.lean,
    "retinaface-resnet50": retinaface.lean,
    "retinaface-mobilenet0.25": retinaface.lean,
}

#: Architectures whose networks add noise.
WITH_NOISE = frozenset({"gfpgan-clean", "gfpgan-original", "gfpgan-bilinear"})
