"""The device that the engine computes on: the one module that reaches streams, events, graphs and pinned memory.

Everything else in the engine launches tensor operations and asks an `Accelerator` for the rest, so that a stand-in with
a GPU's manners can take its place in tests. `accelerator_for` gives the real ones: `Cuda`, `Unified` (CPU) and `Mps`.

What holds on an `asynchronous` one: an operation may run long after the call that launched it. Operations of one stream
run in their order. A `download` holds its values only once an event that was recorded behind it has passed, and memory
that an `upload` reads must stay as it is until then. Work of another stream counts as done only behind `wait_for`, or
once the host has synchronised with an event behind it.
"""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

log = logging.getLogger(__name__)
# cuDNN's attention over 1,500 frames in a graph reads wrong memory up to 9.15.0 (pytorch issue 167101).
_CUDNN_WRONG_IN_GRAPHS = 91500


class Event(Protocol):
    """A mark in a stream."""

    def query(self) -> bool:
        """Whether everything before the mark has run."""
        ...

    def synchronize(self) -> None:
        """Waits until it has. Raises what the device refused meanwhile."""
        ...


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Bytes. `free` and `total` are the device's; the others are those of torch's allocator in this process."""

    free: int
    total: int
    allocated: int
    reserved: int
    peak_allocated: int
    peak_reserved: int


class Accelerator(Protocol):
    """One device. Errors are torch's own: `torch.OutOfMemoryError`, `torch.AcceleratorError`, `RuntimeError`."""

    @property
    def device(self) -> torch.device: ...

    @property
    def capability(self) -> tuple[int, int] | None:
        """CUDA's compute capability, None on what is no CUDA device."""
        ...

    @property
    def asynchronous(self) -> bool:
        """Launches return before they have run, so it pays to launch ahead and to look late."""
        ...

    @property
    def shares_memory(self) -> bool:
        """The host reads the device's tensors where they are."""
        ...

    @property
    def captures(self) -> bool:
        """`capture` works."""
        ...

    def current(self) -> AbstractContextManager[None]:
        """Makes the device this thread's own, and its stream of high priority the current one. Every thread that
        launches enters it first; it may be entered again inside."""
        ...

    def background(self) -> AbstractContextManager[None]:
        """The stream of low priority, for what may take its time beside the stream of `current`."""
        ...

    def record(self) -> Event:
        """A mark behind all that the current stream has been given."""
        ...

    def wait_for(self, event: Event) -> None:
        """The current stream waits for the mark; the host does not."""
        ...

    def hand_over(self, tensor: Tensor) -> None:
        """The current stream uses a tensor that another stream allocated: its memory is kept until that use is over."""
        ...

    def host_tensor(self, *shape: int, dtype: torch.dtype) -> Tensor:
        """Uninitialised memory of the host, pinned where copies run beside the host."""
        ...

    def upload(self, host: Tensor) -> Tensor:
        """On the device; on the CPU the very same memory. Does not wait where `host` is from `host_tensor`."""
        ...

    def download(self, here: Tensor, there: Tensor) -> None:
        """Copies `there` into `here`, which is from `host_tensor`, without waiting: see above when it is readable."""
        ...

    def read(self, there: Tensor) -> Tensor:
        """A copy on the host, now. Waits for the current stream."""
        ...

    def capture(self, run: Callable[[], None]) -> Callable[[], None]:
        """Records what `run` launches on the current stream, without running it; gives what launches it again.

        `run` neither reads from the device nor allocates memory of the host. RuntimeError when it cannot be captured,
        after which the device and its allocator work as before.
        """
        ...

    def varied_attention(self) -> AbstractContextManager[None]:
        """For attention of many different shapes: leaves out backends that prepare each shape at length."""
        ...

    def memory(self) -> DeviceMemory | None:
        """None where memory is the host's."""
        ...

    def release_memory(self) -> None:
        """Gives back what the allocator keeps for later."""
        ...


class _Passed:
    """An event where everything is done when it is launched."""

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        return None


class Unified:
    """The CPU: operations have run when their call returns, and all memory is the host's."""

    asynchronous = captures = False
    shares_memory = True
    capability: tuple[int, int] | None = None

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def current(self) -> AbstractContextManager[None]:
        return nullcontext()

    def background(self) -> AbstractContextManager[None]:
        return nullcontext()

    def varied_attention(self) -> AbstractContextManager[None]:
        return nullcontext()

    def record(self) -> Event:
        return _Passed()

    def wait_for(self, event: Event) -> None:
        return None

    def hand_over(self, tensor: Tensor) -> None:
        return None

    def host_tensor(self, *shape: int, dtype: torch.dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype)

    def upload(self, host: Tensor) -> Tensor:
        return host.to(self.device)

    @torch.inference_mode()
    def download(self, here: Tensor, there: Tensor) -> None:
        here.copy_(there)

    def read(self, there: Tensor) -> Tensor:
        return there.to("cpu")

    def capture(self, run: Callable[[], None]) -> Callable[[], None]:
        raise RuntimeError(f"nothing can be captured on {self.device}")

    def memory(self) -> DeviceMemory | None:
        return None

    def release_memory(self) -> None:
        gc.collect()


class Mps(Unified):
    """Apple's GPU: as the CPU, but its memory is not read by the host without a copy."""

    shares_memory = False

    def release_memory(self) -> None:
        gc.collect()
        torch.mps.empty_cache()


@dataclass(slots=True)
class _Pool:
    """Memory that the graphs of one stream share, and those of them that live."""

    handle: Any
    graphs: weakref.WeakSet[Any] = field(default_factory=weakref.WeakSet)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Pinned memory that is freed within a capture would be marked in the stream that captures."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Cuda:
    """One CUDA device. `current` and `background` are streams of its own, neither of them the default stream."""

    asynchronous = captures = True
    shares_memory = False

    def __init__(self, device: torch.device) -> None:
        self.device = device if device.index is not None else torch.device("cuda", torch.cuda.current_device())
        cuda: Any = torch.cuda
        self.capability: tuple[int, int] | None = torch.cuda.get_device_capability(self.device)
        with torch.cuda.device(self.device):  # or asking for the priorities makes a context on the first GPU
            lowest, highest = cuda.Stream.priority_range()
            self._foreground: Any = cuda.Stream(self.device, priority=highest)
            self._background: Any = cuda.Stream(self.device, priority=lowest)
        self._pools: dict[int, _Pool] = {}
        self._failed: list[Any] = []
        cudnn: Any = torch.backends.cudnn
        if 0 < (cudnn.version() or 0) <= _CUDNN_WRONG_IN_GRAPHS:
            torch.backends.cuda.enable_cudnn_sdp(False)

    @contextmanager
    def current(self) -> Iterator[None]:
        with torch.cuda.device(self.device), torch.cuda.stream(self._foreground):
            yield

    @contextmanager
    def background(self) -> Iterator[None]:
        with torch.cuda.device(self.device), torch.cuda.stream(self._background):
            yield

    @contextmanager
    def varied_attention(self) -> Iterator[None]:
        # cuDNN builds a plan for each shape: 0.44 s were reported with torch 2.11 on a B200 (FunASR issue 3704).
        before = torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
        torch.backends.cuda.enable_cudnn_sdp(False)
        try:
            yield
        finally:
            torch.backends.cuda.enable_cudnn_sdp(before)

    def record(self) -> Event:
        event: Any = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self.device))
        return event  # type: ignore[no-any-return]

    def wait_for(self, event: Event) -> None:
        torch.cuda.current_stream(self.device).wait_event(event)  # type: ignore[arg-type]

    def hand_over(self, tensor: Tensor) -> None:
        tensor.record_stream(torch.cuda.current_stream(self.device))

    def host_tensor(self, *shape: int, dtype: torch.dtype) -> Tensor:
        # torch's pinned allocator hands a freed block out again only when the copies that read it have run.
        return torch.empty(shape, dtype=dtype, pin_memory=True)

    def upload(self, host: Tensor) -> Tensor:
        return host.to(self.device, non_blocking=True)

    @torch.inference_mode()
    def download(self, here: Tensor, there: Tensor) -> None:
        here.copy_(there, non_blocking=True)

    def read(self, there: Tensor) -> Tensor:
        return there.to("cpu")

    def capture(self, run: Callable[[], None]) -> Callable[[], None]:
        """Graphs of one stream share a memory pool, since no two of them run at once. Other threads may use the GPU.

        Written out instead of `torch.cuda.graph`: up to torch 2.11 a failed capture leaves its stream current and the
        allocator capturing (pytorch issue 180395). What is cached and unused is given back first, since a capture
        cannot use it.
        """
        stream = torch.cuda.current_stream(self.device)
        if torch.cuda.current_device() != self.device.index:
            raise RuntimeError(f"{self.device} is not this thread's device, so that nothing would be captured")
        pool = self._pool_of(stream.cuda_stream)
        torch.cuda.empty_cache()
        graph: Any = torch.cuda.CUDAGraph()
        with _no_garbage_collection():
            try:
                # Up to torch 2.10 what the first capture makes here is filled by the next, in whatever mode it runs.
                with torch.inference_mode(False):
                    graph.capture_begin(pool=pool.handle, capture_error_mode="thread_local")
                run()
                graph.capture_end()
            except BaseException:
                self._abandon(graph, stream.cuda_stream)
                raise
        pool.graphs.add(graph)
        replay: Callable[[], None] = graph.replay
        return replay

    def _pool_of(self, stream: int) -> _Pool:
        """A handle whose graphs have all died is refused by the allocator (vllm issue 28426)."""
        pool = self._pools.get(stream)
        if pool is None or not pool.graphs:
            pool = self._pools[stream] = _Pool(torch.cuda.graph_pool_handle())
        return pool

    def _abandon(self, graph: Any, stream: int) -> None:
        """What ending a capture leaves out when it raises. Neither graph nor pool are used again."""
        pool = self._pools.pop(stream)
        try:
            graph.capture_end()
        except RuntimeError as error:
            log.debug("the capture that failed ended with: %s", error)
        else:
            return
        self._failed.append(graph)  # the allocator of pinned memory may still know it
        end = getattr(torch._C, "_cuda_endAllocateToPool", None)
        if end is None:
            return
        try:
            end(self.device.index, pool.handle)
        except RuntimeError as error:
            log.debug("the allocator had ended the capture itself: %s", error)

    def memory(self) -> DeviceMemory | None:
        free, total = torch.cuda.mem_get_info(self.device)
        return DeviceMemory(
            free=free,
            total=total,
            allocated=torch.cuda.memory_allocated(self.device),
            reserved=torch.cuda.memory_reserved(self.device),
            peak_allocated=torch.cuda.max_memory_allocated(self.device),
            peak_reserved=torch.cuda.max_memory_reserved(self.device),
        )

    def release_memory(self) -> None:
        gc.collect()
        torch.cuda.empty_cache()


def upload_ints(accelerator: Accelerator, numbers: Sequence[int] | Sequence[Sequence[int]]) -> Tensor:
    """int64 on the device, without waiting for it."""
    made = torch.tensor(numbers, dtype=torch.int64)
    return accelerator.upload(accelerator.host_tensor(*made.shape, dtype=torch.int64).copy_(made))


def accelerator_for(device: torch.device) -> Accelerator:
    """The real one. Making it for a CUDA device creates that device's context and no other's."""
    if device.type == "cuda":
        return Cuda(device)
    return Mps(device) if device.type == "mps" else Unified(device)
