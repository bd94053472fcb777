"""CUDA's numbers for NVML's cards: by the rules of CUDA_VISIBLE_DEVICES, of MIG, and where no rule helps, by asking."""

from __future__ import annotations

import ctypes
import shutil
import sys
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channelscribe.core.errors import GpuFailure
from channelscribe.gpu import cuda_order
from channelscribe.gpu.cards import Physical, ambiguous, list_cards, named, visible
from channelscribe.gpu.nvml import Nvml
from channelscribe.gpu.open import in_cuda_order
from tests.emulators.nvml import FakeCard, FakeDriver, FakeInstance, installed

A, B, C = (f"GPU-{letter * 8}-0000-4000-8000-00000000000{n}" for n, letter in enumerate("abc"))
M1, M2 = "MIG-11111111-2222-4333-8444-555555555555", "MIG-11999999-2222-4333-8444-555555555555"


def cards(*described: FakeCard) -> tuple[Physical, ...]:
    with installed(FakeDriver(list(described))):
        return list_cards(Nvml())


def three() -> tuple[Physical, ...]:
    return cards(*(FakeCard(uuid=u) for u in (A, B, C)))


def split() -> tuple[Physical, ...]:
    """A whole card, and one split in two with an empty place between the instances."""
    parts = [FakeInstance(M1, gpu=1, compute=0), None, FakeInstance(M2, gpu=2, compute=0)]
    return cards(FakeCard(uuid=A), FakeCard(uuid=B, mig=True, instances=parts))


def numbers(found: tuple[Physical, ...], value: str | None) -> list[str]:
    return [seen.uuid for seen in visible(found, {} if value is None else {"CUDA_VISIBLE_DEVICES": value})]


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (None, [A, B, C]),
        ("", []),
        ("2", [C]),
        ("2,0", [C, A]),
        (" 1 , 2 ", [B, C]),
        ("0,2,-1,1", [A, C]),
        ("0,7,1", [A]),
        ("-1", []),
        ("0,0", []),
        ("1gpu,2", [B, C]),
        (B, [B]),
        (f"{C},{A}", [C, A]),
        ("GPU-bb", [B]),
        ("gpu-cccc,GPU-a", [C, A]),
        ("GPU-", []),
        (f"{C},1", [C]),
        (f"{A},{A}", []),
        ("nonsense", []),
        ("NoDevFiles", []),
    ],
)
def test_the_order_of_cuda_visible_devices(value: str | None, seen: list[str]) -> None:
    assert numbers(three(), value) == seen


def test_a_beginning_that_fits_two_cards_names_none() -> None:
    twins = cards(FakeCard(uuid="GPU-aaaa1111"), FakeCard(uuid="GPU-aaaa2222"))
    assert numbers(twins, "GPU-aaaa") == []
    assert numbers(twins, "GPU-aaaa2") == ["GPU-aaaa2222"]


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (None, [M1]),
        ("0", [A]),
        ("1", [M1]),
        ("0,1", [M1]),
        (M2, [M2]),
        (f"{M2},{M1}", [M2]),
        ("MIG-119", [M2]),
        ("MIG-11", []),
        (f"MIG-{B}/2/0", [M2]),
        (f"MIG-{B}/3/0", []),
        (B, [M1]),
    ],
)
def test_one_instance_is_all_that_cuda_counts(value: str | None, seen: list[str]) -> None:
    assert numbers(split(), value) == seen


def test_a_split_card_without_instances_is_not_seen() -> None:
    assert numbers(cards(FakeCard(uuid=A, mig=True), FakeCard(uuid=B)), None) == [B]


def test_a_card_that_does_not_answer_hides_no_other() -> None:
    found = cards(FakeCard(uuid=A, refuses={"nvmlDeviceGetHandleByIndex": "GPU_IS_LOST"}), FakeCard(uuid=B))
    assert [card.uuid for card in found] == [B]
    assert [card.index for card in found] == [1]


@given(value=st.text(alphabet="0123456789,-+ GPUMIGabc/\x00é", max_size=40))
def test_any_value_gives_cards_that_exist_and_none_twice(value: str) -> None:
    for found, known in ((three(), {A, B, C}), (split(), {A, M1, M2})):
        seen = numbers(found, value)
        assert set(seen) <= known
        assert len(set(seen)) == len(seen)
        named(found, value)


UNLIKE = (FakeCard(uuid=A, name="GeForce GTX 1060"), FakeCard(uuid=B, name="GeForce RTX 4090"))


@pytest.mark.parametrize(
    ("environment", "unclear"),
    [
        ({}, True),
        ({"CUDA_VISIBLE_DEVICES": "0"}, True),
        ({"CUDA_VISIBLE_DEVICES": B}, False),
        ({"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, False),
        ({"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, True),
    ],
)
def test_numbers_of_unlike_cards_are_not_guessed(environment: dict[str, str], unclear: bool) -> None:
    assert ambiguous(cards(*UNLIKE), environment) is unclear
    assert not ambiguous(three(), environment)


def test_unlike_cards_are_numbered_as_cuda_says_and_not_at_all_when_it_does_not() -> None:
    found = cards(*UNLIKE)
    told = in_cuda_order(found, {}, ask=lambda: (B.removeprefix("GPU-"), A.removeprefix("GPU-")))
    assert [seen.uuid for seen in told] == [B, A]
    with pytest.raises(GpuFailure, match="CUDA_DEVICE_ORDER=PCI_BUS_ID") as caught:
        in_cuda_order(found, {}, ask=lambda: None)
    assert caught.value.code == "which_card"
    assert [seen.uuid for seen in in_cuda_order(found, {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, ask=lambda: None)] == [A, B]


class CudaLibrary:
    """The five calls of the CUDA driver that are used, writing through pointers as it does."""

    def __init__(self, uuids: list[uuid.UUID], refuse: int = 0) -> None:
        self._uuids, self._refuse = uuids, refuse

    def cuInit(self, flags: int) -> int:
        return self._refuse

    def cuDeviceGetCount(self, count: Any) -> int:
        ctypes.cast(count, ctypes.POINTER(ctypes.c_int))[0] = len(self._uuids)
        return 0

    def cuDeviceGet(self, device: Any, number: int) -> int:
        ctypes.cast(device, ctypes.POINTER(ctypes.c_int))[0] = number + 100
        return 0

    def cuDeviceGetUuid_v2(self, own: Any, device: ctypes.c_int) -> int:
        ctypes.memmove(own, self._uuids[device.value - 100].bytes, 16)
        return 0


def test_cuda_is_asked_for_its_order() -> None:
    uuids = [uuid.uuid4() for _ in range(3)]
    assert cuda_order.devices(CudaLibrary(uuids)) == [str(u) for u in uuids]
    with pytest.raises(OSError, match="refused"):
        cuda_order.devices(CudaLibrary(uuids, refuse=100))


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None or sys.platform != "linux", reason="this machine has CUDA")
def test_a_machine_without_cuda_gives_no_order() -> None:
    ask: Callable[[], tuple[str, ...] | None] = cuda_order.ask_cuda
    assert ask() is None
