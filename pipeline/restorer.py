"""From a picture to its restoration: detect, align, restore, parse, upsample, blend, in this order.

A ``Restorer`` holds networks and is otherwise immutable: it may be called from several threads. Work on the device goes
through ``compute`` and nowhere else; ``on_progress`` is called between all steps and may raise ``Cancelled``.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from pipeline import portrait, tone
from pipeline.blend import feathered_square
from pipeline.detect import FaceDetector
from pipeline.device import pick
from pipeline.geometry import output_size
from pipeline.options import RestoreOptions
from pipeline.parse import FaceParser
from pipeline.portrait import Portrait
from pipeline.resize import resize
from pipeline.restore import FaceRestorer
from pipeline.selection import Candidate, select
from pipeline.shelf import MIXED, NO_BACKGROUND, Choice, Shelf
from pipeline.types import Compute, FloatImage, OnProgress, Restoration, Stage, compute_here
from pipeline.upsample import BackgroundUpsampler
from pipeline.weights import WeightStore


class Restorer:
    """Restores pictures with the networks of one weights folder on one device."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._upsamplers: dict[str, BackgroundUpsampler] = {}

    @classmethod
    def load(cls, weights: WeightStore, *, device: str = "auto") -> Restorer:
        """A restorer on ``auto`` (a GPU where there is one), ``cpu`` or ``cuda``; networks load when first used.

        Raises:
            UnsupportedOption: there is no such device here.
        """
        return cls(Shelf(weights, pick(device)))

    def require(self, options: RestoreOptions) -> None:
        """Refuse, before any work, what cannot be done here.

        Raises:
            UnsupportedOption: an option that cannot be honoured.
            WeightsMissing: a weights file that is needed; the message says how to get it.
        """
        self._shelf.choose(options)

    def available(self) -> tuple[dict[str, Any], ...]:
        """The networks present: name, kind, sha256, licence, origin."""
        return self._shelf.available()

    def __call__(
        self,
        image: FloatImage,
        options: RestoreOptions,
        *,
        on_progress: OnProgress | None = None,
        compute: Compute = compute_here,
    ) -> Restoration:
        """The picture restored, at ``options.scale`` times its size.

        Convention: ``image`` (H, W, 3) float32 sRGB RGB in [0, 1]. Where nothing was restored and the background is
        ``none``, the result is exactly ``resize(image, width, height)``, which leaves [0, 1] by Lanczos' overshoot.

        Raises:
            UnsupportedOption, WeightsError: as ``require`` says.
            OutOfMemory: a face or the smallest tile does not fit.
            BadNetworkOutput: a background tile cannot be right (a face that cannot is a warning).
            Cancelled: ``on_progress`` raised it.
        """
        steps = _Steps(on_progress, compute)
        choice = self._shelf.choose(options)
        toned = options.gray == "keep" and tone.is_toned(image)

        with steps(Stage.DETECT):
            candidates = self._find_faces(image, options, choice, steps)
        with steps(Stage.ALIGN):
            portraits = portrait.cut_out(image, candidates, options)
        with steps(Stage.RESTORE):
            portraits = self._restore(portraits, options, choice, steps, toned=toned)
        with steps(Stage.PARSE):
            portraits = self._add_masks(portraits, choice, steps)
        with steps(Stage.UPSAMPLE):
            canvas, tile_px = self._background(image, options, choice, steps, toned=toned)
        with steps(Stage.BLEND):
            source_size = image.shape[1], image.shape[0]
            changed = portrait.blend_into(canvas, portraits, options, source_size=source_size, toned=toned)

        faces = portrait.records(candidates, portraits, options)
        return Restoration(
            image=canvas,
            changed=changed,
            faces=faces,
            crops=portrait.crops(portraits) if options.keep_crops else (),
            warnings=(*choice.notices, *portrait.warnings(faces)),
            seconds=steps.seconds,
            model=self._told(choice, tile_px),
        )

    def _find_faces(
        self, image: FloatImage, options: RestoreOptions, choice: Choice, steps: _Steps
    ) -> tuple[Candidate, ...]:
        if choice.detector is None:
            return (portrait.whole_picture(image),)
        detector = FaceDetector(functools.partial(self._module, choice.detector), self._shelf.device)
        faces = detector(image, compute=steps.compute, on_fraction=steps.on_fraction)
        return select(faces, options, width=image.shape[1], height=image.shape[0])

    def _restore(
        self, portraits: tuple[Portrait, ...], options: RestoreOptions, choice: Choice, steps: _Steps, *, toned: bool
    ) -> tuple[Portrait, ...]:
        if not portraits:
            return ()
        restorer = FaceRestorer(functools.partial(self._shelf.get, choice.restorer), self._shelf.device)
        results = restorer(
            [one.crop for one in portraits],
            compute=steps.compute,
            seed=options.seed,
            passes=options.passes,
            on_fraction=steps.on_fraction,
        )
        return portrait.with_results(portraits, results, toned=toned)

    def _add_masks(self, portraits: tuple[Portrait, ...], choice: Choice, steps: _Steps) -> tuple[Portrait, ...]:
        if choice.parser is None:
            return portrait.with_masks(portraits, [feathered_square()] * len(portraits))
        parser = FaceParser(functools.partial(self._shelf.get, choice.parser), self._shelf.device)
        # A face that failed is parsed as it was; it is not pasted.
        pictures = [one.crop if one.restored is None else one.restored for one in portraits]
        masks = parser(pictures, compute=steps.compute, on_fraction=steps.on_fraction)
        return portrait.with_masks(portraits, masks)

    def _background(
        self, image: FloatImage, options: RestoreOptions, choice: Choice, steps: _Steps, *, toned: bool
    ) -> tuple[FloatImage, int]:
        size = output_size(image.shape[1], image.shape[0], options.scale)
        if choice.background == NO_BACKGROUND:
            return resize(image, *size), 0
        upsampler = self._upsampler(choice.background, options.denoise)
        enlarged, tile_px = upsampler(
            image, size, compute=steps.compute, tile_px=options.tile_px, on_fraction=steps.on_fraction
        )
        return (tone.in_lightness_only(resize(image, *size), enlarged) if toned else enlarged), tile_px

    def _module(self, name: str) -> nn.Module:
        return self._shelf.get(name).module

    def _upsampler(self, name: str, denoise: float) -> BackgroundUpsampler:
        """The upsampler of this name, kept because it learns how large tiles may be."""
        mixed = name == MIXED and denoise < 1
        key = f"{name}@{denoise}" if mixed else name
        get = functools.partial(self._shelf.get_mixed, denoise) if mixed else functools.partial(self._shelf.get, name)
        # setdefault is atomic, so that two threads share one.
        return self._upsamplers.setdefault(key, BackgroundUpsampler(get, self._shelf.device))

    def _told(self, choice: Choice, tile_px: int) -> dict[str, Any]:
        """What the record says about how the picture was made."""
        others = {"detector": choice.detector, "parser": choice.parser, "background_model": choice.background}
        described = {
            kind: None if name in {None, NO_BACKGROUND} else self._shelf.describe(str(name))
            for kind, name in others.items()
        }
        return (
            self._shelf.describe(choice.restorer)
            | {"background": choice.background, "engine": f"torch-{self._shelf.device.type}"}
            | {"precision": "float32", "tile_px": tile_px}
            | described
        )


class _Steps:
    """Tells progress, takes the time, and hands device work on; one per call."""

    def __init__(self, on_progress: OnProgress | None, compute: Compute) -> None:
        self._on_progress = on_progress
        self._stage = Stage.DETECT
        self.compute = compute
        self.seconds: dict[Stage, float] = {}

    @contextmanager
    def __call__(self, stage: Stage) -> Iterator[None]:
        self._stage = stage
        self.on_fraction(0.0)
        started = time.monotonic()
        yield
        self.seconds[stage] = time.monotonic() - started
        self.on_fraction(1.0)

    def on_fraction(self, fraction: float) -> None:
        """Tell how much of the present step is done; this is where ``Cancelled`` comes from."""
        if self._on_progress is not None:
            self._on_progress(self._stage, fraction)
