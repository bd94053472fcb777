"""A device's memory: blocks that are counted while a tensor uses them, a capacity, and the pool of captured graphs.

Sizes are rounded up to 512 bytes, the grain of torch's caching allocator (c10/cuda/CUDACachingAllocator.cpp,
kMinBlockSize). `reserved` is the most that was allocated since the cache was last given back.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from channelscribe.asr.accelerator import DeviceMemory
from tests.emulators.gpu_device import faults
from tests.emulators.gpu_device.streams import Clock, Stream

if TYPE_CHECKING:
    from tests.emulators.gpu_device.core import DeviceCore

_GRAIN = 512


class Memory:
    """`others_bytes` are those of other processes. Freed blocks are taken off at the next look, from any thread."""

    def __init__(self, index: int, capacity: int, others_bytes: int) -> None:
        self.index, self.capacity, self.others_bytes = index, capacity, others_bytes
        self.name = f"device {index}"
        self.hazards: list[str] = []
        self._freed: deque[int] = deque()
        self._allocated = self._reserved = self._peak_allocated = self._peak_reserved = 0

    @property
    def allocated(self) -> int:
        while self._freed:
            self._allocated -= self._freed.popleft()
        return self._allocated

    def take(self, nbytes: int) -> None:
        """Raises torch.OutOfMemoryError."""
        allocated, most = self.allocated + nbytes, self.capacity - self.others_bytes
        if allocated > most:
            raise faults.out_of_memory(nbytes, self.capacity, max(0, most - self.allocated), self.index)
        self._allocated = allocated
        self._peak_allocated = max(self._peak_allocated, allocated)
        self._reserved = max(self._reserved, allocated)
        self._peak_reserved = max(self._peak_reserved, self._reserved)

    def give(self, nbytes: int) -> None:
        self._freed.append(nbytes)

    def release(self) -> None:
        self._reserved = self.allocated

    def report(self) -> DeviceMemory:
        return DeviceMemory(
            free=max(0, self.capacity - self.others_bytes - self._reserved),
            total=self.capacity,
            allocated=self.allocated,
            reserved=self._reserved,
            peak_allocated=self._peak_allocated,
            peak_reserved=self._peak_reserved,
        )


class Block:
    """One allocation, alive as long as a tensor looks at it. `key` is its storage's; `uses` the last of each stream."""

    __slots__ = (
        "__weakref__", "handed", "home", "key", "last", "memory", "nbytes", "pool", "stream", "uses", "writer",
        "written",
    )  # fmt: skip

    def __init__(self, inner: Tensor, home: DeviceCore, stream: Stream, pool: Pool | None = None) -> None:
        storage = inner.untyped_storage()
        self.key: int = storage._cdata
        self.nbytes = rounded(storage.nbytes())
        self.home, self.memory, self.stream = home, home.allocator, stream
        if pool is None:
            if not home.faults.quiet:
                home.faults.strike("allocation")
            home.allocator.take(self.nbytes)
        self.pool = None if pool is None else (pool, storage)
        self.writer, self.written = stream, stream.now
        self.uses: Clock = {stream: stream.now}
        self.last = "nothing"
        self.handed: tuple[Stream, ...] = ()

    def __del__(self) -> None:
        if not hasattr(self, "handed"):
            return
        for stream, tick in self.uses.items() if len(self.uses) > 1 else ():
            if stream is not self.stream and stream not in self.handed and self.stream.seen.get(stream, 0) < tick:
                self.memory.hazards.append(
                    f"{self.nbytes} bytes of the stream {self.stream.name} were freed while the stream {stream.name} "
                    f"may still use them, last for {self.last}: they were not handed over"
                )
        if self.pool is None:
            self.memory.give(self.nbytes)
        else:
            pool, storage = self.pool
            pool.give(storage)


class Pool:
    """Memory of the graphs of one stream. What a captured tensor leaves is used again by a later one of that size."""

    def __init__(self, home: DeviceCore) -> None:
        self._home, self._bytes = home, 0
        self._free: defaultdict[int, list[torch.UntypedStorage]] = defaultdict(list)

    def place(self, made: Tensor) -> Tensor:
        """`made` in the pool's own memory. Raises torch.OutOfMemoryError."""
        nbytes = made.untyped_storage().nbytes()
        free = self._free[nbytes]
        storage = free.pop() if free else self._more(nbytes)
        placed = torch.empty(0, dtype=made.dtype).set_(storage, made.storage_offset(), made.shape, made.stride())
        return placed.copy_(made)

    def give(self, storage: torch.UntypedStorage) -> None:
        self._free[storage.nbytes()].append(storage)

    def _more(self, nbytes: int) -> torch.UntypedStorage:
        self._home.faults.strike("allocation")
        self._home.allocator.take(rounded(nbytes))
        self._bytes += rounded(nbytes)
        return torch.UntypedStorage(nbytes)

    def __del__(self) -> None:
        self._home.allocator.give(self._bytes)


def rounded(nbytes: int) -> int:
    return -(-nbytes // _GRAIN) * _GRAIN
