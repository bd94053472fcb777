"""Streams, events and the order between them, kept as vector clocks.

Operators run at once, in the order in which they were launched; what a real device could have run in another order is
found by comparing clocks, as torch.cuda._sanitizer does, and raised as a `RaceError`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.emulators.gpu_device.capture import Capture
    from tests.emulators.gpu_device.core import DeviceCore
    from tests.emulators.gpu_device.machine import Machine
    from tests.emulators.gpu_device.memory import Block

Clock = dict["Stream", int]


class RaceError(RuntimeError):
    """Two streams use the same memory and nothing says which is first."""


class Stream:
    """`now` counts launches; `seen` is how far of every other stream this one has waited for."""

    __slots__ = ("capture", "name", "now", "seen")

    def __init__(self, name: str) -> None:
        self.name, self.now = name, 0
        self.seen: Clock = {}
        self.capture: Capture | None = None

    def clock(self) -> Clock:
        return {**self.seen, self: self.now}

    def wait_for(self, clock: Clock) -> None:
        for stream, tick in clock.items():
            if stream is not self and self.seen.get(stream, 0) < tick:
                self.seen[stream] = tick

    def launch(self, reads: Iterable[Block], writes: Iterable[Block], what: str) -> None:
        """Notes one operator and what it uses. Raises RaceError."""
        self.now += 1
        for block in reads:
            self._behind(block, block.writer, block.written, "reads", what)
            block.uses[self], block.last = self.now, what
        for block in writes:
            for stream, tick in block.uses.items():
                self._behind(block, stream, tick, "writes", what)
            block.uses[self] = block.written = self.now
            block.writer, block.last = self, what

    def _behind(self, block: Block, stream: Stream, tick: int, does: str, what: str) -> None:
        if stream is self or self.seen.get(stream, 0) >= tick:
            return
        text = (
            f"{what} on the stream {self.name} {does} {block.nbytes} bytes of {block.memory.name} that the stream "
            f"{stream.name} uses, and does not wait for it; the last use was {block.last}"
        )
        block.memory.hazards.append(text)
        raise RaceError(text)


class Here(threading.local):
    """What is current in a thread: CUDA's device, one stream a device, the capture; and whose factories are ours."""

    device: DeviceCore | None = None
    capture: Capture | None = None
    machine: Machine | None = None

    def __init__(self) -> None:
        self.streams: dict[DeviceCore, Stream] = {}


HERE = Here()
