"""Every text in which a device refuses memory is too little memory, and none is a lost GPU or a corrupt file."""

from __future__ import annotations

import weakref

import pytest
import torch

from channelscribe.asr.recovery import until_it_fits
from channelscribe.asr.trouble import drop_frames, has_no_plan, is_device_lost, is_out_of_memory

ACCELERATOR_ERROR = getattr(torch, "AcceleratorError", RuntimeError)
MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    ACCELERATOR_ERROR("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA driver error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED"),
    RuntimeError("Triton Error [CUDA]: out of memory"),
    RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"),
    RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`"),
    RuntimeError("MPS backend out of memory (MPS allocated: 9.06 GB)"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 bytes."),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 64 bytes."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:79] data. posix_memalign failed"),
    RuntimeError("unable to mmap 64 bytes from file </torch_1>: Cannot allocate memory (12)"),
    RuntimeError("Triton Error [CUDA]: out of memory"),
    RuntimeError("CUDA driver error: CUDA_ERROR_OUT_OF_MEMORY"),
    RuntimeError("cudaMallocAsync: cudaErrorMemoryAllocation"),
    MemoryError(),
]
LOST = [
    ACCELERATOR_ERROR("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDA error: unspecified launch failure"),
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError("CUDA error: uncorrectable ECC error encountered"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx( handle, ...)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("cuBLASLt: CUBLAS_STATUS_INTERNAL_ERROR"),
    RuntimeError("cuFFT error: CUFFT_EXEC_FAILED"),
    RuntimeError("cusolver error: CUSOLVER_STATUS_EXECUTION_FAILED, when calling `cusolverDnSgetrf(...)`"),
    RuntimeError("CUDA driver error: unknown error"),
    RuntimeError("NVML_SUCCESS == r INTERNAL ASSERT FAILED at CUDACachingAllocator.cpp:1138"),
    RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"),
]
OTHERS = [
    ACCELERATOR_ERROR("CUDA error: operation not permitted when stream is capturing"),
    ACCELERATOR_ERROR("CUDA error: operation failed due to a previous error during capture"),
    RuntimeError("CUDA error: invalid argument"),
    RuntimeError("CUDA error: invalid configuration argument"),
    RuntimeError("CUDA error: operation not supported"),
    RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"),
    ValueError("CUDA error: no runtime error at all"),
    ArithmeticError("the model gave no numbers"),
]


def name(error: Exception) -> str:
    return str(error)[:60] or type(error).__name__


@pytest.mark.parametrize("error", MEMORY, ids=name)
def test_refused_memory(error: Exception) -> None:
    assert (is_out_of_memory(error), is_device_lost(error), has_no_plan(error)) == (True, False, False)


@pytest.mark.parametrize("error", LOST, ids=name)
def test_a_lost_device(error: Exception) -> None:
    assert (is_out_of_memory(error), is_device_lost(error), has_no_plan(error)) == (False, True, False)


@pytest.mark.parametrize("error", OTHERS, ids=name)
def test_what_leaves_device_and_memory_as_they_were(error: Exception) -> None:
    assert (is_out_of_memory(error), is_device_lost(error)) == (False, False)


NO_PLAN = [
    RuntimeError("cuDNN Frontend error: [cudnn_frontend] Error: No valid execution plans built."),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"),
    RuntimeError("No available kernel. Aborting execution."),
    RuntimeError("GET was unable to find an engine to execute this computation"),
]


@pytest.mark.parametrize("error", NO_PLAN, ids=name)
def test_a_shape_without_a_plan(error: Exception) -> None:
    assert (is_out_of_memory(error), is_device_lost(error), has_no_plan(error)) == (False, False, True)


@pytest.mark.parametrize("error", OTHERS, ids=name)
def test_what_leaves_device_and_memory_as_they_were_is_no_lack_of_a_plan(error: Exception) -> None:
    assert not has_no_plan(error)


class Large:
    """Stands for the slots' memory."""


def raised_beside(kept: list[weakref.ref[Large]], *, cause: bool) -> Exception:
    def inner() -> None:
        large = Large()
        kept.append(weakref.ref(large))
        raise torch.OutOfMemoryError("no")

    try:
        try:
            inner()
        except torch.OutOfMemoryError as error:
            if not cause:
                raise
            large = Large()
            kept.append(weakref.ref(large))
            raise RuntimeError("the same in other words") from error
    except Exception as error:
        return error
    raise AssertionError


@pytest.mark.parametrize("cause", [False, True])
def test_an_error_that_is_kept_keeps_no_memory_once_its_frames_are_dropped(cause: bool) -> None:
    kept: list[weakref.ref[Large]] = []
    error = raised_beside(kept, cause=cause)
    assert any(ref() is not None for ref in kept)
    drop_frames(error)
    assert all(ref() is None for ref in kept)
    assert error.__traceback__ is not None, "where it was raised can still be told"


def test_what_was_built_half_is_gone_before_less_is_built() -> None:
    kept: list[weakref.ref[Large]] = []

    def build() -> int:
        assert all(ref() is None for ref in kept)
        large = Large()
        kept.append(weakref.ref(large))
        if len(kept) < 4:
            raise torch.OutOfMemoryError("no")
        return len(kept)

    assert until_it_fits(build, lambda: None) == 4
