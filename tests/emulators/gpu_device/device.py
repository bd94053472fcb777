"""`GpuStandIn`: an `Accelerator` with a GPU's manners on the CPU, for tests of the whole engine."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor

from channelscribe.asr.accelerator import DeviceMemory
from tests.emulators.gpu_device import faults
from tests.emulators.gpu_device.capture import Capture
from tests.emulators.gpu_device.copies import quiet
from tests.emulators.gpu_device.core import DeviceCore
from tests.emulators.gpu_device.events import Mark
from tests.emulators.gpu_device.faults import Call, MakeError
from tests.emulators.gpu_device.machine import Machine
from tests.emulators.gpu_device.memory import Block
from tests.emulators.gpu_device.streams import HERE
from tests.emulators.gpu_device.tensor import DeviceTensor

GIB = 1 << 30


class GpuStandIn(DeviceCore):
    """One device of a `machine`. An event says "not yet" `queries_until_done` times before it has passed.

    `hazards` are what would go wrong in silence; `waits` all waits of the host. `launches` counts by (stream, operator)
    what the host launched, `executed` what ran, the operators of replays too. `attention_shapes` are those of queries
    and keys outside `varied_attention`, each of which cuDNN would plan.
    """

    asynchronous = True
    shares_memory = False
    capability: tuple[int, int] | None = None

    def __init__(
        self,
        index: int = 0,
        *,
        machine: Machine | None = None,
        capacity: int = 24 * GIB,
        others_bytes: int = 0,
        queries_until_done: int = 1,
        captures: bool = True,
    ) -> None:
        super().__init__(index, machine or Machine(), capacity, others_bytes, queries_until_done)
        self.machine.devices[index] = self
        self.captures = captures

    def fail(
        self,
        at: Call,
        error: MakeError,
        *,
        nth: int = 1,
        times: int = 1,
        operator: str | None = None,
        late: bool = False,
    ) -> None:
        """Orders `error` at the nth next call of a kind (of operators with that text in their name), `times` times.

        `late`: the call succeeds, the next wait for the device raises, and from then on everything does.
        """
        self.faults.order(at, error, nth=nth, times=times, operator=operator, late=late)

    def lose(self, error: MakeError = faults.illegal_access) -> None:
        """The device is lost: the next wait says so, and then every call."""
        self.faults.late = error

    def address(self, tensor: Tensor) -> int:
        assert isinstance(tensor, DeviceTensor)
        return tensor.held.data_ptr()

    def current(self) -> AbstractContextManager[None]:
        return self.entered(self.streams[1])

    def background(self) -> AbstractContextManager[None]:
        return self.entered(self.streams[2])

    def record(self) -> Mark:
        with self.machine.lock:
            self.enter_call("record")
            return Mark(self, self.stream().clock())

    def wait_for(self, event: Mark) -> None:
        with self.machine.lock:
            captured = self.stream().capture is not None
            self.enter_call("wait_for", forbidden="" if event.captured == captured else "a wait for another stream")
            self.stream().wait_for(event.clock)

    def hand_over(self, tensor: Tensor) -> None:
        assert isinstance(tensor, DeviceTensor)
        self.enter_call("hand_over")
        tensor.block.handed += (self.stream(),)

    def host_tensor(self, *shape: int, dtype: torch.dtype) -> Tensor:
        self.enter_call("host_tensor", forbidden="pinned memory")
        return self.host_memory.tensor(shape, dtype)

    def upload(self, host: Tensor) -> Tensor:
        with self.machine.lock:
            self.enter_call("upload", forbidden="an upload")
            pinned = self.host_memory.owns(host)
            if not pinned:
                self.wait("pageable copy to the device")
            stream = self.stream()
            with quiet():
                inner = host.clone()
            block = Block(inner, self, stream)
            stream.launch((), (block,), "an upload")
            self.launches[stream.name, "upload"] += 1
            if pinned:
                self.copies.begin_upload(stream, host)
            return DeviceTensor(inner, block, self.device)

    def download(self, here: Tensor, there: Tensor) -> None:
        assert isinstance(there, DeviceTensor)
        with self.machine.lock:
            self.enter_call("download", forbidden="a download")
            stream = self.stream()
            stream.launch((there.block,), (), "a download")
            self.launches[stream.name, "download"] += 1
            with quiet():
                value = here.clone().copy_(there.held)
            self.copies.begin_download(stream, here, value)
            if not self.host_memory.owns(here):
                self.wait("copy to pageable memory")

    def read(self, there: Tensor) -> Tensor:
        assert isinstance(there, DeviceTensor)
        with self.machine.lock:
            self.enter_call("read", forbidden="a read")
            self.stream().launch((there.block,), (), "a read")
            self.wait("read")
            with torch._C._DisableTorchDispatch():
                return there.held.clone()

    def capture(self, run: Callable[[], None]) -> Callable[[], None]:
        """Where another device is the thread's own, nothing is recorded, as with CUDA, and the replay does nothing."""
        self.enter_call("capture", forbidden="a capture within a capture")
        stream = self.stream()
        pool = self.pool(stream)
        capture = Capture(self, stream, pool)
        if not self.is_current():
            run()
            return capture.replay()
        if stream is self.streams[0]:
            raise RuntimeError("CUDA graphs must be captured on a non-default stream.")
        stream.capture = HERE.capture = capture
        try:
            run()
        finally:
            stream.capture = HERE.capture = None
            with self.machine.lock:
                capture.undo()
        if capture.broken:
            raise faults.capture_invalidated()
        return capture.replay()

    @contextmanager
    def varied_attention(self) -> Iterator[None]:
        self.varied += 1
        try:
            yield
        finally:
            self.varied -= 1

    def memory(self) -> DeviceMemory:
        self.faults.check()
        return self.allocator.report()

    def release_memory(self) -> None:
        gc.collect()
        self.faults.check()
        self.allocator.release()
