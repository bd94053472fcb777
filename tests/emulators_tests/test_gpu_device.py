"""The GPU stand-in: each manner is shown by a use that passes and by the fault that it is there to catch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from channelscribe.asr.accelerator import Accelerator, Unified
from tests.emulators.gpu_device import ChangedInFlight, GpuStandIn
from tests.emulators_tests.uploads import on, pinned

CAPTURING = "operation not permitted when stream is capturing"


def _whats(gpu: GpuStandIn) -> list[str]:
    return [wait.what for wait in gpu.waits]


def test_it_is_an_accelerator_with_a_device_of_its_own(gpu: GpuStandIn) -> None:
    accelerator: Accelerator = gpu
    made = torch.arange(4, device=accelerator.device)
    assert made.device == torch.device("meta:0") and accelerator.asynchronous and not accelerator.shares_memory
    assert accelerator.read(made * 2).tolist() == [0, 2, 4, 6]
    assert {*dir(Unified)} - {*dir(gpu)} == set()


def test_host_and_device_do_not_mix_but_for_numbers_and_copies(gpu: GpuStandIn) -> None:
    there = torch.ones(3, device=gpu.device)
    assert gpu.read(there + torch.tensor(2.0)).tolist() == [3, 3, 3]
    assert gpu.read(torch.where(there > 0, there, 5.0)).tolist() == [1, 1, 1]
    with pytest.raises(RuntimeError, match="all tensors to be on the same device"):
        there + torch.ones(3)
    with pytest.raises(RuntimeError, match="all tensors to be on the same device"):
        there.index_fill_(0, torch.tensor([1]), 0.0)
    for look in (there.tolist, there.numpy):
        with pytest.raises(RuntimeError, match="not supported for tensor subclasses"):
            look()


def test_inference_mode_holds_as_it_does_on_a_gpu(gpu: GpuStandIn) -> None:
    made = torch.zeros(3, device=gpu.device)
    with torch.inference_mode(False):
        plain = torch.zeros(3, device=gpu.device)
        with pytest.raises(RuntimeError, match="Inplace update to inference tensor"):
            made.copy_(plain)
        plain[1:].transpose_(0, 0).add_(1)
    plain[1:].add_(made[1:] + 2)
    assert gpu.read(plain).tolist() == [0, 3, 3]


def test_two_devices_do_not_mix_but_for_copies(gpu: GpuStandIn) -> None:
    other = GpuStandIn(1, machine=gpu.machine)
    here = torch.ones(2, device=gpu.device)
    there = torch.ones(2, device=other.device)
    with pytest.raises(RuntimeError, match="meta:0 and meta:1"):
        here + there
    assert other.read(here.to(other.device) + there).tolist() == [2, 2]
    assert not gpu.hazards and not other.hazards and other.memory().allocated > 0
    with pytest.raises(torch.AcceleratorError, match="invalid device ordinal"):
        torch.ones(2, device="meta:2")


def test_devices_of_machines_apart_work_within_each_other(gpu: GpuStandIn) -> None:
    apart = GpuStandIn()
    with apart.current():
        inner = torch.tensor([1], device=apart.device)
    outer = torch.tensor([2], device=gpu.device)
    assert apart.memory().allocated == gpu.memory().allocated == 512
    with pytest.raises(RuntimeError, match="all tensors to be on the same device"):
        inner + outer


def test_a_thread_that_did_not_enter_has_no_such_device(gpu: GpuStandIn) -> None:
    known, raised = torch.ones(2, device=gpu.device), []

    def work() -> None:
        for attempt in (lambda: known + torch.ones(2, device=gpu.device), lambda: known.add_(1)):
            try:
                attempt()
            except RuntimeError as error:
                raised.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert "has no values" in raised[0] and "default" in raised[1] and len(raised) == 2


def test_a_download_is_garbage_until_an_event_behind_it_has_passed(gpu: GpuStandIn) -> None:
    there, here = torch.ones(2, device=gpu.device), gpu.host_tensor(2, dtype=torch.float32)
    early = gpu.record()
    seen = here.numpy()
    gpu.download(here, there)
    there.fill_(7.0)  # behind the copy in the stream
    early.synchronize()
    assert here.isnan().all()
    gpu.record().synchronize()
    assert seen.tolist() == [1, 1]
    gpu.download(here, there)
    event = gpu.record()
    assert not event.query() and here.isnan().all()
    assert event.query() and seen.tolist() == [7, 7]


def test_memory_that_a_later_download_writes_is_not_readable_in_between(gpu: GpuStandIn) -> None:
    here = gpu.host_tensor(2, dtype=torch.int64)
    gpu.download(here, torch.ones(2, dtype=torch.int64, device=gpu.device))
    first = gpu.record()
    gpu.download(here[:1], torch.zeros(1, dtype=torch.int64, device=gpu.device))
    first.synchronize()
    assert here[0] < -1_000_000
    gpu.record().synchronize()
    assert here[0] == 0


def test_the_source_of_an_upload_must_stay_until_it_is_over(gpu: GpuStandIn) -> None:
    host = pinned(gpu, 1, 2)
    there = gpu.upload(host[1:])
    gpu.record().synchronize()
    host.zero_()
    assert gpu.read(there).tolist() == [2] and not gpu.hazards
    gpu.upload(host)
    host.fill_(3)
    with pytest.raises(ChangedInFlight):
        gpu.record().synchronize()
    assert len(gpu.hazards) == 1


@pytest.mark.parametrize(
    ("wait", "what"),
    [
        (lambda gpu, x: x[0].item(), "item"),
        (lambda gpu, x: bool(x.any()), "nonzero"),
        (lambda gpu, x: x.nonzero(), "nonzero"),
        (lambda gpu, x: x[x > 0], "index.Tensor"),
        (lambda gpu, x: x.masked_select(x > 0), "masked_select"),
        (lambda gpu, x: x.__setitem__(0, 5), "pageable"),
        (lambda gpu, x: x[[0, 1]], "pageable"),
        (lambda gpu, x: torch.tensor([1.0], device=gpu.device), "pageable"),
        (lambda gpu, x: gpu.upload(torch.ones(2)), "pageable"),
        (lambda gpu, x: torch.ones(2).to(gpu.device), "pageable"),
        (lambda gpu, x: x.copy_(torch.ones(2)), "pageable"),
        (lambda gpu, x: x.cpu(), "copy to the host"),
        (lambda gpu, x: torch.empty(2).copy_(x), "copy to the host"),
        (lambda gpu, x: gpu.read(x), "read"),
        (lambda gpu, x: gpu.record().synchronize(), "event"),
    ],
)
def test_what_the_host_waits_for_is_noted_and_breaks_a_capture(
    gpu: GpuStandIn, wait: Callable[[GpuStandIn, Tensor], Any], what: str
) -> None:
    x = on(gpu, 1, 2)
    wait(gpu, x)
    assert len(gpu.waits) == 1 and what in gpu.waits[0].what and gpu.waits[0].where.startswith("test_gpu_device.py:")
    with pytest.raises(RuntimeError, match=CAPTURING):
        gpu.capture(lambda: wait(gpu, x))  # type: ignore[arg-type, return-value]


def test_what_needs_no_wait_is_not_noted(gpu: GpuStandIn) -> None:
    x, host = on(gpu, 1, 2), pinned(gpu, 3, 4)
    x.copy_(host, non_blocking=True)
    x[0] = x[1]
    x.index_fill_(0, torch.arange(1, device=gpu.device), 9)
    x[x > 5] = torch.zeros((), device=gpu.device)
    gpu.download(host, x)
    assert not gpu.record().query()
    assert not gpu.waits
