"""What the stand-in devices of one machine share: a lock, each other, and the host that waits for them."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from tests.emulators.gpu_device.streams import HERE, Clock

if TYPE_CHECKING:
    from tests.emulators.gpu_device.core import DeviceCore


class Machine:
    """Operators of all its devices run one at a time, whatever threads launch them."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.devices: dict[int, DeviceCore] = {}

    def device(self, named: torch.device) -> DeviceCore:
        if named.index not in self.devices:
            raise torch.AcceleratorError(f"CUDA error: invalid device ordinal ({named})")
        return self.devices[named.index]

    def find(self, named: torch.device) -> DeviceCore | None:
        """None for the host."""
        return None if named.type == "cpu" else self.device(named)

    def reached(self, clock: Clock) -> None:
        """The host has seen the device come so far, and so does whatever it launches from now on."""
        for device in self.devices.values():
            for stream in device.streams:
                stream.wait_for(clock)
        for device in self.devices.values():
            device.copies.reached(clock)


class Diversion:
    """torch.tensor(..., device="meta") drops its values before a dispatch mode sees them; for CUDA it copies them.

    While any thread is within `current`, `torch.tensor` and `torch.as_tensor` are ours, for that thread only.
    """

    def __init__(self) -> None:
        self._lock, self._threads = threading.Lock(), 0
        self._plain = torch.tensor, torch.as_tensor

    def enter(self) -> None:
        with self._lock:
            self._threads += 1
            if self._threads == 1:
                self._plain = torch.tensor, torch.as_tensor
                torch.tensor, torch.as_tensor = map(_diverted, self._plain)

    def leave(self) -> None:
        with self._lock:
            self._threads -= 1
            if self._threads == 0:
                torch.tensor, torch.as_tensor = self._plain


DIVERSION = Diversion()


def _diverted(make: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(make)
    def made(*args: Any, device: Any = None, **options: Any) -> Any:
        wanted = None if device is None else torch.device(device)
        if HERE.machine is None or wanted is None or wanted.type != "meta" or wanted.index is None:
            return make(*args, device=device, **options)
        return make(*args, **options).to(wanted)

    return made
