"""The choice of a device, from descriptions of machines that are not here."""

from __future__ import annotations

import pytest

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
