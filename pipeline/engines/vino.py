"""OpenVINO: networks exported from torch once and compiled for this CPU. The only module that knows the library.

Measured on two cores of Zen 4 (avx512_bf16): GFPGAN 0.68 s a face in bfloat16 where torch takes 0.90, and 1.38 in
float32 where torch takes 1.53; see ``choice.PREFERS_TORCH`` for the networks that it does not make faster.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.arch.networks import Network, Runs
from pipeline.compat import foreign
from pipeline.device import threads
from pipeline.engines.exported import Exports, key
from pipeline.engines.port import EngineName, EngineUnfit
from pipeline.engines.verdicts import machine
from pipeline.precision import Precision

#: How OpenVINO calls the precisions that it is asked for.
HINTS = {Precision.FLOAT32: "f32", Precision.BFLOAT16: "bf16"}

#: Part of the cache's key: raised whenever the networks' code changes what is exported.
EXPORT_VERSION = 2

#: Side (px) of the tile that an upsampler is exported with; it takes any other as well.
EXPORT_TILE_PX = 64

#: How many kernels a network keeps to which every picture's size is new. OpenVINO by itself keeps 5,000: with the
#: ResNet-50 RetinaFace 100 pictures of as many sizes took 370 MB that stayed.
KEPT_KERNELS = 256

#: Characters of OpenVINO's own reasons that are told; they run to pages.
SHOWN_REASON = 300

#: An exported network's files, and a compiled one's.
MODEL, MODEL_WEIGHTS, COMPILED = "model.xml", "model.bin", "compiled.blob"


class OpenVino:
    """The ``Engine`` over OpenVINO on the CPU. One inference at a time, on the thread that asks, with all its cores."""

    name = EngineName.OPENVINO
    takes_noise = False  # noise maps as inputs cost a tenth of the speed; a seeded restoration runs by torch

    def __init__(self, device: torch.device, *, cache: Path | None) -> None:
        """``cache`` is the folder in which exported networks are kept; None = they are exported in each process."""
        self._device = device
        self._exports = Exports.under(cache) if cache else None
        self._core: Any = None

    @property
    def version(self) -> str:
        try:
            return importlib.metadata.version("openvino")
        except importlib.metadata.PackageNotFoundError:
            return ""

    def missing(self) -> str | None:
        if self._device.type != "cpu":
            return "it is used on CPUs only"
        if importlib.util.find_spec("openvino") is None:
            return "the openvino package is not installed: pip install 'photomend[openvino]'"
        return None

    def load(self, network: Network, precision: Precision) -> Runs:
        """The network, compiled.

        Raises:
            EngineUnfit: no weights file stands behind it, or OpenVINO does not know one of its operations.
        """
        if network.identity is None:
            raise EngineUnfit("a network without a weights file is not exported")
        if precision not in HINTS:
            raise EngineUnfit(f"{precision} is not one of this engine's precisions")
        try:
            compiled = self._compiled(network, network.identity, self._settings(network, precision))
            return _Compiled(self._openvino(), compiled, takes_any_size=network.takes_any_size)
        except _failures() as err:
            raise EngineUnfit(f"OpenVINO cannot run {network.architecture}: {_one_line(err)}") from err

    @staticmethod
    def _settings(network: Network, precision: Precision) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            "INFERENCE_NUM_THREADS": threads(),
            # One request at a time: a second stream would share the cores and gain nothing.
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            # Left to itself it ties each thread to a core, in every process to the same ones: where anything else
            # runs, a job's encoder or another process, one then has half a core and the others wait for it.
            "ENABLE_CPU_PINNING": False,
        }
        if network.sizes_vary:
            settings["CPU_RUNTIME_CACHE_CAPACITY"] = KEPT_KERNELS
        return settings

    def _library(self) -> Any:
        if self._core is None:
            self._core = self._openvino().Core()
        return self._core

    @staticmethod
    def _openvino() -> Any:
        import openvino  # noqa: PLC0415  (an extra, and half a second)

        return openvino

    def _compiled(self, network: Network, identity: str, settings: dict[str, Any]) -> Any:
        """The compiled network; with a cache, from what an earlier process compiled on a machine like this."""
        words = {
            "weights": identity,
            "architecture": network.architecture,
            "input": [network.input_px, network.takes_any_size],
            "torch": torch.__version__,
            "openvino": self.version,
            "export": EXPORT_VERSION,
        }
        exported = self._exported(network, words)
        if exported is None or self._exports is None:
            return self._compile(_export(network), network, settings)
        # Without its weights, which are those of the exported network: they are mapped, and shared between processes.
        settings |= {"CACHE_MODE": "OPTIMIZE_SIZE"}
        entry = self._exports.find(name := key(words | machine(self._device) | settings))
        if entry is not None:
            try:
                stored = io.BytesIO((entry / COMPILED).read_bytes())
                weights = {"WEIGHTS_PATH": str(exported / MODEL_WEIGHTS)}
                return self._library().import_model(stored, "CPU", settings | weights)
            except RuntimeError:  # one that OpenVINO does not take is compiled again
                self._exports.discard(name)
        compiled = self._compile(self._library().read_model(exported / MODEL), network, settings)
        self._exports.add(name, lambda place: _save_compiled(compiled, place))
        return compiled

    def _compile(self, model: Any, network: Network, settings: Mapping[str, Any]) -> Any:
        side = -1 if network.takes_any_size else network.input_px
        model.reshape([1, 3, side, side])
        return self._library().compile_model(model, "CPU", settings)

    def _exported(self, network: Network, words: Mapping[str, object]) -> Path | None:
        """The exported network's folder; None = there is no cache, or it cannot be kept there."""
        if self._exports is None:
            return None
        found = self._exports.find(name := key(words))
        return found or self._exports.add(name, lambda place: _save(_export(network), place))


class _Compiled:
    def __init__(self, library: Any, compiled: Any, *, takes_any_size: bool) -> None:
        self._library = library
        self._request = compiled.create_infer_request()
        self._nothing = library.Tensor(np.zeros((1, 3, 1, 1), np.float32)) if takes_any_size else None

    def __call__(self, batch: Tensor, **_: Any) -> Tensor:
        # One by one: a batch gains nothing on a CPU, and a picture's result must not depend on its neighbours.
        made = [self._infer(one) for one in np.ascontiguousarray(batch.numpy())]
        return torch.from_numpy(np.stack(made))

    def _infer(self, one: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        try:
            self._request.set_input_tensor(self._library.Tensor(one[None], shared_memory=True))
            self._request.infer()
            return np.array(self._request.get_output_tensor(0).data[0], np.float32)
        finally:
            # A request keeps what it was given until it is given something else: 50 MB of a scan, until the next one.
            if self._nothing is not None:
                self._request.set_input_tensor(self._nothing)


def _export(network: Network) -> Any:
    # foreign(): tracing warns of shapes that it takes for constants, which they are here.
    with foreign(), torch.no_grad():
        # Not openvino.convert_model, which does the same, is slower and reports each use to its makers.
        from openvino.frontend import FrontEndManager  # noqa: PLC0415  (an extra)
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder  # noqa: PLC0415  (an extra)
        from openvino.passes import ConstantFolding, Manager  # noqa: PLC0415  (an extra)

        side = EXPORT_TILE_PX if network.takes_any_size else network.input_px
        example = torch.zeros(1, 3, side, side)
        traced = torch.jit.trace(network.module, example, check_trace=False)
        front_end = FrontEndManager().load_by_framework("pytorch")
        # Kept by name: OpenVINO calls into it, and does not keep it alive.
        decoder = TorchScriptPythonDecoder(traced, example_input=example)
        model = front_end.convert(front_end.load(decoder))
        # What is made of weights alone is made once, here, and not at each compilation.
        passes = Manager()
        passes.register_pass(ConstantFolding())
        passes.run_passes(model)
        return model


def _save(model: Any, place: Path) -> None:
    import openvino  # noqa: PLC0415  (an extra)

    # As float32, whatever it is compiled to: one file serves every precision.
    openvino.save_model(model, place / MODEL, compress_to_fp16=False)


def _save_compiled(compiled: Any, place: Path) -> None:
    (place / COMPILED).write_bytes(compiled.export_model().getbuffer())


def _failures() -> tuple[type[Exception], ...]:
    """What compiling raises, and what tracing and the export raise besides."""
    from openvino import frontend  # noqa: PLC0415  (an extra)

    own = frontend.GeneralFailure, frontend.NotImplementedFailure, frontend.OpConversionFailure
    return RuntimeError, ValueError, TypeError, frontend.OpValidationFailure, *own


def _one_line(err: Exception) -> str:
    return " ".join(str(err).split())[:SHOWN_REASON] or type(err).__name__
