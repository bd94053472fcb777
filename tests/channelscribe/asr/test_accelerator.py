"""`Cuda` against a torch.cuda of our own, which notes what is asked of it and fails as the real one does."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest
import torch

from channelscribe.asr import accelerator as module
from channelscribe.asr.accelerator import Cuda, DeviceMemory, Mps, Unified, accelerator_for


class FakeStream:
    made = 0
    asked_on: ClassVar[list[int]] = []
    now: ClassVar[Any] = None

    def __init__(self, device: Any = None, priority: int = 0) -> None:
        FakeStream.made += 1
        self.device, self.priority, self.cuda_stream = device, priority, FakeStream.made
        self.awaited: list[FakeEvent] = []

    @staticmethod
    def priority_range() -> tuple[int, int]:
        FakeStream.asked_on.append(FakeStream.now())
        return 0, -5

    def wait_event(self, event: FakeEvent) -> None:
        self.awaited.append(event)


class FakeEvent:
    def __init__(self, *, blocking: bool = False) -> None:
        self.blocking = blocking
        self.stream: FakeStream | None = None

    def record(self, stream: FakeStream) -> None:
        self.stream = stream


class FakeTensor:
    """Notes what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def to(self, device: Any, *, non_blocking: bool = False) -> None:
        self.asked.append(("to", device, non_blocking))

    def copy_(self, there: Any, *, non_blocking: bool = False) -> None:
        self.asked.append(("copy_", there, non_blocking))

    def record_stream(self, stream: FakeStream) -> None:
        self.asked.append(("record_stream", stream))


class FakeAllocator:
    """Counts the captures that it believes to be under way, as `captures_underway` of the real one."""

    def __init__(self) -> None:
        self.capturing: list[Any] = []
        self.graphs: dict[Any, weakref.WeakSet[Any]] = {}


class FakeGraph:
    """`capture_end` raises before it tells the allocator, as in torch 2.11 (pytorch issue 180395)."""

    broken = unable = False

    def __init__(self, allocator: FakeAllocator) -> None:
        self._allocator, self._pool = allocator, None

    def capture_begin(self, pool: Any, capture_error_mode: str) -> None:
        assert capture_error_mode == "thread_local"
        assert not torch.is_inference_mode_enabled(), "up to torch 2.10 the next capture could not fill what this makes"
        assert not gc.isenabled()
        known = self._allocator.graphs.get(pool)
        assert known is None or len(known), "use_count > 0 INTERNAL ASSERT FAILED"
        self._pool = pool
        self._allocator.capturing.append(pool)
        if FakeGraph.unable:
            raise RuntimeError("CUDA error: operation not permitted")
        self._allocator.graphs.setdefault(pool, weakref.WeakSet()).add(self)

    def capture_end(self) -> None:
        if FakeGraph.broken:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
        self._allocator.capturing.remove(self._pool)

    def replay(self) -> None: ...


class FakeCuda:
    """What of torch.cuda the module uses; `device` and `stream` are this thread's."""

    Stream, Event = FakeStream, FakeEvent

    def __init__(self) -> None:
        self.allocator = FakeAllocator()
        self.now_device, self.now_stream, self.pools, self.emptied = 0, FakeStream(), 0, 0
        self._default = self.now_stream

    def get_device_capability(self, device: Any) -> tuple[int, int]:
        return 9, 0

    @contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        before, self.now_device = self.now_device, int(device.index)
        try:
            yield
        finally:
            self.now_device = before

    @contextmanager
    def stream(self, stream: FakeStream) -> Iterator[None]:
        before, self.now_stream = self.now_stream, stream
        try:
            yield
        finally:
            self.now_stream = before

    def current_device(self) -> int:
        return self.now_device

    def default_stream(self, device: Any = None) -> FakeStream:
        return self._default

    def mem_get_info(self, device: torch.device) -> tuple[int, int]:
        return 1000 * device.index + 5, 1000 * device.index + 9

    def memory_allocated(self, device: torch.device) -> int:
        return 1000 * device.index + 1

    memory_reserved = max_memory_allocated = max_memory_reserved = memory_allocated

    def current_stream(self, device: Any = None) -> FakeStream:
        return self.now_stream

    def empty_cache(self) -> None:
        assert not self.allocator.capturing, "captures_underway.empty() INTERNAL ASSERT FAILED"
        self.emptied += 1

    def graph_pool_handle(self) -> tuple[int, int]:
        self.pools += 1
        return (0, self.pools)

    def CUDAGraph(self) -> FakeGraph:
        return FakeGraph(self.allocator)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()

    class FakeTorch:
        """torch, but for what would need a GPU."""

        cuda = fake

        class _C:
            @staticmethod
            def _cuda_endAllocateToPool(device: int, pool: Any) -> None:
                fake.allocator.capturing.remove(pool)

        def __getattr__(self, name: str) -> Any:
            return getattr(torch, name)

    monkeypatch.setattr(module, "torch", FakeTorch())
    monkeypatch.setattr(FakeGraph, "broken", False)
    monkeypatch.setattr(FakeStream, "now", fake.current_device)
    monkeypatch.setattr(FakeStream, "asked_on", [])
    return fake


def test_decoding_has_the_higher_priority_and_neither_is_the_default_stream(cuda: FakeCuda) -> None:
    gpu = Cuda(torch.device("cuda", 1))
    assert FakeStream.asked_on == [1], "on another GPU the question makes a context there"
    default = cuda.current_stream()
    with gpu.current():
        decoding = cuda.current_stream()
        assert cuda.current_device() == 1
        with gpu.background():
            encoding = cuda.current_stream()
        assert cuda.current_stream() is decoding
    with gpu.background():
        assert (cuda.current_device(), cuda.current_stream()) == (1, encoding)
    assert len({id(default), id(decoding), id(encoding)}) == 3
    assert decoding.priority < encoding.priority, "lower numbers come first"
    assert (cuda.current_device(), cuda.current_stream()) == (0, default)


def test_graphs_of_one_stream_share_a_pool_and_streams_do_not(cuda: FakeCuda) -> None:
    gpu = Cuda(torch.device("cuda", 0))
    with gpu.current():
        kept = [gpu.capture(lambda: None), gpu.capture(lambda: None)]
        with gpu.background():
            kept.append(gpu.capture(lambda: None))
    assert len(cuda.allocator.graphs) == 2
    assert not cuda.allocator.capturing
    assert cuda.emptied == len(kept), "a capture cannot use what is cached"


def test_a_pool_whose_graphs_have_died_is_not_used_again(cuda: FakeCuda) -> None:
    gpu = Cuda(torch.device("cuda", 0))
    with gpu.current():
        for _ in range(3):
            replay = gpu.capture(lambda: None)
            replay()
            del replay
            gc.collect()
    assert len(cuda.allocator.graphs) == 3


def test_a_capture_that_cannot_begin_leaves_the_allocator_as_it_was(
    cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = Cuda(torch.device("cuda", 0))
    monkeypatch.setattr(FakeGraph, "unable", True)
    monkeypatch.setattr(FakeGraph, "broken", True)
    with torch.inference_mode(), gpu.current(), pytest.raises(RuntimeError, match="not permitted"):
        gpu.capture(lambda: None)
    assert not cuda.allocator.capturing
    assert gc.isenabled()


@pytest.mark.parametrize("broken", [False, True], ids=["the function raises", "and the stream is invalidated"])
def test_a_failed_capture_leaves_stream_and_allocator_as_they_were(
    cuda: FakeCuda, broken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = Cuda(torch.device("cuda", 0))

    def run() -> None:
        monkeypatch.setattr(FakeGraph, "broken", broken)
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    with gpu.current():
        before = cuda.current_stream()
        with pytest.raises(RuntimeError, match="stream is capturing"):
            gpu.capture(run)
        assert cuda.current_stream() is before
        assert not cuda.allocator.capturing, "the allocator would refuse to empty its cache"
        monkeypatch.setattr(FakeGraph, "broken", False)
        gpu.capture(lambda: None)
    assert not cuda.allocator.capturing


def test_a_capture_that_cannot_be_ended_is_told_and_leaves_the_allocator_as_it_was(
    cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = Cuda(torch.device("cuda", 0))
    monkeypatch.setattr(FakeGraph, "broken", True)
    with gpu.current(), pytest.raises(RuntimeError, match="previous error during capture"):
        gpu.capture(lambda: None)
    assert not cuda.allocator.capturing
    with gpu.current():
        monkeypatch.setattr(FakeGraph, "broken", False)
        gpu.capture(lambda: None)
    assert len(cuda.allocator.graphs) == 2, "what is in the pool of a failed capture is not known"


def test_a_thread_that_has_another_device_captures_nothing_in_silence(cuda: FakeCuda) -> None:
    gpu = Cuda(torch.device("cuda", 1))
    with pytest.raises(RuntimeError, match="not this thread's device"):
        gpu.capture(lambda: None)


@pytest.mark.parametrize("kind", [Unified, Mps, Cuda])
def test_copies_into_the_hosts_memory_may_be_made_outside_inference_mode(
    cuda: FakeCuda, kind: type[Unified] | type[Mps] | type[Cuda]
) -> None:
    """The tokens of every window go this way; the host's memory was made inside."""
    gpu = kind(torch.device("cuda", 0) if kind is Cuda else torch.device("cpu"))
    with torch.inference_mode():
        here, there = torch.empty(3, dtype=torch.int64), torch.arange(3)
    gpu.download(here, there)
    assert here.tolist() == [0, 1, 2]


def test_copies_are_pinned_and_the_host_does_not_wait_for_them(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, tensor, made = Cuda(torch.device("cuda", 1)), FakeTensor(), list[dict[str, Any]]()
    gpu.upload(tensor)  # type: ignore[arg-type]
    gpu.download(tensor, tensor)  # type: ignore[arg-type]
    assert tensor.asked == [("to", torch.device("cuda", 1), True), ("copy_", tensor, True)]
    monkeypatch.setattr(module.torch, "empty", lambda shape, **more: made.append(more), raising=False)
    gpu.host_tensor(3, dtype=torch.int16)
    assert made == [{"dtype": torch.int16, "pin_memory": True}]


def test_marks_waits_and_uses_are_those_of_the_current_stream(cuda: FakeCuda) -> None:
    gpu, tensor = Cuda(torch.device("cuda", 1)), FakeTensor()
    with gpu.current():
        decoding = cuda.current_stream()
        with gpu.background():
            encoding, mark = cuda.current_stream(), gpu.record()
        gpu.wait_for(mark)
        gpu.hand_over(tensor)  # type: ignore[arg-type]
    assert isinstance(mark, FakeEvent)
    assert mark.stream is encoding
    assert mark.blocking, "who waits for it sleeps"
    assert (decoding.awaited, encoding.awaited) == ([mark], [])
    assert tensor.asked == [("record_stream", decoding)]


def test_memory_is_that_of_its_own_device(cuda: FakeCuda) -> None:
    memory = Cuda(torch.device("cuda", 1)).memory()
    assert memory == DeviceMemory(1005, 1009, 1001, 1001, 1001, 1001)


def test_varied_attention_leaves_cudnn_out_and_puts_it_back(cuda: FakeCuda) -> None:
    gpu, enabled = Cuda(torch.device("cuda", 0)), torch.backends.cuda.cudnn_sdp_enabled
    before = enabled()
    try:
        for wanted in (True, False):
            torch.backends.cuda.enable_cudnn_sdp(wanted)
            with pytest.raises(RuntimeError, match="no plan"), gpu.varied_attention(), gpu.varied_attention():
                assert not enabled()
                raise RuntimeError("no plan")
            assert enabled() is wanted
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)


def test_each_kind_of_device_has_its_accelerator() -> None:
    assert type(accelerator_for(torch.device("cpu"))) is Unified
    assert type(accelerator_for(torch.device("mps"))) is Mps
    with pytest.raises(RuntimeError, match="captured"):
        Unified(torch.device("cpu")).capture(lambda: None)
