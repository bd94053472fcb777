"""Errors on order: the texts that torch really gives, and a list of the calls at which they are raised.

Every call of the stand-in asks `Faults.strike` first; tests order errors with `GpuStandIn.fail`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch

Call = Literal[
    "operator", "allocation", "upload", "download", "read", "record", "wait_for", "hand_over", "query", "synchronize",
    "capture", "replay", "host_tensor",
]  # fmt: skip
MakeError = Callable[[], Exception]

_HINT = (
    "\nCUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be "
    "incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"
    "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"
)


def _cuda(text: str, code: int) -> Exception:
    """As C++ makes it: the code of `cudaError_t` stands in an attribute."""
    error = torch.AcceleratorError(f"CUDA error: {text}{_HINT}")
    error.error_code = code  # type: ignore[attr-defined]
    return error


def out_of_memory(wanted: int = 20 << 20, capacity: int = 24 << 30, free: int = 10 << 20, index: int = 0) -> Exception:
    """What the caching allocator raises."""
    gib = 1 << 30
    used = (capacity - free) / gib
    return torch.OutOfMemoryError(
        f"CUDA out of memory. Tried to allocate {wanted / (1 << 20):.2f} MiB. GPU {index} has a total capacity of "
        f"{capacity / gib:.2f} GiB of which {free / (1 << 20):.2f} MiB is free. Including non-PyTorch memory, this "
        f"process has {used:.2f} GiB memory in use. Of the allocated memory {used:.2f} GiB is allocated by PyTorch, "
        "and 0 bytes is reserved by PyTorch but unallocated. If reserved but unallocated memory is large try setting "
        "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation."
    )


def cuda_out_of_memory() -> Exception:
    """What the driver says when pinned memory or a graph's instance does not fit."""
    return _cuda("out of memory", 2)


def illegal_access() -> Exception:
    return _cuda("an illegal memory access was encountered", 700)


def capturing() -> Exception:
    return _cuda("operation not permitted when stream is capturing", 900)


def capture_invalidated() -> Exception:
    return _cuda("operation failed due to a previous error during capture", 901)


def cublas_out_of_memory() -> Exception:
    return RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


def cudnn_out_of_memory() -> Exception:
    return RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")


def cufft_out_of_memory() -> Exception:
    return RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED")


@dataclass(eq=False)
class _Fault:
    at: Call
    error: MakeError
    nth: int
    times: int
    operator: str | None
    late: bool
    met: int = 0

    def hits(self, at: Call, operator: str) -> bool:
        if self.at != at or (self.operator is not None and self.operator not in operator):
            return False
        self.met += 1
        return self.nth <= self.met < self.nth + self.times

    @property
    def over(self) -> bool:
        return self.met >= self.nth + self.times - 1


@dataclass
class Faults:
    """Ordered errors of one device. `late` is one that the next synchronisation meets; `lost` sticks from then on.

    While `quiet`, `strike` need not be called."""

    quiet: bool = True
    ordered: list[_Fault] = field(default_factory=list)
    late: MakeError | None = None
    lost: MakeError | None = None

    def order(self, at: Call, error: MakeError, *, nth: int, times: int, operator: str | None, late: bool) -> None:
        self.ordered.append(_Fault(at, error, nth, times, operator, late))
        self.quiet = False

    def check(self) -> None:
        if self.lost is not None:
            raise self.lost()

    def strike(self, at: Call, operator: str = "") -> None:
        self.check()
        if not self.ordered:
            return
        for fault in list(self.ordered):
            hit = fault.hits(at, operator)
            if fault.over:
                self.ordered.remove(fault)
                self.quiet = not self.ordered
            if hit and fault.late:
                self.late = fault.error
            elif hit:
                raise fault.error()

    def surface(self) -> None:
        """A synchronisation: the error of a kernel that ran meanwhile is met here, and by every later call."""
        if self.late is not None:
            self.lost, self.late, self.quiet = self.late, None, False
        self.check()
