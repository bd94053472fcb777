"""Whether the thermometer can be believed: missing, impossible, jumping and frozen readings are told from real ones.

The first thing that the policy asks of every sample; only what passes here is compared with a ceiling.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from channelscribe.core.gpu import GpuSample, Load
from channelscribe.core.guard import GuardPolicy

COLDEST_C, HOTTEST_C = 0.0, 150.0  # at 0 C and below it is a driver's "unknown"; silicon does not live at 150 C
JUMP_C_S = 30.0  # research/peers.md, B4
_LARGEST = 1e15  # more than any count of bytes or seconds; keeps sums and squares finite
_LEVEL_TAU_S = 15.0
_LEVEL_MOVED = 0.2  # of the power limit (or of busy time): so much more or less load moves any thermometer


def number(value: object) -> float | None:
    """A number that a card can mean, or None for whatever else a driver or a file may give."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -_LARGEST < value < _LARGEST else None


def moment(sample: GpuSample, before_s: float) -> float:
    """The sample's monotonic second; a clock that says nonsense or runs back stands still."""
    now = number(sample.monotonic_s)
    return before_s if now is None or now < before_s else now


@dataclass(frozen=True, slots=True)
class Senses:
    """What is known of the thermometer. `temp_c` is the last believed value, `trouble` why the present one is not."""

    looked: int = 0
    temp_c: float | None = None
    temp_s: float = 0.0
    bad: int = 0
    good: int = 0
    blind: bool = False
    trouble: str = ""
    still_s: float = 0.0
    level: float | None = None
    level_low: float = 0.0
    level_high: float = 0.0
    frozen: bool = False

    @property
    def without_sensor(self) -> bool:
        """No reading was ever believed: the card has no thermometer that we may read, as a MIG slice."""
        return self.temp_c is None


def look(policy: GuardPolicy, senses: Senses, sample: GpuSample, load: Load, now_s: float) -> Senses:
    """The senses after one more sample. Blind after `bad_readings` bad ones in a row, seeing again after as many good.

    Until it counts as blind, the last believed temperature stays; the policy lets it rise meanwhile at the fastest
    rate seen, so a short gap costs nothing and a hot one is not slept through.
    """
    temp_c = number(sample.temp_c)
    trouble = _trouble(senses, temp_c, now_s)
    if trouble or temp_c is None:
        bad = senses.bad + 1
        blind = senses.blind or bad >= policy.bad_readings
        return replace(senses, looked=senses.looked + 1, bad=bad, good=0, blind=blind, trouble=trouble)
    moved = _follow_load(senses, sample, load, temp_c, now_s)
    trouble = _frozen(policy, moved, temp_c, now_s)
    good = 0 if trouble else moved.good + 1
    blind = bool(trouble) or (moved.blind and good < policy.bad_readings)
    return replace(
        moved,
        looked=moved.looked + 1,
        temp_c=temp_c,
        temp_s=now_s,
        bad=0,
        good=good,
        blind=blind,
        frozen=bool(trouble),
        trouble=trouble or (f"the thermometer has been back for {good} readings" if blind else ""),
    )


def _trouble(senses: Senses, temp_c: float | None, now_s: float) -> str:
    if temp_c is None:
        return "the card reports no temperature"
    if not COLDEST_C < temp_c < HOTTEST_C:
        return f"a temperature of {temp_c:.0f} °C is impossible"
    if senses.temp_c is None:
        return ""
    passed_s = max(now_s - senses.temp_s, 1.0)
    if abs(temp_c - senses.temp_c) > JUMP_C_S * passed_s:
        return f"a jump from {senses.temp_c:.0f} to {temp_c:.0f} °C in {passed_s:.0f} s is impossible"
    return ""


def _follow_load(senses: Senses, sample: GpuSample, load: Load, temp_c: float, now_s: float) -> Senses:
    """Smooths the load, and since the temperature last changed keeps its lowest and highest value."""
    seen = _level(sample, load)
    if senses.level is None or senses.temp_c is None:
        return replace(senses, level=seen, level_low=seen, level_high=seen, still_s=now_s)
    weight = 1.0 - math.exp(-max(now_s - senses.temp_s, 0.0) / _LEVEL_TAU_S)
    level = senses.level + weight * (seen - senses.level)
    if temp_c != senses.temp_c:
        return replace(senses, level=level, level_low=level, level_high=level, still_s=now_s)
    return replace(
        senses, level=level, level_low=min(level, senses.level_low), level_high=max(level, senses.level_high)
    )


def _level(sample: GpuSample, load: Load) -> float:
    power_w, limit_w = number(sample.power_w), number(sample.limit_w)
    if power_w is not None and limit_w is not None and limit_w > 0:
        return min(max(power_w / limit_w, 0.0), 2.0)
    return min(max(number(load.busy_share) or 0.0, 0.0), 1.0)


def _frozen(policy: GuardPolicy, senses: Senses, temp_c: float, now_s: float) -> str:
    still_s = now_s - senses.still_s
    moved = senses.level_high - senses.level_low > _LEVEL_MOVED
    if temp_c != senses.temp_c or not (senses.frozen or (moved and still_s >= policy.frozen_s)):
        return ""
    return f"the temperature has stood at exactly {temp_c:.0f} °C for {still_s:.0f} s while the load changed"
