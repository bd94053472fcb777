"""Copies between host and device that are still under way: values that come late, and sources that must stay.

`GpuStandIn` starts them; whatever waits for the device brings them to an end.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from tests.emulators.gpu_device.streams import Clock, Stream


class ChangedInFlight(RuntimeError):
    """The host changed memory that a copy was still reading."""


class HostMemory:
    """Knows which memory of the host came from `host_tensor`, views of it included."""

    def __init__(self) -> None:
        self._storages: set[int] = set()

    def tensor(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        made = torch.empty(shape, dtype=dtype)
        with quiet():
            poison(made)
        storage = made.untyped_storage()
        key = storage._cdata
        self._storages.add(key)
        weakref.finalize(storage, self._storages.discard, key)
        return made

    def owns(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self._storages


@dataclass(frozen=True, eq=False)
class _Copy:
    """`host` is read by an upload or written by a download; `value` is what it held, or what it will hold."""

    stream: Stream
    tick: int
    host: Tensor
    value: Tensor

    def over(self, clock: Clock) -> bool:
        return clock.get(self.stream, 0) >= self.tick


class Copies:
    def __init__(self) -> None:
        self._uploads: list[_Copy] = []
        self._downloads: list[_Copy] = []

    def begin_upload(self, stream: Stream, host: Tensor) -> None:
        with quiet():
            self._uploads.append(_Copy(stream, stream.now, host, host.clone()))

    def begin_download(self, stream: Stream, host: Tensor, value: Tensor) -> None:
        """A later copy into the same memory takes the place of an earlier one: until it is over nothing is sure."""
        key = host.untyped_storage()._cdata
        kept = [
            copy for copy in self._downloads if copy.host.untyped_storage()._cdata != key or _apart(copy.host, host)
        ]
        with quiet():
            self._downloads = [*kept, _Copy(stream, stream.now, poison(host), value)]

    def reached(self, clock: Clock) -> None:
        """The host knows that the device came so far. Raises ChangedInFlight."""
        with quiet():
            for copy in [copy for copy in self._downloads if copy.over(clock)]:
                self._downloads.remove(copy)
                copy.host.copy_(copy.value)
            changed = [copy for copy in self._uploads if not _same(copy.host, copy.value)]
        self._uploads = [copy for copy in self._uploads if not copy.over(clock) and copy not in changed]
        if changed:
            shapes = ", ".join(str(tuple(copy.host.shape)) for copy in changed)
            raise ChangedInFlight(f"the host changed memory that an upload was still reading: {shapes}")


@contextmanager
def quiet() -> Iterator[None]:
    """For what the stand-in does with the host's tensors itself, whatever modes are in force."""
    with torch._C._DisableTorchDispatch(), torch.inference_mode():
        yield


def poison(tensor: Tensor) -> Tensor:
    """Values that no one takes for results: NaN, large negative numbers, True."""
    if tensor.dtype.is_floating_point or tensor.dtype.is_complex:
        return tensor.fill_(float("nan"))
    if tensor.dtype == torch.bool:
        return tensor.fill_(True)
    limits = torch.iinfo(tensor.dtype)
    return tensor.fill_(limits.max - 1 if limits.min == 0 else limits.min + 3)


def _apart(one: Tensor, other: Tensor) -> bool:
    first, second = sorted((one, other), key=Tensor.data_ptr)
    return first.data_ptr() + _span(first) <= second.data_ptr()


def _span(tensor: Tensor) -> int:
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return (sum((size - 1) * stride for size, stride in steps) + 1) * tensor.element_size() if tensor.numel() else 0


def _same(one: Tensor, other: Tensor) -> bool:
    """Bit by bit, since NaN is no equal of itself."""
    return torch.equal(*(each.contiguous().view(-1).view(torch.uint8) for each in (one, other)))
