"""The choice of a device, from descriptions of machines that are not here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from channelscribe.asr.device import Card, Machine, choose_device, describe_machine
from channelscribe.core.errors import EnvironmentFailure, UsageError
from channelscribe.core.profile import TranscriptionProfile

GIB = 1 << 30


def card(index: int, capability: tuple[int, int], free_gib: float, total_gib: float = 24.0) -> Card:
    return Card(index, f"card {index}", capability, int(free_gib * GIB), int(total_gib * GIB))


T4, ADA, OLD = card(0, (7, 5), 15, 16), card(1, (8, 9), 20), card(2, (6, 1), 10, 11)


@pytest.mark.parametrize(
    ("machine", "device", "dtype"),
    [
        (Machine(), "cpu", "float32"),
        (Machine(mps=True), "mps", "float32"),
        (Machine((T4,), mps=True), "cuda:0", "float16"),
        (Machine((OLD,)), "cuda:2", "float32"),
        (Machine((T4, ADA, OLD)), "cuda:1", "bfloat16"),
        (Machine((T4, card(1, (8, 9), 0.5))), "cuda:0", "float16"),
        (Machine((card(0, (8, 9), 10), card(1, (8, 9), 20))), "cuda:1", "bfloat16"),
        (Machine((card(0, (8, 9), 20), card(1, (8, 9), 20))), "cuda:0", "bfloat16"),
        (Machine((card(0, (8, 6), 40), card(1, (9, 0), 20))), "cuda:1", "bfloat16"),
        (Machine((card(0, (8, 9), 0.1),)), "cuda:0", "bfloat16"),
    ],
)
def test_the_best_device_by_itself(machine: Machine, device: str, dtype: str) -> None:
    choice = choose_device(TranscriptionProfile(), machine)
    assert (choice.device, choice.dtype) == (device, dtype)
    assert choice.reason


@pytest.mark.parametrize(
    ("asked", "dtype", "device", "wanted"),
    [
        ("cpu", "auto", "cpu", "float32"),
        ("CUDA", "auto", "cuda:1", "bfloat16"),
        ("cuda:0", "auto", "cuda:0", "float16"),
        ("cuda:1", "float32", "cuda:1", "float32"),
        ("cpu", "bfloat16", "cpu", "bfloat16"),
    ],
)
def test_what_is_asked_for(asked: str, dtype: str, device: str, wanted: str) -> None:
    choice = choose_device(TranscriptionProfile(device=asked, dtype=dtype), Machine((T4, ADA)))
    assert (choice.device, choice.dtype) == (device, wanted)


@pytest.mark.parametrize("asked", ["cuda", "cuda:0", "mps"])
def test_a_device_that_is_not_there(asked: str) -> None:
    with pytest.raises(EnvironmentFailure):
        choose_device(TranscriptionProfile(device=asked), Machine())
    with pytest.raises(EnvironmentFailure, match="cuda:0 \\(card 0\\)"):
        choose_device(TranscriptionProfile(device="cuda:7"), Machine((T4,)))


@pytest.mark.parametrize(("device", "dtype"), [("gpu", "auto"), ("cuda:-1", "auto"), ("", "auto"), ("cpu", "int8")])
def test_names_that_are_none(device: str, dtype: str) -> None:
    with pytest.raises(UsageError):
        choose_device(TranscriptionProfile(device=device, dtype=dtype), Machine((T4,)))


def test_this_machine_has_a_device() -> None:
    assert choose_device(TranscriptionProfile(), describe_machine()).device


class TwoGpus:
    """Of torch.cuda what a description of the machine asks; `mem_get_info` makes a context, and is counted."""

    def __init__(self, count: int, *, driver: bool = True) -> None:
        self.count, self.driver, self.contexts = count, driver, set[int]()

    def is_available(self) -> bool:
        return self.count > 0

    def device_count(self) -> int:
        return self.count

    def get_device_properties(self, index: int) -> Any:
        return SimpleNamespace(name=f"GPU {index}", major=9, minor=0, total_memory=80 << 30)

    def device_memory_used(self, index: int) -> int:
        if not self.driver:
            raise ModuleNotFoundError("pynvml")
        return (index + 1) << 30

    def mem_get_info(self, index: int) -> tuple[int, int]:
        self.contexts.add(index)
        return 70 << 30, 80 << 30


def test_several_gpus_are_looked_at_without_a_context_on_each(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = TwoGpus(2)
    monkeypatch.setattr(torch, "cuda", cuda)
    assert [card.free_bytes >> 30 for card in describe_machine().cards] == [79, 78]
    assert not cuda.contexts


@pytest.mark.parametrize(("count", "driver"), [(1, True), (2, False)])
def test_a_single_gpu_or_one_without_the_drivers_library_is_asked_by_torch(
    monkeypatch: pytest.MonkeyPatch, count: int, driver: bool
) -> None:
    cuda = TwoGpus(count, driver=driver)
    monkeypatch.setattr(torch, "cuda", cuda)
    assert [card.free_bytes >> 30 for card in describe_machine().cards] == [70] * count
    assert cuda.contexts == set(range(count))
