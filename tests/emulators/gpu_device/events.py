"""Marks in a stream, as `Accelerator.record` gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.emulators.gpu_device.streams import Clock

if TYPE_CHECKING:
    from tests.emulators.gpu_device.core import DeviceCore


class Mark:
    """Passed once it was waited for, or asked for often enough."""

    def __init__(self, home: DeviceCore, clock: Clock) -> None:
        self._home, self.clock, self._left = home, clock, home.queries_until_done
        self.captured = home.stream().capture is not None

    def query(self) -> bool:
        with self._home.machine.lock:
            self._home.enter_call("query", forbidden="a query of an event")
            self._left -= 1
            if self._left < 0:
                self._home.reach(self.clock)
            return self._left < 0

    def synchronize(self) -> None:
        with self._home.machine.lock:
            self._home.enter_call("synchronize", forbidden="a wait for an event")
            self._home.wait("event", self.clock)
            self._left = 0
