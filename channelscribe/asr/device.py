"""Which device the model runs on and in which number format, decided from a description of the machine.

The engine asks once before it loads the model; the decision is pure, so that it is tested without a card.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

from channelscribe.core.errors import EnvironmentFailure, UsageError
from channelscribe.core.profile import TranscriptionProfile

log = logging.getLogger(__name__)
DTYPES = ("float32", "float16", "bfloat16")
_ROOM_BYTES = 2 << 30
_BF16_FROM, _FP16_FROM = (8, 0), (7, 0)


@dataclass(frozen=True, slots=True)
class Card:
    """One CUDA card as torch sees it."""

    index: int
    name: str
    capability: tuple[int, int]
    free_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Machine:
    cards: tuple[Card, ...] = ()
    mps: bool = False


@dataclass(frozen=True, slots=True)
class DeviceChoice:
    device: str
    dtype: str
    reason: str


def choose_device(profile: TranscriptionProfile, machine: Machine | None = None) -> DeviceChoice:
    """The best CUDA card by capability and free memory, else MPS, else CPU; or exactly what the profile names.

    Raises UsageError for a name that is none and EnvironmentFailure for a device that is not there.
    """
    machine = machine or describe_machine()
    wanted = profile.device.strip().lower()
    if profile.dtype not in ("auto", *DTYPES):
        raise UsageError(f"{profile.dtype!r} is no number format; use auto, {', '.join(DTYPES)}.", code="bad_dtype")
    if wanted == "auto":
        return _automatic(profile, machine)
    if wanted == "cpu":
        return DeviceChoice("cpu", _dtype(profile, "float32"), "asked for")
    if wanted == "mps":
        if not machine.mps:
            raise EnvironmentFailure(
                "There is no Apple GPU (MPS) here; set the device to auto or cpu.", code="no_device"
            )
        return DeviceChoice("mps", _dtype(profile, "float32"), "asked for")
    if re.fullmatch(r"cuda(:\d{1,3})?", wanted):
        return _on_card(profile, _named_card(wanted, machine), "asked for")
    raise UsageError(f"{profile.device!r} is no device; use auto, cpu, mps, cuda or cuda:N.", code="bad_device")


def describe_machine() -> Machine:
    """What torch finds on this machine."""
    import torch

    indices = range(torch.cuda.device_count()) if torch.cuda.is_available() else range(0)
    cards = []
    for index in indices:
        seen = torch.cuda.get_device_properties(index)
        free = _free_bytes(index, seen.total_memory, alone=len(indices) == 1)
        cards.append(Card(index, seen.name, (seen.major, seen.minor), free, seen.total_memory))
    return Machine(tuple(cards), torch.backends.mps.is_available())


def _free_bytes(index: int, total_bytes: int, *, alone: bool) -> int:
    """Of several GPUs the driver's library is asked: torch would make a context of about 0.5 GB on each of them."""
    import torch

    if not alone:
        try:
            return max(0, total_bytes - int(torch.cuda.device_memory_used(index)))
        except Exception as error:  # noqa: BLE001  the library has errors of its own, and may be missing
            log.debug("the driver's library does not say how full GPU %d is: %s", index, error)
    return int(torch.cuda.mem_get_info(index)[0])


def _automatic(profile: TranscriptionProfile, machine: Machine) -> DeviceChoice:
    if machine.cards:
        return _on_card(profile, _best(machine.cards), "best card by capability and free memory")
    if machine.mps:
        return DeviceChoice("mps", _dtype(profile, "float32"), "no CUDA card, but an Apple GPU")
    return DeviceChoice("cpu", _dtype(profile, "float32"), "no GPU found")


def _best(cards: tuple[Card, ...]) -> Card:
    """A card without room for a model comes last, however new it is."""
    return max(cards, key=lambda c: (c.free_bytes >= _ROOM_BYTES, c.capability, c.free_bytes, -c.index))


def _named_card(wanted: str, machine: Machine) -> Card:
    if not machine.cards:
        raise EnvironmentFailure(
            "There is no CUDA card here that torch can use; set the device to auto or mend the driver.",
            code="no_device",
        )
    if ":" not in wanted:
        return _best(machine.cards)
    index = int(wanted.split(":")[1])
    card = next((c for c in machine.cards if c.index == index), None)
    if card is None:
        there = ", ".join(f"cuda:{c.index} ({c.name})" for c in machine.cards)
        raise EnvironmentFailure(f"There is no {wanted} here, only {there}.", code="no_device")
    return card


def _on_card(profile: TranscriptionProfile, card: Card, why: str) -> DeviceChoice:
    formats = ((_BF16_FROM, "bfloat16"), (_FP16_FROM, "float16"))
    best = next((name for lowest, name in formats if card.capability >= lowest), "float32")
    reason = f"{why}: {card.name}, {card.free_bytes / 2**30:.1f} of {card.total_bytes / 2**30:.1f} GiB free"
    return DeviceChoice(f"cuda:{card.index}", _dtype(profile, best), reason)


def _dtype(profile: TranscriptionProfile, automatic: str) -> str:
    return automatic if profile.dtype == "auto" else profile.dtype
