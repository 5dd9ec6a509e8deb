"""Makes facexlib, basicsr, realesrgan (and gfpgan, for parity tests) importable on today's torch and torchvision.

What breaks, measured on torch 2.11 to 2.13, torchvision 0.26 to 0.28, numpy 2, OpenCV 5:

* torchvision beside a torch that its compiled operators were not built for (a CPU torch with the CUDA torchvision
  that a plain ``pip install`` brings) refuses to import: "operator torchvision::nms does not exist". The two
  operators that its own start-up code names are declared here, and ``torchvision.ops.nms``, which facexlib's
  detector calls, gets an equal in plain torch.
* basicsr 1.4.2 imports ``torchvision.transforms.functional_tensor``, which is gone since torchvision 0.17.
* importing and building their networks warns about names that scipy and torchvision deprecated.
* torchvision imports torch's compiler for one function that nobody here calls: 800 modules, a third of the time that
  torch and torchvision take to start. It is told, while it is imported, that nothing can be compiled.

Nothing happens at import: ``prepare`` does it once, ``foreign`` does it around an import or a constructor.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

#: The module that basicsr 1.4.2 imports and torchvision no longer has.
_REMOVED = "torchvision.transforms.functional_tensor"

#: torch's compiler, of which torchvision wants ``utils.is_compile_supported`` when it is imported.
_COMPILER = "torch._dynamo"

#: torchvision's operators whose declarations its own import needs.
_DECLARED_AT_IMPORT = ("nms", "qnms")

_lock = threading.RLock()
#: Declarations live as long as the library object that made them.
_libraries: list[torch.library.Library] = []
_prepared = threading.Event()


def prepare() -> None:
    """Put the shims in place; idempotent, safe from several threads, does nothing where nothing is broken."""
    with _lock:
        if _prepared.is_set():
            return
        compiled = _load_compiled_operators()
        if not compiled:
            _declare_operators()
        with _without_compiler():
            _provide_removed_module()
        if not compiled:
            _replace_nms()
        _prepared.set()


@contextmanager
def foreign() -> Iterator[None]:
    """Shims in place and the packages' deprecation warnings silenced, around their import or construction.

    They warn about themselves, to their authors; our users and our tests can do nothing about it.
    """
    prepare()
    # catch_warnings is not thread-safe, hence the lock.
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _load_compiled_operators() -> bool:
    """Whether torchvision's compiled operators fit this torch. Loads them, as torchvision's import would."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    libraries = sorted(Path(spec.origin).parent.glob("_C*.so"))
    try:
        for library in libraries[:1]:
            torch.ops.load_library(str(library))
    except OSError:
        return False
    return _has_operator("nms")


@contextmanager
def _without_compiler() -> Iterator[None]:
    """What is imported inside finds an empty torch compiler, unless the real one is there; afterwards there is none."""
    if _COMPILER in sys.modules:
        yield
        return
    package, utils = types.ModuleType(_COMPILER), types.ModuleType(f"{_COMPILER}.utils")
    utils.is_compile_supported = lambda _device_type: False  # type: ignore[attr-defined]
    package.__path__ = []
    package.utils = utils  # type: ignore[attr-defined]
    standing_in = {_COMPILER: package, f"{_COMPILER}.utils": utils}
    sys.modules.update(standing_in)
    try:
        yield
    finally:
        for name, module in standing_in.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


def _has_operator(name: str) -> bool:
    return hasattr(torch.ops.torchvision, name)


def _declare_operators() -> None:
    missing = [name for name in _DECLARED_AT_IMPORT if not _has_operator(name)]
    if not missing:
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in missing:
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _libraries.append(library)


def _provide_removed_module() -> None:
    from torchvision.transforms import functional  # noqa: PLC0415  (only after the operators are declared)

    if importlib.util.find_spec(_REMOVED) is None:
        module = types.ModuleType(_REMOVED, "Stands in for a module that torchvision removed.")
        module.rgb_to_grayscale = functional.rgb_to_grayscale  # type: ignore[attr-defined]
        sys.modules[_REMOVED] = module


def _replace_nms() -> None:
    import torchvision.ops  # noqa: PLC0415  (only after the operators are declared)

    torchvision.ops.nms = nms


def nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """The indices of boxes that no better box overlaps by more than ``iou_threshold``, best first.

    Convention: ``boxes`` (N, 4) x0, y0, x1, y1; ``scores`` (N,); the result int64, on the boxes' device.
    The same answers as ``torchvision.ops.nms``, without its compiled operators.
    """
    order = torch.argsort(scores, descending=True, stable=True)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    keep: list[torch.Tensor] = []
    while order.numel() > 0:
        best, rest = order[0], order[1:]
        keep.append(best)
        low = torch.maximum(boxes[best, :2], boxes[rest, :2])
        high = torch.minimum(boxes[best, 2:], boxes[rest, 2:])
        overlap = (high - low).clamp(min=0).prod(dim=1)
        order = rest[overlap <= iou_threshold * (areas[best] + areas[rest] - overlap)]
    return torch.stack(keep) if keep else torch.empty(0, dtype=torch.int64, device=boxes.device)
