"""Full-size networks with seeded weights, made once: times do not depend on what a network has learned.

They are made so that the pipeline takes its usual way: the restorer and the upsamplers give something like their input,
and the parser sees "skin" where the picture is bright and "background" where it is dark, at upstream's size of a face
and at ours (its last layer is fitted by least squares, as RRDBNet's is). A seeded detector finds nothing, so its
network runs for its time, and a real small one beside it (2 % of its operations) says where the faces are. See
``shelf_of`` and ``photomend.bench.upstream``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from photomend.bench.contest import Workshop

if TYPE_CHECKING:
    import torch
    from torch import nn

    from pipeline.arch.networks import Network
    from pipeline.shelf import Shelf

SEED = 20261107
#: Raised when other networks are made: those of an earlier version are made anew.
VERSION = 2
#: How strong a seeded decoder's pictures are (times the usual): about the contrast of a photo around its input.
RGB_STRENGTH = 0.05
#: Skin is where the picture is brighter than this, of [-1, 1].
BRIGHT = -0.2
#: How much the seeded detector's values, of up to 1e6, count beside the real one's.
FAINT = 1e-20
#: The classes "background" and "skin" of the parser.
BACKGROUND, SKIN = 0, 1

#: How far a seeded SRVGG's detail is from the enlarged picture (standard deviation, of [0, 1]); of RRDBNet's fit, how
#: much large weights are held back, which would make reduced precision worse than a trained network's.
DETAIL, RIDGE = 0.03, 1e-3

RESTORER, DETECTOR, PARSER = "gfpgan-1.4", "retinaface-resnet50", "parsenet"
SRVGG, RRDB = "realesr-general-x4v3", "realesrgan-x2plus"
FINDER = "retinaface-mobilenet0.25"  #: says where the faces are, if it is there; else the preview pack's detector
_FILES = {
    RESTORER: ("restorer", "gfpgan-clean", "seeded-gfpgan.pth"),
    DETECTOR: ("detector", "retinaface-resnet50", "seeded-resnet50.pth"),
    PARSER: ("parser", "parsenet", "seeded-parsenet.pth"),
    SRVGG: ("upsampler", "srvgg", "seeded-srvgg.pth"),
    RRDB: ("upsampler", "rrdb", "seeded-rrdb.pth"),
}


def make(place: Workshop) -> None:
    """Write the networks and their ``local.toml`` into ``place.seeded``; what is there stays."""
    import torch

    folder = place.seeded
    index, version = folder / "local.toml", f"# version {VERSION}\n"
    if index.is_file() and index.read_text().startswith(version):
        return
    folder.mkdir(parents=True, exist_ok=True)
    index.unlink(missing_ok=True)
    states = {RESTORER: _restorer, DETECTOR: _detector, PARSER: _parser, SRVGG: _srvgg, RRDB: _rrdb}
    entries = []
    for name, (kind, architecture, file) in _FILES.items():
        torch.manual_seed(SEED)
        torch.save({"params_ema": states[name]()}, folder / file)
        entries.append(_entry(folder, name, kind, architecture, file))
    # Last: its presence says that all is there.
    finder = place.weights / "detection_mobilenet0.25_Final.pth" if place.weights else None
    if finder is not None and finder.is_file():
        shutil.copyfile(finder, folder / finder.name)
    index.write_text(version + "\n".join(entries))


def _entry(folder: Path, name: str, kind: str, architecture: str, file: str) -> str:
    digest = hashlib.sha256((folder / file).read_bytes()).hexdigest()
    words = {"name": name, "kind": kind, "architecture": architecture, "file": file, "sha256": digest}
    return "[[local]]\n" + "".join(f'{key} = "{value}"\n' for key, value in {**words, "label": "seeded"}.items())


def _restorer() -> dict[str, torch.Tensor]:
    import torch

    from pipeline.arch.gfpgan_clean import GFPGANv1Clean

    network = GFPGANv1Clean(512, narrow=1, multiplier=2, style=512)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "to_rgb" in name and name.endswith("modulated_conv.weight"):
                parameter.mul_(RGB_STRENGTH)
    return dict(network.state_dict())


def _detector() -> dict[str, torch.Tensor]:
    import torch

    from pipeline.arch import retinaface

    network = retinaface.build("resnet50")
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith("ClassHead"):
                parameter.zero_()  # every anchor: half a face, which is none
    return dict(network.state_dict())


def _parser() -> dict[str, torch.Tensor]:
    import torch

    from pipeline.arch import parsenet
    from pipeline.geometry import CROP_PX

    network = parsenet.build()
    pictures = [_sample(side) * 2 - 1 for side in (CROP_PX, parsenet.INPUT_PX)]
    _settle_norms(network, pictures)
    with torch.inference_mode():
        features = torch.cat([_features(network, picture).flatten(1) for picture in pictures], dim=1)
    bright = torch.cat([(picture.mean(dim=1)[0] - BRIGHT).flatten() for picture in pictures])
    fitted, constant = _fitted(features, bright[:, None])
    state = dict(network.state_dict())
    weight, bias = (torch.zeros_like(state[f"out_mask_conv.conv2d.{name}"]) for name in ("weight", "bias"))
    bias[:] = -100.0  # the classes that nothing belongs to
    weight[SKIN, :, 1, 1], bias[SKIN] = fitted[:, 0], constant[0]
    weight[BACKGROUND, :, 1, 1], bias[BACKGROUND] = -fitted[:, 0], -constant[0]
    return state | {"out_mask_conv.conv2d.weight": weight, "out_mask_conv.conv2d.bias": bias}


def _features(network: Any, picture: torch.Tensor) -> torch.Tensor:
    """What its last layer sees, (C, H, W)."""
    x = network.encoder(picture)
    features: torch.Tensor = network.decoder(x + network.body(x))[0]
    return features


def _settle_norms(network: nn.Module, pictures: Sequence[torch.Tensor]) -> None:
    """Statistics of what goes through, as training would leave them: else values grow from layer to layer."""
    import torch

    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean over all pictures
    network.train()
    with torch.no_grad():
        for picture in pictures:
            network(picture)
    network.eval()


def _srvgg() -> dict[str, torch.Tensor]:
    import torch

    from pipeline.arch import upsamplers

    network = upsamplers.build_srvgg(scale=4)
    layers: Any = network.body
    with torch.no_grad():
        for layer in layers:
            if isinstance(layer, torch.nn.Conv2d):
                # As strong behind each layer as before it.
                torch.nn.init.kaiming_normal_(layer.weight, a=0.25)
        picture = _sample(128)
        detail = network(picture) - torch.nn.functional.interpolate(picture, scale_factor=4)
        for parameter in layers[-1].parameters():
            parameter.mul_(DETAIL / detail.std())
    return dict(network.state_dict())


def _rrdb() -> dict[str, torch.Tensor]:
    import torch

    from pipeline.arch import upsamplers

    network: Any = upsamplers.build_rrdb(scale=2)
    picture = _sample(128)
    seen: list[torch.Tensor] = []
    network.conv_last.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.inference_mode():
        network(picture)
    wanted = torch.nn.functional.interpolate(picture, scale_factor=2, mode="bilinear")
    fitted, constant = _fitted(seen[0][0].flatten(1), wanted[0].flatten(1).T, ridge=RIDGE)
    state = dict(network.state_dict())
    weight = torch.zeros_like(state["conv_last.weight"])
    weight[:, :, 1, 1] = fitted.T
    return state | {"conv_last.weight": weight, "conv_last.bias": constant}


def _sample(side: int) -> torch.Tensor:
    """(1, 3, side, side) in [0, 1]."""
    import torch

    from pipeline.casting import sample

    return torch.from_numpy(sample(side)).permute(2, 0, 1)[None]


def _fitted(features: torch.Tensor, wanted: torch.Tensor, *, ridge: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """The weights (C, n) and constants (n,) that make ``wanted`` (N, n) of ``features`` (C, N) by least squares.

    ``ridge`` (times the features' spread) holds weights back.
    """
    import torch

    middle, means = features.double().mean(dim=1, keepdim=True), wanted.double().mean(dim=0, keepdim=True)
    x, y = features.double() - middle, wanted.double() - means
    gram = x @ x.T
    gram += ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    weights = torch.linalg.lstsq(gram, x @ y, driver="gelsd").solution
    return weights.float(), (means - middle.T @ weights)[0].float()


def shelf_of(place: Workshop, *, device: str = "cpu", is_costly: bool = True) -> Shelf:
    """The seeded networks as the pipeline keeps its own; its detector costs what the full-size one costs, and finds.

    Without ``is_costly`` it only finds.
    """
    import torch

    from pipeline.device import pick
    from pipeline.shelf import Shelf
    from pipeline.weights import WeightStore

    store = WeightStore(place.seeded, allow_preview=True)
    finder = FINDER if store.is_present(FINDER) else "preview-detector"

    class BothDetectors(torch.nn.Module):
        def __init__(self, costly: nn.Module, finding: nn.Module) -> None:
            super().__init__()
            self.costly, self.finding = costly, finding

        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.finding(pictures)
            # Added so faintly that it changes nothing, lest an engine leave out what nobody reads.
            return found + FAINT * self.costly(pictures) if is_costly else found

    class BenchShelf(Shelf):
        def __init__(self) -> None:
            super().__init__(store, pick(device))
            self._both: Network | None = None

        def get(self, name: str) -> Network:
            network = super().get(name)
            if name != DETECTOR:
                return network
            if self._both is None:
                finding = super().get(finder)
                both, identity = BothDetectors(network.module, finding.module), f"{network.identity} {finding.identity}"
                self._both = dataclasses.replace(network, module=both, identity=identity, runs={})
            return self._both

    return BenchShelf()
