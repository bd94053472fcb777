"""What a card did for one run, added up sample by sample: seconds, joules, peaks.

The guard feeds it; the run's row in `runs/` and the terminal show it.
"""

from __future__ import annotations

from dataclasses import dataclass

from channelscribe.core.gpu import GpuSample, Load, Zone

# NVML's clock event reasons that mean "slower than asked, to protect itself": hardware slowdown, software and hardware
# thermal slowdown, hardware power brake (research/peers.md, B2). A power cap is a normal way of working.
THROTTLED = 0x8 | 0x20 | 0x40 | 0x80


@dataclass(frozen=True, slots=True)
class GuardTotals:
    """One run so far. None where the card does not say."""

    paused_s: float = 0.0
    slowed_s: float = 0.0
    throttled_s: float | None = None
    energy_j: float | None = None
    busy_share: float = 0.0
    peak_memory_bytes: int | None = None
    peak_temp_c: float | None = None
    pauses: int = 0


class Tally:
    """Not thread-safe. A sample stands for the time since the one before."""

    def __init__(self) -> None:
        self._last: GpuSample | None = None
        self._watched_s = self._busy_s = self._slowed_s = 0.0
        self._throttled_s: float | None = None
        self._energy_j: float | None = None
        self._peak_memory: int | None = None
        self._peak_temp_c: float | None = None
        self._zone, self._pauses = Zone.RUN, 0

    def add(self, sample: GpuSample, load: Load, zone: Zone) -> None:
        last, self._last = self._last, sample
        self._peaks(sample)
        if zone is Zone.PAUSE and self._zone is not Zone.PAUSE:
            self._pauses += 1
        before, self._zone = self._zone, zone
        if last is None:
            return
        passed_s = max(0.0, sample.monotonic_s - last.monotonic_s)
        self._watched_s += passed_s
        self._busy_s += load.busy_share * passed_s
        self._slowed_s += passed_s if before is Zone.SLOW else 0.0
        if sample.throttle_mask is not None:
            throttled = bool(sample.throttle_mask & THROTTLED)
            self._throttled_s = (self._throttled_s or 0.0) + (passed_s if throttled else 0.0)
        if (joules := _joules(last, sample, passed_s)) is not None:
            self._energy_j = (self._energy_j or 0.0) + joules

    def totals(self, paused_s: float) -> GuardTotals:
        return GuardTotals(
            paused_s=paused_s,
            slowed_s=self._slowed_s,
            throttled_s=self._throttled_s,
            energy_j=self._energy_j,
            busy_share=self._busy_s / self._watched_s if self._watched_s else 0.0,
            peak_memory_bytes=self._peak_memory,
            peak_temp_c=self._peak_temp_c,
            pauses=self._pauses,
        )

    def _peaks(self, sample: GpuSample) -> None:
        if sample.temp_c is not None:
            self._peak_temp_c = max(sample.temp_c, self._peak_temp_c or sample.temp_c)
        if (used := _used_bytes(sample)) is not None:
            self._peak_memory = max(used, self._peak_memory or 0)


def _used_bytes(sample: GpuSample) -> int | None:
    """What this run uses; the whole card's use where the card does not tell processes apart."""
    ours = [p.used_bytes for p in sample.processes or () if p.ours and p.used_bytes is not None]
    return sum(ours) if ours else sample.mem_used_bytes


def _joules(last: GpuSample, sample: GpuSample, passed_s: float) -> float | None:
    """The card's own counter where it has one and it did not start anew, else power over time."""
    if last.energy_j is not None and sample.energy_j is not None and sample.energy_j >= last.energy_j:
        return sample.energy_j - last.energy_j
    if last.power_w is not None and sample.power_w is not None:
        return passed_s * (last.power_w + sample.power_w) / 2
    return None
