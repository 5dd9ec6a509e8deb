"""Networks by name: chosen for the options, loaded when first used, kept."""

from __future__ import annotations

import dataclasses
import threading
from dataclasses import dataclass
from typing import Any

import torch

from pipeline.arch import networks
from pipeline.arch.networks import Network
from pipeline.errors import UnsupportedOption, WeightsMissing
from pipeline.options import RestoreOptions
from pipeline.types import Notice
from pipeline.weights import Kind, Origin, WeightEntry, WeightStore

#: What an unnamed model is, and what stands in for it where the preview pack is allowed.
DEFAULT_MODEL = "gfpgan-1.4"
PREVIEW_MODEL = "preview"

#: Detectors, best first.
DETECTORS = ("retinaface-resnet50", "retinaface-mobilenet0.25", "preview-detector")

#: Parsers that make masks, best first.
PARSERS = ("parsenet", "bisenet")

#: Recognisers that tell how alike a face still looks to its original.
RECOGNISERS = ("arcface",)

#: What ``background=auto`` takes on a GPU; on a CPU it would take minutes, so there it takes Lanczos.
AUTO_BACKGROUND = "realesrgan-x2plus"
NO_BACKGROUND = "none"

#: The upsampler that mixes with a twin, and the twin.
MIXED, MIXED_TWIN = "realesr-general-x4v3", "realesr-general-wdn-x4v3"

#: Options' own default, which asks for nothing.
DEFAULT_DENOISE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which networks one restoration uses, resolved from its options and what is here."""

    restorer: str
    detector: str | None  #: None = not needed (an aligned input)
    parser: str | None  #: None = feathered square
    recogniser: str | None  #: None = faces are not compared with their originals
    background: str  #: an upsampler or ``none``
    notices: tuple[Notice, ...] = ()


class Shelf:
    """The networks of one process: from a weight store, onto one device, each loaded once."""

    def __init__(self, weights: WeightStore, device: torch.device) -> None:
        self._weights = weights
        self.device = device
        self._networks: dict[str, Network] = {}
        # One lock for all: two networks loading at once would need twice the memory and gain nothing.
        self._lock = threading.Lock()

    def get(self, name: str) -> Network:
        """The network of this name; what runs it brings it to the device.

        Raises:
            WeightsMissing: its file is not here.
            WeightsCorrupt: the file is not what it should be.
        """
        with self._lock:
            if name not in self._networks:
                self._networks[name] = self._loaded(name, self._weights.load(name), self._hash(name))
            return self._networks[name]

    def get_mixed(self, denoise: float) -> Network:
        """realesr-general-x4v3 mixed with its twin: 1 = it alone (removes noise), 0 = the twin (keeps it).

        Source: Real-ESRGAN's deep network interpolation, ``dni_weight = [denoise, 1 - denoise]``.
        """
        key = f"{MIXED}@{denoise}"
        with self._lock:
            if key not in self._networks:
                state, twin = self._weights.load(MIXED), self._weights.load(MIXED_TWIN)
                mixed = {k: denoise * v.float() + (1 - denoise) * twin[k].float() for k, v in state.items()}
                self._networks = {k: v for k, v in self._networks.items() if not k.startswith(f"{MIXED}@")}
                identity = f"{self._hash(MIXED)} + {self._hash(MIXED_TWIN)} at {denoise}"
                self._networks[key] = self._loaded(MIXED, mixed, identity)
            return self._networks[key]

    def _loaded(self, name: str, state: networks.State, identity: str | None) -> Network:
        network = networks.build(self._weights.find(name).architecture, state, name=name)
        return dataclasses.replace(network, identity=identity)

    def _hash(self, name: str) -> str | None:
        return self._weights.find(name).sha256

    def entry(self, name: str) -> WeightEntry:
        """What is known of the file."""
        return self._weights.find(name)

    def describe(self, name: str) -> dict[str, Any]:
        """What a record says of the network: name, hash, where it comes from."""
        entry = self._weights.find(name)
        told = {"name": entry.name, "sha256": entry.sha256, "origin": entry.origin.value, "licence": entry.licence}
        return told | ({"label": entry.label} if entry.label else {})

    def available(self) -> tuple[dict[str, Any], ...]:
        """Every network that could run here now."""
        usable = [e for e in self._weights.entries() if networks.can_build(e.architecture)]
        return tuple(self.describe(e.name) | {"kind": e.kind.value} for e in usable if self._weights.is_present(e.name))

    def choose(self, options: RestoreOptions) -> Choice:
        """The networks for these options.

        Raises:
            UnsupportedOption: a name without a network here, or an option that the chosen one cannot honour.
            WeightsMissing: a file that is needed is not here; the message says how to get it.
        """
        restorer, notices = self._restorer(options.model)
        self._check_seed(restorer, options)
        background = self._background(options)
        return Choice(
            restorer=restorer,
            detector=None if options.aligned else self.detector(),
            parser=None if options.aligned else self._first_present(PARSERS),
            recogniser=self._first_present(RECOGNISERS),
            background=background,
            notices=notices,
        )

    def _restorer(self, named: str | None) -> tuple[str, tuple[Notice, ...]]:
        if named is not None:
            self._require(named, Kind.RESTORER, option="model")
            return named, ()
        fallback = self._weights.allow_preview and not self._weights.is_present(DEFAULT_MODEL)
        if fallback and self._weights.is_present(PREVIEW_MODEL):
            detail = (
                f"{DEFAULT_MODEL} is not installed, so this project's own small preview weights were used; "
                f"`photomend models fetch {DEFAULT_MODEL}` gets the released ones"
            )
            return PREVIEW_MODEL, (Notice(code="preview_weights", detail=detail),)
        self._require(DEFAULT_MODEL, Kind.RESTORER, option="model")
        return DEFAULT_MODEL, ()

    def _require(self, name: str, kind: Kind, *, option: str) -> None:
        known = {e.name: e for e in self._weights.known() if e.kind is kind}
        if name not in known:
            usable = [e.name for e in known.values() if networks.can_build(e.architecture)]
            raise UnsupportedOption(f"{option} {name!r} is unknown here; {', '.join(usable)} are known")
        if not networks.can_build(known[name].architecture):
            raise UnsupportedOption(
                f"{option} {name!r} cannot be used: this version has no {known[name].architecture} network"
            )
        self._weights.path(name)

    def _check_seed(self, restorer: str, options: RestoreOptions) -> None:
        if options.seed is not None and not networks.has_noise(self.entry(restorer).architecture):
            raise UnsupportedOption(f"seed cannot be honoured by {restorer}: it draws no noise; leave seed out")

    def detector(self) -> str:
        """The best detector that is here.

        Raises:
            WeightsMissing: none is; the message says how to get one.
        """
        found = self._first_present(DETECTORS)
        if found is None:
            raise WeightsMissing(
                f"no face detector is in {self._weights.folder}: `photomend models fetch {DETECTORS[0]}` "
                f"(or {DETECTORS[1]}, smaller and faster)"
            )
        return found

    def detector_notices(self, detector: str) -> tuple[Notice, ...]:
        """What a detection should say of its detector."""
        if self.entry(detector).origin is not Origin.PREVIEW:
            return ()
        detail = (
            "no released face detector is installed, so this project's own small preview one was used; "
            f"`photomend models fetch {DETECTORS[0]}` gets the released one"
        )
        return (Notice(code="preview_weights", detail=detail),)

    def _first_present(self, names: tuple[str, ...]) -> str | None:
        return next((name for name in names if self._weights.is_present(name)), None)

    def _background(self, options: RestoreOptions) -> str:
        background = options.background
        if background == "auto":
            ready = self.device.type != "cpu" and self._weights.is_present(AUTO_BACKGROUND)
            background = AUTO_BACKGROUND if ready else NO_BACKGROUND
        if options.denoise != DEFAULT_DENOISE and background != MIXED:
            raise UnsupportedOption(f"denoise is honoured by {MIXED} only, not by background {background}")
        if background != NO_BACKGROUND:
            self._require(background, Kind.UPSAMPLER, option="background")
        if background == MIXED and options.denoise < 1:
            self._weights.path(MIXED_TWIN)
        return background
