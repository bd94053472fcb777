"""One point of a run's GPU curve: what totals and pictures need of a reading, and no more.

Between the table `gpu_metrics/` or a live card on one side, and totals, pictures and terminals on the other.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime

from channelscribe.core.gpu import Cause, Reading, Zone


@dataclass(frozen=True, slots=True)
class Moment:
    """None where the card did not say. Fields as in `GpuSample`, `Load` and `Decision`."""

    at: datetime
    uuid: str
    monotonic_s: float
    lost: bool = False
    temp_c: float | None = None
    mem_temp_c: float | None = None
    slowdown_c: float | None = None
    power_w: float | None = None
    limit_w: float | None = None
    energy_j: float | None = None
    throttle_mask: int | None = None
    thermal_violation_s: float | None = None
    util_gpu_percent: float | None = None
    mem_used_bytes: int | None = None
    mem_total_bytes: int | None = None
    torch_reserved_bytes: int | None = None
    stage: str = "idle"
    batch: int = 0
    busy_share: float = 0.0
    held_s: float = 0.0
    zone: Zone = Zone.RUN
    cause: Cause = Cause.NONE
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Ceilings:
    """The limits that a guard kept a run under; None where there was none."""

    temp_c: float | None = None
    power_w: float | None = None
    memory_bytes: int | None = None


# Bits of NVML's clock event reasons. Idle, application clocks and the power cap are a card's normal life.
THROTTLE_WORDS = {
    0x1: "idle",
    0x2: "application clocks",
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "thermal (software)",
    0x40: "thermal (hardware)",
    0x80: "power brake",
    0x100: "display clocks",
}
THROTTLING = 0x8 | 0x20 | 0x40 | 0x80
NO_CEILINGS = Ceilings()
COLUMNS = tuple(field.name for field in fields(Moment))


def moment(reading: Reading) -> Moment:
    """The point of a reading."""
    parts = (reading.sample, reading.load, reading.decision)
    return Moment(**{name: next(getattr(p, name) for p in parts if hasattr(p, name)) for name in COLUMNS})
