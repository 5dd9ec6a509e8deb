"""Which pixels of an aligned face belong to the face: ParseNet's scores as a soft mask."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.arch import parsenet
from pipeline.arch.networks import Network, Runs
from pipeline.batches import in_batches
from pipeline.casting import Casting, Outcome, sample
from pipeline.geometry import CROP_PX
from pipeline.tensors import to_batch
from pipeline.types import Compute, FloatImage, Mask, Stage

#: How soft the mask's edge is. Source: facexlib's two Gaussian blurs of sigma 11 are one of 11 * sqrt(2).
EDGE_SIGMA_PX = 11 * 2**0.5

#: The blur is done at this part of the size, where it costs a sixteenth and changes nothing that can be seen.
BLUR_AT = 4

#: The outermost pixels of the crop are never pasted. Source: facexlib, "remove the black borders".
BORDER_PX = 10

#: From there the mask rises over so many pixels to what it is inside: hair that reaches the crop's edge would end in a
#: straight line. As steep as the mask's own edge.
FRAME_PX = 48

#: A label for pixels whose scores are not finite.
NO_CLASS = 255

#: Where the best class of the face and the best other one are nearer than this (scores, of which the exponentials are
#: the odds: 1 to 2.7), a pixel belongs to the face in part. A trained network crosses it within a pixel at a face's
#: edge; without it, places where it is undecided fell to one side or the other by the last bit of a sum, and reduced
#: precision or another engine showed that in the picture.
UNDECIDED = 1.0

#: A parser that sees a face on less of an aligned crop than this is wrong: eyes, nose and mouth alone are more.
SMALLEST_FACE = 0.05

#: How well (dB) the canary's mask in reduced precision must agree with float32's. A mask's error shows in a picture
#: only times how far the restored face lies from the original, 0.2 or less in the mean: 14 dB less than CANARY_PSNR.
MASK_PSNR = 36.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parts:
    """What a parser sees of one face, at its own size."""

    classes: NDArray[np.uint8]  #: (side, side)
    face: Mask  #: (side, side) in [0, 1], how far each pixel belongs to the face


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parsed:
    """One face's mask, or why there is none."""

    mask: Mask | None = None
    fault: str | None = None


class FaceParser:
    """Makes masks with one network. Immutable; ``network`` is called inside device work, so it may load lazily."""

    def __init__(self, network: Callable[[], Network], device: torch.device, casting: Casting | None = None) -> None:
        self._network = network
        self._device = device
        self._casting = casting or Casting()

    def __call__(
        self, faces: Sequence[FloatImage], *, compute: Compute, on_fraction: Callable[[float], None] = lambda _: None
    ) -> tuple[Parsed, ...]:
        """A soft mask (512, 512) in [0, 1] for each restored face (512, 512, 3) RGB in [0, 1].

        Raises:
            OutOfMemory: a single face does not fit.
            WeightsError: the network cannot be loaded.
        """
        outcomes = in_batches(
            self._forward,
            faces,
            device=self._device,
            compute=compute,
            stage=Stage.PARSE,
            key=self._casting.key,
            notes=self._casting,
            on_shared=self._casting.adopt,
            on_fraction=on_fraction,
        )
        return tuple(
            Parsed(mask=None if one.fault else blurred(one.value.face), fault=one.fault) for one, _ in outcomes
        )

    def _forward(self, faces: Sequence[FloatImage]) -> list[Outcome[Parts]]:
        network = self._network()
        side = network.input_px
        return self._casting.checked(
            network,
            lambda runs, some: _parts(network, runs, some, self._device),
            faces,
            device=self._device,
            look=functools.partial(look, network, self._device),
            fault_of=lambda made, _: fault_of(made.classes, side),
            enough_db=MASK_PSNR,
        )


def look(network: Network, device: torch.device, runs: Runs) -> Mask:
    """The mask that a parser makes of the canary's picture. Device work."""
    return blurred(_parts(network, runs, [sample(CROP_PX)], device)[0].face)


def _parts(network: Network, runs: Runs, faces: Sequence[FloatImage], device: torch.device) -> list[Parts]:
    side = network.input_px
    given = [np.asarray(cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA), np.float32) for face in faces]
    scores = runs(to_batch(given, device=device, signed=True)).float()
    classes = scores.argmax(dim=1).to(torch.uint8)
    wrong = torch.full_like(classes, NO_CLASS)
    classes = torch.where(scores.isfinite().all(dim=1), classes, wrong).cpu()
    lead = scores[:, list(parsenet.FACE_CLASSES)].amax(dim=1) - scores[:, list(parsenet.OTHER_CLASSES)].amax(dim=1)
    face = ((lead / UNDECIDED + 1) / 2).clamp(0, 1).cpu()
    return [Parts(classes=one, face=part) for one, part in zip(classes.numpy(), face.numpy(), strict=True)]


def fault_of(labels: NDArray[np.uint8], side: int = CROP_PX) -> str | None:
    """Why these classes (side, side) of an aligned face's pixels cannot be right; None = they can."""
    if labels.shape != (side, side):
        return f"the parser gave {labels.shape} where {(side, side)} was expected"
    if (labels == NO_CLASS).any():
        return "the parser gave values that are not finite"
    if (labels == labels[0, 0]).all():
        return "the parser saw the same everywhere"
    share = float(np.isin(labels, parsenet.FACE_CLASSES).mean())
    return None if share >= SMALLEST_FACE else f"the parser saw a face on {share:.1%} of the crop"


def soft_mask(labels: NDArray[np.uint8]) -> Mask:
    """A soft mask (512, 512) in [0, 1] from the class of each pixel, at 512 px or a half or a quarter of it."""
    return blurred(np.isin(labels, parsenet.FACE_CLASSES).astype(np.float32))


def blurred(face: Mask) -> Mask:
    """The soft mask (512, 512) of what belongs to the face, at 512 px or a half or a quarter of it."""
    small_side = CROP_PX // BLUR_AT
    small = cv2.resize(face, (small_side, small_side), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), EDGE_SIGMA_PX / BLUR_AT)
    mask = np.asarray(cv2.resize(small, (CROP_PX, CROP_PX), interpolation=cv2.INTER_LINEAR), np.float32)
    framed: Mask = np.clip(mask, 0, 1) * _frame()
    return framed


@functools.lru_cache(maxsize=1)
def _frame() -> Mask:
    """One inside, falling smoothly to zero at BORDER_PX."""
    inside = np.minimum(np.arange(CROP_PX), np.arange(CROP_PX)[::-1])
    rising = np.clip((inside - BORDER_PX) / FRAME_PX, 0, 1)
    side = (rising**2 * (3 - 2 * rising)).astype(np.float32)
    frame = np.outer(side, side)
    frame.setflags(write=False)
    return frame
