"""Which of torch's errors are want of memory, which stay, and which are neither."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from pipeline.device import allocated_share, describe, is_lost, is_out_of_memory

MEMORY = [
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    torch.AcceleratorError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: you tried"),
]
LOST = [
    torch.AcceleratorError("CUDA error: device-side assert triggered"),
    torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDA error: unspecified launch failure"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
    RuntimeError("CUDA driver error: unknown error"),
]
NEITHER = [
    RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"),
    ValueError("CUDA error: only words"),
    MemoryError(),
]


@pytest.mark.parametrize("error", MEMORY, ids=str)
def test_want_of_memory_is_told_by_a_gpu_its_libraries_and_the_cpu_and_passes(error: RuntimeError) -> None:
    assert is_out_of_memory(error)
    assert not is_lost(error)


@pytest.mark.parametrize("error", LOST, ids=str)
def test_any_other_error_of_cuda_stays(error: RuntimeError) -> None:
    assert is_lost(error)
    assert not is_out_of_memory(error)


@pytest.mark.parametrize("error", NEITHER, ids=repr)
def test_other_errors_are_the_jobs_own(error: BaseException) -> None:
    assert not is_lost(error)


def test_the_cpu_has_no_memory_of_its_own() -> None:
    assert allocated_share("cpu") == 0.0


def test_a_device_says_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert describe("cpu") == {"name": "cpu"}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    has = SimpleNamespace(name="NVIDIA A100-SXM4-40GB MIG 1g.5gb", total_memory=4_986_000_000, major=8, minor=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: has)
    assert describe("cuda:0") == {"name": has.name, "memory_mb": 4986, "capability": "8.0"}
