"""What is judged: the degraded input as it is, and restorers by their name or file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.arch import networks
from pipeline.arch.networks import Network
from pipeline.errors import BadNetworkOutput, WeightsCorrupt
from pipeline.restore import FaceRestorer
from pipeline.types import FloatImage, compute_here
from pipeline.weights import Kind, WeightStore, read_checkpoint_file, unwrap

#: The name of the input itself: what plain resampling shows, and what every restorer must beat.
INPUT = "input"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One way to restore an aligned face, (512, 512, 3) float32 RGB in [0, 1] in and out."""

    name: str
    restore: Callable[[FloatImage], FloatImage]


def plain() -> Subject:
    """The degraded picture, resampled to full size and otherwise left alone."""
    return Subject(name=INPUT, restore=lambda face: face)


def restorer(word: str, weights: WeightStore, device: torch.device) -> Subject:
    """A restorer by its name in the weights folder, or by a file: a released checkpoint or one of one's own training.

    A file's architecture is told by its keys; of two with the same keys the older is taken (the original GFPGAN).

    Raises:
        WeightsMissing: no such name or file.
        WeightsCorrupt: not the tensors of a face restorer.
    """
    path = Path(word)
    if not path.is_file():
        entry = weights.find(word)
        if entry.kind is not Kind.RESTORER:
            raise WeightsCorrupt(f"{word} is a {entry.kind.value}, not a restorer of faces")
        return _subject(word, networks.build(entry.architecture, weights.load(word), name=word), device)
    state = unwrap(read_checkpoint_file(path), path.name)
    known = networks.recognise(state)
    if not known or not networks.can_build(known[0]):
        raise WeightsCorrupt(f"{path} is of no architecture that is known here")
    network = networks.build(known[0], state, name=path.name)
    if network.takes_any_size or known[0] in {"parsenet", "bisenet", "arcface"}:
        raise WeightsCorrupt(f"{path} is a {known[0]}, not a restorer of faces")
    return _subject(path.stem, network, device)


def _subject(name: str, network: Network, device: torch.device) -> Subject:
    through = FaceRestorer(lambda: network, device)

    def restore(face: FloatImage) -> FloatImage:
        (restored,) = through([face], compute=compute_here)
        if restored.image is None:
            raise BadNetworkOutput(f"{name} gave no picture: {restored.fault}")
        return restored.image

    return Subject(name=name, restore=restore)
