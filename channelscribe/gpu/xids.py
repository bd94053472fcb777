"""The driver's cries for help: XID errors of one card, collected without waiting.

Part of the reader: a sample carries those that came since the sample before. What each number means is said in NVIDIA's
"XID errors"; 79 is a card that fell off the bus.
"""

from __future__ import annotations

from typing import Any

from channelscribe.gpu.nvml import Nvml, Trouble, attempt

_AT_MOST = 32


class XidWatch:
    """Registered when opened, so errors from before are not seen. Where events are not supported it hears nothing."""

    def __init__(self, nvml: Nvml, card: Any) -> None:
        self._nvml = nvml
        self._events: Any = None
        self._wanted = attempt(nvml.constant, "nvmlEventTypeXidCriticalError")
        events = attempt(nvml.ask, "nvmlEventSetCreate")
        if isinstance(events, Trouble):
            return
        if isinstance(attempt(nvml.ask, "nvmlDeviceRegisterEvents", card, self._wanted, events), Trouble):
            attempt(nvml.ask, "nvmlEventSetFree", events)
        else:
            self._events = events

    @property
    def hears(self) -> bool:
        return self._events is not None

    def collect(self) -> tuple[int, ...]:
        """XIDs since the last call."""
        found: list[int] = []
        while self._events is not None and len(found) < _AT_MOST:
            event = attempt(self._nvml.ask, "nvmlEventSetWait_v2", self._events, 0)
            if isinstance(event, Trouble):
                break
            if event.eventType == self._wanted:
                found.append(int(event.eventData))
        return tuple(found)

    def close(self) -> None:
        if self._events is not None:
            attempt(self._nvml.ask, "nvmlEventSetFree", self._events)
            self._events = None
