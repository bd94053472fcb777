"""The driver's own word: an opened NVML, its answers, and what kind of trouble an answer is.

The only module that imports `pynvml` (nvidia-ml-py); cards, fields and cap ask through it and never see its exceptions.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from types import ModuleType
from typing import Any


class Kind(StrEnum):
    """What a refused question means for the one who asked."""

    ABSENT = "absent"  # no driver or no card on this machine
    UNSUPPORTED = "unsupported"  # this card or driver will never say
    REFUSED = "refused"  # this user may not
    LOST = "lost"  # the card is gone or needs a reset
    CLOSED = "closed"  # NVML was shut down under us
    QUIET = "quiet"  # nothing happened in the time given
    FAILED = "failed"  # anything else; may go well the next time


@dataclass(frozen=True, slots=True)
class Trouble:
    """One question that NVML did not answer. `text` is NVML's own word for it."""

    kind: Kind
    text: str


class NvmlError(Exception):
    """NVML said no; never leaves this room."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.text)
        self.trouble = trouble


_KINDS = {
    Kind.ABSENT: ("LIBRARY_NOT_FOUND", "DRIVER_NOT_LOADED"),
    Kind.UNSUPPORTED: (
        "NOT_SUPPORTED", "FUNCTION_NOT_FOUND", "INVALID_ARGUMENT", "ARGUMENT_VERSION_MISMATCH", "DEPRECATED",
        "NOT_FOUND", "VGPU_ECC_NOT_SUPPORTED",
    ),
    Kind.REFUSED: ("NO_PERMISSION",),
    Kind.LOST: ("GPU_IS_LOST", "RESET_REQUIRED", "GPU_NOT_FOUND"),
    Kind.CLOSED: ("UNINITIALIZED",),
    Kind.QUIET: ("TIMEOUT",),
}  # fmt: skip


class Nvml:
    """NVML, opened. Every question goes through `ask`, so that only one kind of exception leaves.

    Raises NvmlError when there is no driver (kind ABSENT) or it does not answer.
    """

    def __init__(self) -> None:
        self.api = _library()
        self._kinds = _codes(self.api)
        # Older drivers than the package: no NVMLError, but an exception of its own kind.
        self._mismatch: Any = getattr(self.api, "NVMLLibraryMismatchError", ())
        self.ask("nvmlInit")
        self._open = True

    def ask(self, function: str, *arguments: Any) -> Any:
        """The function's answer. Raises NvmlError."""
        call = self.constant(function)
        try:
            return call(*arguments)
        except self.api.NVMLError as said:
            raise NvmlError(self.trouble(said.value)) from None
        except self._mismatch as said:
            raise NvmlError(Trouble(Kind.UNSUPPORTED, str(said))) from None
        except (ctypes.ArgumentError, TypeError, ValueError, OSError) as said:
            raise NvmlError(Trouble(Kind.FAILED, f"{function}: {said}")) from None

    def constant(self, name: str) -> Any:
        """A name of nvidia-ml-py. Raises NvmlError when this version of it has none of that name."""
        try:
            return getattr(self.api, name)
        except AttributeError:
            raise NvmlError(Trouble(Kind.UNSUPPORTED, f"nvidia-ml-py has no {name}")) from None

    def trouble(self, code: int) -> Trouble:
        """What a return code other than success means."""
        return Trouble(self._kinds.get(code, Kind.FAILED), str(self.api.NVMLError(code)))

    def close(self) -> None:
        """Ends our use of NVML, once; other users in this process keep theirs (it counts)."""
        if self._open:
            attempt(self.ask, "nvmlShutdown")
        self._open = False

    def is_open(self) -> bool:
        """False also where another user in this process has closed NVML once too often."""
        answer = attempt(self.ask, "nvmlSystemGetDriverVersion")
        return self._open and not (isinstance(answer, Trouble) and answer.kind is Kind.CLOSED)

    def driver(self) -> str:
        version = attempt(self.ask, "nvmlSystemGetDriverVersion")
        return "" if isinstance(version, Trouble) else text(version)


def attempt(question: Callable[..., Any], *arguments: Any) -> Any:
    """The answer, or the Trouble instead of it."""
    try:
        return question(*arguments)
    except NvmlError as error:
        return error.trouble


def text(value: bytes | str) -> str:
    """Older nvidia-ml-py gives bytes where newer gives text."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _library() -> ModuleType:
    try:
        import pynvml
    except ImportError:
        raise NvmlError(Trouble(Kind.ABSENT, "nvidia-ml-py is not installed")) from None
    library: ModuleType = pynvml
    return library


def _codes(api: ModuleType) -> dict[int, Kind]:
    named = ((f"NVML_ERROR_{name}", kind) for kind, names in _KINDS.items() for name in names)
    return {getattr(api, name): kind for name, kind in named if hasattr(api, name)}
