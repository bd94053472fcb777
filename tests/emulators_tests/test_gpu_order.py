"""The GPU stand-in: the order of streams, the memory that they share, its counts, and errors on order."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
import torch

from tests.emulators.gpu_device import GpuStandIn, RaceError, faults
from tests.emulators_tests.uploads import on, pinned


def test_streams_must_be_ordered(gpu: GpuStandIn) -> None:
    x = on(gpu, 1, 2)
    ready = gpu.record()
    with gpu.background():
        with pytest.raises(RaceError, match="reads"):
            x + 1
        gpu.wait_for(ready)
        made = x + 1
        done = gpu.record()
    with pytest.raises(RaceError, match="writes"):
        x.add_(1)
    gpu.wait_for(done)
    assert gpu.read(x.add_(made)).tolist() == [3, 5]
    assert len(gpu.hazards) == 2


def test_a_wait_of_the_host_orders_streams_too(gpu: GpuStandIn) -> None:
    with gpu.background():
        made = torch.ones(2, device=gpu.device)
        done = gpu.record()
    while not done.query():
        pass
    assert gpu.read(made).tolist() == [1, 1] and not gpu.hazards


@pytest.mark.parametrize("handed", [True, False])
def test_memory_of_one_stream_that_another_uses_must_be_handed_over(gpu: GpuStandIn, handed: bool) -> None:
    with gpu.background():
        made = torch.ones(2, device=gpu.device)
        done = gpu.record()
    gpu.wait_for(done)
    if handed:
        gpu.hand_over(made)
    made.add_(1)
    del made
    gc.collect()
    assert len(gpu.hazards) == (not handed)


def test_memory_is_counted_once_and_has_an_end() -> None:
    gpu = GpuStandIn(capacity=1 << 20, others_bytes=1 << 18)
    with gpu.current():
        half = torch.zeros(1 << 17, device=gpu.device)
        views = [half[1:], half.view(2, -1)]
        assert gpu.memory().allocated == 1 << 19
        with pytest.raises(torch.OutOfMemoryError, match=r"CUDA out of memory\. Tried to allocate 0\.50 MiB"):
            half + 1
        del half, views
        torch.ones(1, device=gpu.device)
        memory = gpu.memory()
        assert (memory.allocated, memory.peak_allocated, memory.reserved) == (0, 1 << 19, 1 << 19)
        gpu.release_memory()
        assert gpu.memory().reserved == 0 and gpu.memory().free == 3 << 18


def test_launches_are_counted_by_stream_and_operator(gpu: GpuStandIn) -> None:
    x = torch.ones(4, device=gpu.device)
    for _ in range(3):
        x.view(2, 2)[0].add_(1)
    with gpu.background():
        torch.ones(1, device=gpu.device)
    assert gpu.launches[("0:current", "aten.add_.Tensor")] == 3
    assert gpu.launches[("0:background", "aten.ones.default")] == 1
    assert sum(gpu.launches.values()) == 5


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (faults.out_of_memory, torch.OutOfMemoryError, "CUDA out of memory"),
        (faults.cuda_out_of_memory, torch.AcceleratorError, "CUDA error: out of memory"),
        (faults.cublas_out_of_memory, RuntimeError, "CUBLAS_STATUS_ALLOC_FAILED"),
        (faults.cudnn_out_of_memory, RuntimeError, "CUDNN_STATUS_ALLOC_FAILED"),
        (faults.cufft_out_of_memory, RuntimeError, "CUFFT_ALLOC_FAILED"),
    ],
)
def test_errors_come_at_the_ordered_call_and_pass(
    gpu: GpuStandIn, error: faults.MakeError, kind: type[Exception], text: str
) -> None:
    x = on(gpu, 1, 2)
    gpu.fail("operator", error, nth=2, operator="mul")
    x.mul_(2).add_(1)
    with pytest.raises(kind, match=text):
        x.mul_(2)
    assert gpu.read(x.mul_(2)).tolist() == [6, 10]


def test_every_call_can_fail(gpu: GpuStandIn) -> None:
    x, host, event = on(gpu, 1, 2), gpu.host_tensor(2, dtype=torch.float32), gpu.record()
    given = pinned(gpu, 3)
    replay = gpu.capture(lambda: None)
    calls: dict[faults.Call, Callable[[], object]] = {
        "operator": lambda: x + 1, "allocation": lambda: x + 1, "upload": lambda: gpu.upload(given),
        "download": lambda: gpu.download(host, x), "read": lambda: gpu.read(x), "record": gpu.record,
        "query": event.query, "synchronize": event.synchronize, "wait_for": lambda: gpu.wait_for(event),
        "hand_over": lambda: gpu.hand_over(x), "capture": lambda: gpu.capture(lambda: None), "replay": replay,
        "host_tensor": lambda: gpu.host_tensor(1, dtype=torch.int64),
    }  # fmt: skip
    for at, call in calls.items():
        gpu.fail(at, faults.cuda_out_of_memory)
        with pytest.raises(torch.AcceleratorError, match="CUDA error: out of memory"):
            call()
        call()


def test_a_lost_device_shows_at_the_next_wait_and_stays_lost(gpu: GpuStandIn) -> None:
    x = on(gpu, 1, 2)
    gpu.fail("operator", faults.illegal_access, operator="add", late=True)
    x.add_(1).mul_(2)
    event = gpu.record()
    for call in (event.synchronize, lambda: x + 1, gpu.record, lambda: gpu.upload(torch.ones(1)), gpu.memory):
        with pytest.raises(torch.AcceleratorError, match="illegal memory access"):
            call()


def test_shapes_of_attention_are_noted_where_cudnn_would_plan_them(gpu: GpuStandIn) -> None:
    x = torch.ones(1, 2, 3, 4, device=gpu.device)
    with gpu.varied_attention():
        torch.nn.functional.scaled_dot_product_attention(x, x, x)
    assert not gpu.attention_shapes
    torch.nn.functional.scaled_dot_product_attention(x, x, x)
    assert list(gpu.attention_shapes) == [((1, 2, 3, 4), (1, 2, 3, 4))]


def test_a_graph_can_run_out_of_memory(gpu: GpuStandIn) -> None:
    x = on(gpu, 1, 2)
    gpu.fail("allocation", faults.out_of_memory)

    def run() -> None:
        x.copy_(x + 1)

    with pytest.raises(torch.OutOfMemoryError):
        gpu.capture(run)
    gpu.capture(run)()
    assert gpu.read(x).tolist() == [2, 3]


def test_a_device_can_be_lost_at_any_moment(gpu: GpuStandIn) -> None:
    x = on(gpu, 1, 2)
    gpu.lose()
    x.add_(1)
    for _ in range(2):
        with pytest.raises(torch.AcceleratorError, match="illegal memory access"):
            gpu.read(x)
