"""What went wrong on the device or in the model, and the error of this project that it becomes. Pure.

The scheduler and the worker ask; what to do about it is theirs.
"""

from __future__ import annotations

import traceback

import torch

from channelscribe.core.errors import EnvironmentFailure, Poisoned
from channelscribe.core.profile import TranscriptionProfile
from channelscribe.core.window import Window

# In the words of the CUDA runtime ("CUDA error: out of memory": pinned memory, graph instantiation), of cuBLAS, cuDNN,
# cuFFT and cuSOLVER, which allocate beside torch's allocator, of the CPU's allocator and of MPS. A cuBLAS handle that
# cannot be created "not initialized" is one for whose workspace there was no memory.
_NO_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "alloc_cpu",
    "_alloc_failed",
    "allocation_failed",
    "cublas_status_not_initialized when calling `cublascreate",
    "cudaerrormemoryallocation",
    "cuda_error_out_of_memory",
)
# After these no CUDA call of the process works any more, or no result of it can be trusted. A window is to blame for
# none of them, and none is worth a second try in this process.
_LOST = (
    "cuda error",
    "cublas_status",
    "cudnn_status",
    "cufft_",
    "cusolver_status",
    "nvml",
    "driver error",
    "triton error",
)
# These refuse one call and leave the device as it was.
_REFUSED = ("stream is capturing", "capture", "invalid argument", "invalid configuration", "not supported")
_NO_PLAN = ("execution plan", "cudnn_status_not_supported", "no available kernel", "unable to find an engine")


def is_out_of_memory(error: BaseException) -> bool:
    """The device or the host refused memory; with less at once the same work may go through."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and _says(error, _NO_MEMORY)


def is_device_lost(error: BaseException) -> bool:
    """After these no CUDA call of this process works any more."""
    if not isinstance(error, RuntimeError) or is_out_of_memory(error) or _says(error, _REFUSED + _NO_PLAN):
        return False
    accelerator_error = getattr(torch, "AcceleratorError", ())
    return isinstance(error, accelerator_error) or _says(error, _LOST)


def has_no_plan(error: BaseException) -> bool:
    """A library of the device knows no way to compute just this shape; another way may."""
    return isinstance(error, RuntimeError) and _says(error, _NO_PLAN) and not is_out_of_memory(error)


def drop_frames(error: BaseException) -> None:
    """Forgets the local variables of the frames that an error came through, which hold on to the device's memory.

    What was raised, and where, stays readable.
    """
    seen: set[int] = set()
    chain: list[BaseException | None] = [error]
    while chain:
        one = chain.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        traceback.clear_frames(one.__traceback__)
        chain += [one.__cause__, one.__context__]


def engine_failure(error: Exception) -> EnvironmentFailure:
    return EnvironmentFailure(
        f"The transcription engine stopped ({type(error).__name__}: {_first_line(error) or type(error).__name__}); "
        "look at the log, then start the run again: finished windows are kept.",
        code="engine_stopped",
    )


def no_memory(profile: TranscriptionProfile) -> EnvironmentFailure:
    return EnvironmentFailure(
        f"There is not enough memory for {profile.model} even with a single window; choose a smaller model or free "
        "memory on the device.",
        code="out_of_memory",
    )


def window_failure(window: Window, error: Exception) -> Poisoned:
    return Poisoned(
        f"The model failed on the sound from {window.to_file_s(0.0):.1f} s on ({type(error).__name__}: "
        f"{_first_line(error)}); the other videos go on.",
        code="window_failed",
    )


def _says(error: BaseException, words: tuple[str, ...]) -> bool:
    said = str(error).lower()
    return any(word in said for word in words)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "").rstrip(".")
