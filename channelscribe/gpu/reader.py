"""Reads one NVIDIA card: what panel, process list, PyTorch's allocator and XID events say, as one GpuSample.

The real one of the readers (`sim.py` and `replay.py` are the others); the guard calls `sample` once a second.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psutil

from channelscribe.core.clock import Clock, SystemClock
from channelscribe.core.gpu import Card, GpuProcess, GpuSample
from channelscribe.gpu.cards import Seen, list_cards, named
from channelscribe.gpu.fields import SOON_S, Device
from channelscribe.gpu.memory import torch_cards, torch_memory
from channelscribe.gpu.nvml import Kind, Nvml, NvmlError, Trouble, attempt
from channelscribe.gpu.panel import REST_S, Panel
from channelscribe.gpu.processes import list_processes
from channelscribe.gpu.xids import XidWatch

log = logging.getLogger(__name__)
REOPEN_S = 30.0


class NvmlReader:
    """One card by UUID. Owns `nvml` and closes it. Thread-safe.

    A sample is about what NVML says now, except what hardly changes or costs much (fan and processes 5 s,
    PCIe and ECC 30 s, thresholds and maxima 300 s), which keeps its last answer in between.
    """

    def __init__(
        self,
        nvml: Nvml,
        seen: Seen,
        ordinal: int | None = None,
        *,
        clock: Clock | None = None,
        whose: Callable[[int], bool | None] | None = None,
    ) -> None:
        self._clock: Clock = clock or SystemClock()
        self._whose = whose
        self._lock = threading.Lock()
        self._ordinal_known = False
        self._reopened_s = float("-inf")
        self._closed = False
        self._watch(nvml, seen)
        total = attempt(nvml.ask, "nvmlDeviceGetMemoryInfo", self._device.own)
        self._card = Card(
            seen.physical.uuid,
            seen.physical.name,
            ordinal,
            nvml.driver(),
            None if isinstance(total, Trouble) else total.total,
            seen.instance.uuid if seen.instance else "",
        )

    @property
    def card(self) -> Card:
        return self._card

    @property
    def nvml(self) -> Nvml:
        return self._nvml

    def sample(self) -> GpuSample:
        with self._lock:
            now_s = self._clock.monotonic()
            empty = GpuSample(self._card.uuid, self._card.name, self._clock.now(), now_s)
            if self._closed:
                return replace(empty, lost=True, errors=("the reader is closed",))
            xids = self._xids.collect()
            try:
                values, errors = self._panel.read(now_s)
            except NvmlError as error:
                xids += self._xids.collect()  # a card that falls off the bus often says so at the same moment
                self._reopen(now_s)
                return replace(empty, lost=True, xids=xids, errors=(error.trouble.text,))
            errors += self._look_for_processes(now_s)
            errors += self._ask_torch(values)
            return replace(_filled(empty, values), xids=xids, processes=self._processes, errors=tuple(errors))

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._xids.close()
            self._nvml.close()

    def _watch(self, nvml: Nvml, seen: Seen) -> None:
        instance = seen.instance.handle if seen.instance else None
        self._nvml, self._device = nvml, Device(nvml, seen.physical.handle, instance or seen.physical.handle)
        self._panel, self._xids = Panel(self._device), XidWatch(nvml, seen.physical.handle)
        self._processes: tuple[GpuProcess, ...] | None = None
        self._processes_due_s = float("-inf")

    def _reopen(self, now_s: float) -> None:
        """A driver that was reloaded or a card that was reset answers only to new handles."""
        if self._closed or now_s - self._reopened_s < REOPEN_S:
            return
        self._reopened_s = now_s
        closed_by_others = not self._nvml.is_open()
        nvml = attempt(Nvml)
        if isinstance(nvml, Trouble):
            return
        cards = attempt(list_cards, nvml)
        seen = None if isinstance(cards, Trouble) else named(cards, self._card.instance or self._card.uuid)
        if seen is None:
            nvml.close()
            return
        if not closed_by_others:
            self._xids.close()
            self._nvml.close()
        self._watch(nvml, seen)

    def _look_for_processes(self, now_s: float) -> list[str]:
        if now_s < self._processes_due_s:
            return []
        self._processes_due_s = now_s + SOON_S
        try:
            self._processes = list_processes(self._device, self._whose)
        except NvmlError as error:
            self._processes = None
            if error.trouble.kind in (Kind.UNSUPPORTED, Kind.REFUSED):
                self._processes_due_s = now_s + REST_S
            return [f"processes: {error.trouble.text}"]
        except (psutil.Error, OSError) as error:
            self._processes = None
            return [f"processes: {error}"]
        return []

    def _ask_torch(self, values: dict[str, Any]) -> list[str]:
        try:
            self._trust_torch()
            held = torch_memory(self._card.ordinal)
        except (RuntimeError, AssertionError, AttributeError) as error:
            return [f"torch: {str(error).splitlines()[0] if str(error) else type(error).__name__}"]
        if held is not None:
            values["torch_allocated_bytes"], values["torch_reserved_bytes"] = held.allocated_bytes, held.reserved_bytes
        return []

    def _trust_torch(self) -> None:
        """CUDA's number for this card is certain only once CUDA runs."""
        order = None if self._ordinal_known else torch_cards()
        if order is None:
            return
        self._ordinal_known = True
        own = {uuid.lower().split("-", 1)[-1] for uuid in (self._card.uuid, self._card.instance) if uuid}
        ordinal = next((number for number, uuid in enumerate(order) if uuid in own), None)
        if ordinal != self._card.ordinal:
            log.warning(
                "CUDA calls the guarded card %s %s, not %s", self._card.uuid, _number(ordinal), self._card.ordinal
            )
            self._card = replace(self._card, ordinal=ordinal)


def _number(ordinal: int | None) -> str:
    return "nothing in this process" if ordinal is None else str(ordinal)


def _filled(empty: GpuSample, values: dict[str, Any]) -> GpuSample:
    """Headroom is the card's own margin; without one, the distance to where it slows down."""
    slowdown_c, temp_c = values.get("slowdown_c"), values.get("temp_c")
    if "headroom_c" not in values and slowdown_c is not None and temp_c is not None:
        values["headroom_c"] = slowdown_c - temp_c
    return replace(empty, **values)
