"""Runs one function over fixed tensors again and again: as a captured graph on a GPU, as it is everywhere else.

The decode step and the encoder are called through it. What is captured is exactly the function that runs without a GPU;
only the launching differs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

from channelscribe.asr.accelerator import Accelerator
from channelscribe.asr.trouble import is_device_lost, is_out_of_memory

log = logging.getLogger(__name__)
Key = TypeVar("Key", bound=Hashable)


class Capture(Protocol):
    """Records what `run` launches, without running it, and gives what launches it again."""

    def __call__(self, run: Callable[[], None]) -> Callable[[], None]: ...


def capture_of(accelerator: Accelerator) -> Capture | None:
    return accelerator.capture if accelerator.captures else None


class Replayer(Generic[Key]):
    """Calls `function(key)`; with a capture once for real, then replayed. Keys differ where shapes differ.

    What was captured lives as long as the replayer. A function that cannot be captured is called as it is from then
    on; the log says so. Raises what the function raises, and what the device refuses: memory, or everything.
    Not thread-safe.
    """

    def __init__(self, function: Callable[[Key], None], capture: Capture | None) -> None:
        self._function, self._capture = function, capture
        self._replays: dict[Key, Callable[[], None]] = {}

    @property
    def captured(self) -> int:
        """Graphs so far."""
        return len(self._replays)

    def __call__(self, key: Key) -> None:
        replay = self._replays.get(key)
        if replay is not None:
            replay()
            return
        self._function(key)  # a real step, and the warm-up that a capture needs
        if self._capture is not None:
            self._record(key, self._capture)

    def _record(self, key: Key, capture: Capture) -> None:
        try:
            self._replays[key] = capture(lambda: self._function(key))
        except RuntimeError as error:
            if is_out_of_memory(error) or is_device_lost(error):
                raise
            self._capture = None
            self._replays.clear()
            log.warning("steps are launched one by one, because they could not be captured: %s", error)
