"""Asks CUDA itself in which order it counts the cards, in a process that ends at once.

Only for machines with unlike cards, where CUDA by default counts from its fastest on and no rule tells which that is.
Run as `python -m channelscribe.gpu.cuda_order`; the process that works on the card must not be the one that asks,
because asking starts CUDA there.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
import uuid
from typing import Any

_PATIENCE_S = 60.0


def ask_cuda() -> tuple[str, ...] | None:
    """UUIDs without their prefix, in CUDA's order under this process's environment; None when CUDA does not say."""
    command = [sys.executable, "-m", "channelscribe.gpu.cuda_order"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return tuple(said.stdout.split()) or None


def devices(cuda: Any) -> list[str]:
    """The UUIDs that a loaded CUDA driver library counts. Raises OSError with the driver's return code."""
    count, device, own = ctypes.c_int(), ctypes.c_int(), (ctypes.c_ubyte * 16)()
    get_uuid = getattr(cuda, "cuDeviceGetUuid_v2", None) or cuda.cuDeviceGetUuid
    _check(cuda.cuInit(0))
    _check(cuda.cuDeviceGetCount(ctypes.byref(count)))
    found = []
    for number in range(count.value):
        _check(cuda.cuDeviceGet(ctypes.byref(device), number))
        _check(get_uuid(ctypes.byref(own), device))
        found.append(str(uuid.UUID(bytes=bytes(own))))
    return found


def _check(code: int) -> None:
    if code:
        raise OSError(code, "the CUDA driver refused")


def main() -> int:
    try:
        library = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        sys.stdout.write("\n".join(devices(library)))
    except (OSError, AttributeError):
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
