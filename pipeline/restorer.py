"""From a picture to its restoration: detect, align, restore, parse, upsample, blend, in this order.

A ``Restorer`` holds networks and is otherwise immutable: it may be called from several threads. Work on the device goes
through ``compute`` and nowhere else; ``on_progress`` is called between all steps and may raise ``Cancelled``.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from pipeline import composite, detect, portrait, tone
from pipeline.casting import Canaries, Casting, fallback_notices, told
from pipeline.composite import Background, Composite
from pipeline.detect import FaceDetector
from pipeline.device import pick, place
from pipeline.engines.choice import Engines
from pipeline.geometry import output_size
from pipeline.identity import FaceRecogniser
from pipeline.options import RestoreOptions
from pipeline.parse import FaceParser, Parsed
from pipeline.picture import Picture
from pipeline.portrait import Portrait
from pipeline.restore import FaceRestorer
from pipeline.selection import Candidate, found, notices, select, select_from
from pipeline.shelf import MIXED, NO_BACKGROUND, Choice, Shelf
from pipeline.types import Compute, Detection, FloatImage, OnProgress, Restoration, Stage, compute_here
from pipeline.upsample import BackgroundUpsampler
from pipeline.weights import WeightStore


class Restorer:
    """Restores pictures with the networks of one weights folder on one device."""

    def __init__(self, shelf: Shelf, engines: Engines | None = None) -> None:
        """Without ``engines`` every network runs by torch in float32."""
        self._shelf = shelf
        self._upsamplers: dict[str, BackgroundUpsampler] = {}
        self._canaries = Canaries(engines or Engines(shelf.device, reduced=None))

    @classmethod
    def load(
        cls, weights: WeightStore, *, device: str = "auto", engine: str | None = None, cache: Path | None = None
    ) -> Restorer:
        """A restorer on ``auto`` (a GPU where there is one), ``cpu`` or ``cuda``; networks load when first used.

        ``engine`` is what runs them (``auto`` = the fastest; None = torch in float32), and ``cache`` the folder for
        what need not be exported or measured twice.

        Raises:
            UnsupportedOption: there is no such device or engine here.
        """
        shelf = Shelf(weights, pick(device))
        return cls(shelf, Engines.choose(shelf.device, wish=engine, cache=cache) if engine else None)

    def require(self, options: RestoreOptions) -> None:
        """Refuse, before any work, what cannot be done here.

        Raises:
            UnsupportedOption: an option that cannot be honoured.
            WeightsMissing: a weights file that is needed; the message says how to get it.
        """
        self._shelf.choose(options)

    def describe(self, options: RestoreOptions) -> dict[str, Any]:
        """The networks that these options choose here, as a record's ``model`` tells of them, before any work.

        Raises:
            UnsupportedOption, WeightsMissing: as ``require`` says.
        """
        return self._told(self._shelf.choose(options), 0, {})

    def require_detector(self) -> None:
        """Refuse, before any work, to find faces where there is no detector.

        Raises:
            WeightsMissing: the message says how to get one.
        """
        self._shelf.detector()

    def available(self) -> tuple[dict[str, Any], ...]:
        """The networks present: name, kind, sha256, licence, origin."""
        return self._shelf.available()

    def __call__(
        self,
        picture: Picture,
        options: RestoreOptions,
        *,
        on_progress: OnProgress | None = None,
        compute: Compute = compute_here,
    ) -> Restoration:
        """The picture restored, at ``options.scale`` times its size.

        Where nothing was restored and the background is
        ``none``, the canvas is the source resampled by Lanczos, exactly, which leaves [0, 1] by its overshoot.

        Raises:
            UnsupportedOption, WeightsError: as ``require`` says.
            OutOfMemory: a face or the smallest tile does not fit.
            ScratchFull: a background network's result does not fit onto the disk.
            BadNetworkOutput: a background tile cannot be right (a face that cannot is a warning).
            Cancelled: ``on_progress`` raised it.
        """
        steps = _Steps(on_progress, compute)
        choice = self._shelf.choose(options)

        with steps(Stage.DETECT):
            overview = detect.overview(picture)
            toned = options.gray == "keep" and tone.is_toned(overview)
            candidates = self._find_faces(picture, overview, options, choice.detector, steps)
        with steps(Stage.ALIGN):
            portraits = portrait.cut_out(picture, candidates, options, toned=toned)
        with steps(Stage.RESTORE):
            portraits = self._restore(portraits, options, choice, steps)
        with steps(Stage.PARSE):
            portraits = self._add_masks(portraits, options, choice, steps)
        with steps(Stage.IDENTIFY):
            portraits = self._compare(portraits, options, choice, steps)
        with steps(Stage.UPSAMPLE):
            background, tile_px = self._background(picture, options, choice, steps, toned=toned)
        with steps(Stage.BLEND):
            source_size = picture.width, picture.height
            size = output_size(*source_size, options.scale)
            pasted = portrait.placed(portraits, options, source_size=source_size, size=size)
            canvas = Composite(picture, size, background=background, faces=pasted)

        faces = portrait.records(candidates, portraits, options)
        return Restoration(
            canvas=canvas,
            faces=faces,
            crops=portrait.crops(portraits) if options.keep_crops else (),
            warnings=(
                *choice.notices,
                *notices(candidates),
                *portrait.warnings(faces),
                *portrait.mask_warnings(portraits),
                *fallback_notices(steps.castings),
            ),
            seconds=steps.seconds,
            model=self._told(choice, tile_px, steps.castings),
        )

    def find(
        self,
        picture: Picture,
        options: RestoreOptions,
        *,
        on_progress: OnProgress | None = None,
        compute: Compute = compute_here,
    ) -> Detection:
        """The picture's faces, and what a restoration with these options would make of each.

        Raises:
            WeightsError: as ``require_detector`` says.
            FaceNotFound: a chosen face is not there.
            OutOfMemory: the picture's copy does not fit.
            Cancelled: ``on_progress`` raised it.
        """
        steps = _Steps(on_progress, compute)
        detector = self._shelf.detector()
        with steps(Stage.DETECT):
            candidates = self._find_faces(picture, detect.overview(picture), options, detector, steps)
        faces = found(candidates)
        engine = told(steps.castings, "detector", self._shelf.device)
        return Detection(
            faces=faces,
            warnings=(
                *self._shelf.detector_notices(detector),
                *notices(candidates),
                *portrait.warnings(faces),
                *fallback_notices(steps.castings),
            ),
            seconds=steps.seconds,
            model=self._shelf.describe(detector) | engine,
        )

    def _find_faces(
        self,
        picture: Picture,
        overview: FloatImage,
        options: RestoreOptions,
        detector_name: str | None,
        steps: _Steps,
    ) -> tuple[Candidate, ...]:
        width, height = picture.width, picture.height
        if detector_name is None:
            return select_from([portrait.whole_picture(width, height)], options, width=width, height=height)
        casting = steps.castings["detector"] = self._canaries.casting(detector_name, options.precision)
        detector = FaceDetector(functools.partial(self._shelf.get, detector_name), self._shelf.device, casting)
        faces = detector(
            overview,
            width=width,
            height=height,
            rotate=options.rotate,
            compute=steps.compute,
            on_fraction=steps.on_fraction,
        )
        return select(faces, options, width=width, height=height)

    def _restore(
        self, portraits: tuple[Portrait, ...], options: RestoreOptions, choice: Choice, steps: _Steps
    ) -> tuple[Portrait, ...]:
        if not portraits:
            return ()
        casting = steps.castings["restorer"] = self._canaries.casting(
            choice.restorer, options.precision, seeded=options.seed is not None
        )
        restorer = FaceRestorer(functools.partial(self._shelf.get, choice.restorer), self._shelf.device, casting)
        results = restorer(
            [one.crop for one in portraits],
            compute=steps.compute,
            seed=options.seed,
            passes=options.passes,
            on_fraction=steps.on_fraction,
        )
        return portrait.with_results(portraits, results)

    def _add_masks(
        self, portraits: tuple[Portrait, ...], options: RestoreOptions, choice: Choice, steps: _Steps
    ) -> tuple[Portrait, ...]:
        if choice.parser is None:
            return portrait.with_masks(portraits, [Parsed()] * len(portraits))
        casting = steps.castings["parser"] = self._canaries.casting(choice.parser, options.precision)
        parser = FaceParser(functools.partial(self._shelf.get, choice.parser), self._shelf.device, casting)
        # A face that failed is parsed as it was; it is not pasted.
        pictures = [one.crop if one.restored is None else one.restored for one in portraits]
        masks = parser(pictures, compute=steps.compute, on_fraction=steps.on_fraction)
        return portrait.with_masks(portraits, masks)

    def _compare(
        self, portraits: tuple[Portrait, ...], options: RestoreOptions, choice: Choice, steps: _Steps
    ) -> tuple[Portrait, ...]:
        if choice.recogniser is None:
            return portraits
        recogniser = FaceRecogniser(functools.partial(self._module, choice.recogniser), self._shelf.device)
        pairs = portrait.to_compare(portraits, options)
        alike = recogniser(tuple(pairs.values()), compute=steps.compute, on_fraction=steps.on_fraction)
        return portrait.with_identities(portraits, dict(zip(pairs, alike, strict=True)))

    def _background(
        self, picture: Picture, options: RestoreOptions, choice: Choice, steps: _Steps, *, toned: bool
    ) -> tuple[Background, int]:
        if choice.background == NO_BACKGROUND:
            return composite.plain, 0
        key = self._upsampler_key(choice.background, options.denoise)
        casting = steps.castings["background_model"] = self._canaries.casting(key, options.precision)
        upsampler = self._upsampler(choice.background, options.denoise)
        enlarged, tile_px = upsampler(
            picture,
            output_size(picture.width, picture.height, options.scale),
            compute=steps.compute,
            tile_px=options.tile_px,
            casting=casting,
            on_fraction=steps.on_fraction,
        )
        if toned:
            return lambda rows, plain: tone.in_lightness_only(plain, enlarged.rows(rows)), tile_px
        return lambda rows, _: enlarged.rows(rows), tile_px

    def _module(self, name: str) -> nn.Module:
        return place(self._shelf.get(name).module, self._shelf.device)

    def _upsampler(self, name: str, denoise: float) -> BackgroundUpsampler:
        """The upsampler of this name, kept because it learns how large tiles may be."""
        key = self._upsampler_key(name, denoise)
        get = functools.partial(self._shelf.get, name)
        if key != name:
            get = functools.partial(self._shelf.get_mixed, denoise)
        # setdefault is atomic, so that two threads share one.
        return self._upsamplers.setdefault(key, BackgroundUpsampler(get, self._shelf.device))

    @staticmethod
    def _upsampler_key(name: str, denoise: float) -> str:
        return f"{name}@{denoise}" if name == MIXED and denoise < 1 else name

    def _told(self, choice: Choice, tile_px: int, castings: Mapping[str, Casting]) -> dict[str, Any]:
        """What the record says about how the picture was made."""
        others = {"detector": choice.detector, "parser": choice.parser, "recogniser": choice.recogniser}
        others["background_model"] = choice.background
        device = self._shelf.device
        described = {
            kind: self._shelf.describe(name) | told(castings, kind, device) if name and name != NO_BACKGROUND else None
            for kind, name in others.items()
        }
        return (
            self._shelf.describe(choice.restorer)
            | {"background": choice.background}
            | told(castings, "restorer", device)
            | {"tile_px": tile_px}
            | described
        )


class _Steps:
    """Tells progress, takes the time, and hands device work on; one per call."""

    def __init__(self, on_progress: OnProgress | None, compute: Compute) -> None:
        self._on_progress = on_progress
        self._stage = Stage.DETECT
        self.compute = compute
        self.castings: dict[str, Casting] = {}  #: of the networks that ran
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
