"""Where networks run, how exactly, and what happens when memory is short."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from pipeline.errors import OutOfMemory, UnsupportedOption

T = TypeVar("T")

#: How torch's CPU allocator, CUDA and its libraries, and OpenVINO word that memory ran out, in a plain RuntimeError.
ALLOCATION_FAILED = ("can't allocate memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED", "bad_alloc")
#: How torch words the failures of CUDA and its libraries.
CUDA_FAILED = (
    "CUDA error",
    "CUDA driver error",
    "cuDNN error",
    "CUDNN_STATUS_",
    "CUBLAS_STATUS_",
    "CUFFT_",
    "cusolver error",
)


def pick(name: str) -> torch.device:
    """The device of this name; ``auto`` = the first GPU, else the CPU.

    Raises:
        UnsupportedOption: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as err:
        raise UnsupportedOption(f"device {name!r} is not one that torch knows; use auto, cpu or cuda") from err
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UnsupportedOption(f"device {name} was asked for, but torch sees no GPU here")
    return device


def threads() -> int:
    """How many CPU cores this process has for itself: torch's threads, which ``OMP_NUM_THREADS`` sets."""
    return torch.get_num_threads()


def place(module: nn.Module, device: torch.device) -> nn.Module:
    """The network on the device, its convolution kernels in channels-last order (1.1 to 1.5 times faster on CPUs)."""
    module = module.to(device)
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        elif parameter.ndim == 5:
            # StyleGAN2's kernels carry a leading 1.
            parameter.data = parameter.data[0].contiguous(memory_format=torch.channels_last)[None]
    return module


@contextmanager
def exact() -> Iterator[None]:
    """Float32 without gradients, TensorFloat-32 or algorithms that depend on timing: the same sums every time."""
    with (
        torch.inference_mode(),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
    ):
        yield


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch raised this because memory ran out, on a GPU or the CPU."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(word in str(error) for word in ALLOCATION_FAILED)


def is_lost(error: BaseException) -> bool:
    """Whether this error stays: CUDA answers every later call in this process with it, whatever the call.

    Any error of CUDA's or its libraries' but want of memory is taken for one: the CUDA runtime's documentation asks for
    the process to be ended and started anew after them.
    """
    if not isinstance(error, RuntimeError) or is_out_of_memory(error):
        return False
    return isinstance(error, torch.AcceleratorError) or any(word in str(error) for word in CUDA_FAILED)


def allocated_share(name: str) -> float:
    """How much of the GPU of this name this process' tensors take, 0 to 1; 0 on the CPU."""
    device = pick(name)
    if device.type != "cuda":
        return 0.0
    return torch.cuda.memory_allocated(device) / torch.cuda.get_device_properties(device).total_memory


def describe(name: str) -> dict[str, str | int]:
    """What the device of this name is: its name, and of a GPU (or slice) its memory (MB) and compute capability."""
    device = pick(name)
    if device.type != "cuda":
        return {"name": "cpu"}
    has = torch.cuda.get_device_properties(device)
    return {"name": has.name, "memory_mb": has.total_memory // 10**6, "capability": f"{has.major}.{has.minor}"}


@dataclass(slots=True)
class Shortages:
    """How often memory did not suffice. Counted by the one thread of a process that computes."""

    count: int = 0


#: Of this process, since it began.
SHORTAGES = Shortages()


def allocated_bytes(name: str) -> int:
    """How much of the GPU of this name this process' tensors take; 0 on the CPU."""
    device = pick(name)
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def shrink_on_oom(work: Callable[[int], T], *, size: int, smallest: int, what: str) -> tuple[T, int]:
    """``work(size)``, with size halved while memory does not suffice; the result and the size that went through.

    Raises:
        OutOfMemory: ``smallest`` is still too much.
    """
    while True:
        try:
            return work(size), size
        except RuntimeError as err:
            if not is_out_of_memory(err):
                raise
            SHORTAGES.count += 1
            if size <= smallest:
                raise OutOfMemory(f"{what} at size {size} does not fit into memory") from err
        # After the except block, so that the failed attempt's tensors are gone before the next one.
        _release_cache()
        size = max(smallest, size // 2)


def _release_cache() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
