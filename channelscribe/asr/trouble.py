"""What went wrong on the device or in the model, and the error of this house that it becomes. Pure.

The scheduler and the worker ask; what to do about it is theirs.
"""

from __future__ import annotations

import torch

from channelscribe.core.errors import EnvironmentFailure, Poisoned
from channelscribe.core.profile import TranscriptionProfile
from channelscribe.core.window import Window

_NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory", "alloc_cpu")


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA has a class for it; CPU and MPS say it in words."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _NO_MEMORY)


def is_device_lost(error: Exception) -> bool:
    """After these no CUDA call of this process works any more."""
    lost = isinstance(error, torch.AcceleratorError) if hasattr(torch, "AcceleratorError") else False
    return lost or (isinstance(error, RuntimeError) and "CUDA error" in str(error))


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


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "").rstrip(".")
