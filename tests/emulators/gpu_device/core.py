"""What a stand-in device is made of, and what its parts ask of it; `device` adds the protocol."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import _pop_mode, _push_mode

from tests.emulators.gpu_device import faults
from tests.emulators.gpu_device.copies import ChangedInFlight, Copies, HostMemory
from tests.emulators.gpu_device.faults import Call, Faults
from tests.emulators.gpu_device.machine import DIVERSION, Machine
from tests.emulators.gpu_device.memory import Memory, Pool
from tests.emulators.gpu_device.streams import HERE, Clock, Stream
from tests.emulators.gpu_device.tensor import Factories
from tests.emulators.gpu_device.waits import HostWait, host_wait

Shape = tuple[int, ...]


class DeviceCore:
    """Streams, memory, copies, faults and counts of one device. Its internals call the methods below."""

    def __init__(self, index: int, machine: Machine, capacity: int, others_bytes: int, queries_until_done: int) -> None:
        self.machine, self.device = machine, torch.device("meta", index)
        self.queries_until_done, self.varied = queries_until_done, 0
        self.streams = tuple(Stream(f"{index}:{name}") for name in ("default", "current", "background"))
        self.faults, self.copies, self.host_memory = Faults(), Copies(), HostMemory()
        self.allocator = Memory(index, capacity, others_bytes)
        self.hazards, self.waits = self.allocator.hazards, list[HostWait]()
        self.launches: Counter[tuple[str, str]] = Counter()
        self.executed: Counter[tuple[str, str]] = Counter()
        self.attention_shapes: Counter[tuple[Shape, Shape]] = Counter()
        self._pools: dict[Stream, weakref.ref[Pool]] = {}

    def stream(self) -> Stream:
        """This thread's current one of this device; the default stream where it entered none."""
        return HERE.streams.get(self, self.streams[0])

    def enter_call(self, call: Call, forbidden: str = "") -> None:
        """Ordered errors, and what is not permitted while this thread captures."""
        self.faults.strike(call)
        if forbidden and HERE.capture is not None:
            self.forbid(forbidden)

    def forbid(self, what: str) -> None:
        """The capture fails, whether or not `run` takes notice."""
        assert HERE.capture is not None
        HERE.capture.broken = True
        error = faults.capturing()
        error.add_note(f"the stand-in: {what}")
        raise error

    def wait(self, what: str, clock: Clock | None = None) -> None:
        """The host waits, for the current stream if no clock is given, and is told what went wrong meanwhile."""
        if HERE.capture is not None:
            self.forbid(what)
        self.waits.append(host_wait(what))
        self.reach(self.stream().clock() if clock is None else clock)

    def reach(self, clock: Clock) -> None:
        self.faults.surface()
        try:
            self.machine.reached(clock)
        except ChangedInFlight as error:
            self.hazards.append(str(error))
            raise

    def is_current(self) -> bool:
        """Whether this is the thread's device; CUDA's is the first where a thread chose none."""
        return self is HERE.device if HERE.device is not None else self.device.index == 0

    def pool(self, stream: Stream) -> Pool:
        """The graphs of a stream share one as long as one of them lives."""
        kept = self._pools.get(stream)
        pool = None if kept is None else kept()
        if pool is None:
            pool = Pool(self)
            self._pools[stream] = weakref.ref(pool)
        return pool

    @contextmanager
    def entered(self, stream: Stream) -> Iterator[None]:
        device, machine, before = HERE.device, HERE.machine, HERE.streams.get(self)
        HERE.device, HERE.machine, HERE.streams[self] = self, self.machine, stream
        if machine is not self.machine:
            DIVERSION.enter()
            _push_mode(Factories(self.machine))
        try:
            yield
        finally:
            if machine is not self.machine:
                _pop_mode()
                DIVERSION.leave()
            HERE.device, HERE.machine = device, machine
            if before is None:
                del HERE.streams[self]
            else:
                HERE.streams[self] = before
