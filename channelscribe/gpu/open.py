"""Opens the reader that a setting names: the card of this run, one by its name, a simulated one, or a recorded one.

The only door to readers; the guard, the benchmarks and the command line come through here.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from channelscribe.core.clock import Clock, SystemClock
from channelscribe.core.errors import GpuFailure, UsageError
from channelscribe.core.gpu import Reader
from channelscribe.gpu.capping import recover
from channelscribe.gpu.cards import Physical, Seen, ambiguous, list_cards, named, visible
from channelscribe.gpu.cuda_order import ask_cuda
from channelscribe.gpu.memory import torch_cards
from channelscribe.gpu.nvml import Kind, Nvml, NvmlError
from channelscribe.gpu.reader import NvmlReader

log = logging.getLogger(__name__)
_OTHER_DEVICES = ("cpu", "mps")
Order = Callable[[], tuple[str, ...] | None]


def open_reader(spec: str, *, device: str = "auto", clock: Clock | None = None) -> Reader | None:
    """The reader that `spec` names; None for "off", and for "auto" where there is nothing to read.

    "auto" is the card on which `device` ("auto", "cuda", "cuda:N", "cpu", "mps") runs: hand in the device that the
    engine chose, because "auto" and "cuda" mean the first card that CUDA sees. "N" is CUDA's number of a card,
    "GPU-..." and "MIG-..." a UUID or its beginning, "sim" or "sim:SCENARIO" a simulated card, "replay:PATH" a trace.
    Raises UsageError for a spec that is none, GpuFailure for a named card that cannot be read.
    """
    word, _, rest = spec.strip().partition(":")
    word = word.lower()
    if word == "off" and not rest:
        return None
    if word == "sim":
        from channelscribe.gpu.sim import open_sim

        return open_sim(rest, clock or SystemClock())
    if word == "replay":
        from channelscribe.gpu.replay import open_replay

        return open_replay(Path(rest), clock or SystemClock())
    if word in ("", "auto") and not rest:
        return _automatic(device.strip().lower(), clock)
    if rest or not re.fullmatch(r"[0-9]{1,3}|(gpu|mig)-[0-9a-z/-]{1,100}", word):
        raise UsageError(
            f"{spec[:60]!r} names no card; use auto, off, a number, GPU-..., MIG-..., sim:SCENARIO or replay:PATH.",
            code="bad_reader",
        )
    return _on_driver(word, clock)


def _automatic(device: str, clock: Clock | None) -> Reader | None:
    """The card of that device. Where only "auto" was said, a machine without a working card is no failure."""
    if device in _OTHER_DEVICES:
        return None
    wanted = re.fullmatch(r"cuda:([0-9]{1,3})", device)
    try:
        return _on_driver(wanted[1] if wanted else "0", clock)
    except GpuFailure as error:
        if device != "auto" and error.code not in ("no_nvml", "no_card"):
            raise
        quiet = device == "auto" and error.code in ("no_nvml", "no_card")
        log.log(logging.DEBUG if quiet else logging.WARNING, "no card is guarded: %s", error.reason)
        return None


def _on_driver(word: str, clock: Clock | None) -> Reader:
    """The reader of the card called `word`. Raises GpuFailure: no_nvml, no_driver, no_card or which_card."""
    try:
        nvml = Nvml()
    except NvmlError as error:
        raise _no_driver(error) from None
    try:
        seen, ordinal = _find(list_cards(nvml), word)
        recover(nvml, seen.physical.uuid, seen.physical.handle)
        return NvmlReader(nvml, seen, ordinal, clock=clock)
    except NvmlError as error:
        nvml.close()
        raise _no_driver(error) from None
    except GpuFailure:
        nvml.close()
        raise


def _find(cards: Sequence[Physical], word: str) -> tuple[Seen, int | None]:
    """The card or instance, and CUDA's number for it, None where CUDA does not see it or does not say."""
    if word.isdigit():
        seen = in_cuda_order(cards, os.environ)
        if int(word) < len(seen):
            return seen[int(word)], int(word)
        there = ", ".join(f"{number}: {s.uuid} ({s.physical.name})" for number, s in enumerate(seen))
        raise GpuFailure(f"CUDA sees no card {word} in this process; it sees {there or 'none'}.", code="no_card")
    device = named(cards, word)
    if device is None:
        there = ", ".join(f"{card.uuid} ({card.name})" for card in cards)
        raise GpuFailure(f"There is no card {word} here, or several; there is {there or 'none'}.", code="no_card")
    try:
        seen = in_cuda_order(cards, os.environ)
    except GpuFailure:
        return device, None
    return device, next((number for number, s in enumerate(seen) if s.uuid == device.uuid), None)


def in_cuda_order(cards: Sequence[Physical], environment: Mapping[str, str], ask: Order = ask_cuda) -> tuple[Seen, ...]:
    """What CUDA counts in this process, by its numbers: its own word where there is one, else by its rules.

    Raises GpuFailure where the cards are unlike and CUDA does not say, because guarding the wrong card is no guard.
    """
    order = torch_cards()
    if order is None:
        if not ambiguous(cards, environment):
            return visible(cards, environment)
        order = ask()
    if order is None:
        raise GpuFailure(
            "The cards of this machine differ and CUDA does not say which it calls 0; set CUDA_DEVICE_ORDER=PCI_BUS_ID "
            "or name the card by its UUID.",
            code="which_card",
        )
    found = (named(cards, f"gpu-{uuid}") or named(cards, f"mig-{uuid}") for uuid in order)
    return tuple(seen for seen in found if seen is not None)


def _no_driver(error: NvmlError) -> GpuFailure:
    said = error.trouble.text
    if error.trouble.kind is Kind.ABSENT:
        return GpuFailure(f"There is no NVIDIA driver here ({said}); switch the guard off.", code="no_nvml")
    return GpuFailure(
        f"The driver of the NVIDIA card does not answer ({said}); mend it or switch the guard off.", code="no_driver"
    )
