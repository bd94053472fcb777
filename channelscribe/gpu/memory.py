"""What PyTorch's allocator holds of a card, asked only where PyTorch already runs on it.

Beside NVML in a sample. Never imports torch and never starts CUDA: a reader that did would take memory on the card, and
would break every later fork of the process.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TorchMemory:
    """Bytes that tensors take, and bytes that the allocator holds of the card."""

    allocated_bytes: int
    reserved_bytes: int


def running_torch() -> Any | None:
    """torch, if this process has imported it and started CUDA; else None."""
    torch = sys.modules.get("torch")
    started = getattr(getattr(torch, "cuda", None), "is_initialized", None)
    return torch if started is not None and started() else None


def torch_memory(ordinal: int | None) -> TorchMemory | None:
    """Of the card with that CUDA number; None where torch does not run or does not know the card."""
    torch = running_torch()
    if torch is None or ordinal is None or ordinal >= torch.cuda.device_count():
        return None
    stats = torch.cuda.memory_stats_as_nested_dict(ordinal)
    try:
        held = (stats[f"{kind}_bytes"]["all"]["current"] for kind in ("allocated", "reserved"))
        return TorchMemory(*held)
    except KeyError:  # another allocator than the native one keeps no such numbers
        return None


def torch_cards() -> tuple[str, ...] | None:
    """UUIDs without their prefix in the order of the running torch: the truth where `cards.visible` only reckons.

    None where torch does not run, or does not tell UUIDs.
    """
    torch = running_torch()
    if torch is None:
        return None
    cards = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    uuids = tuple(str(getattr(card, "uuid", "")).lower() for card in cards)
    return uuids if all(uuids) else None
