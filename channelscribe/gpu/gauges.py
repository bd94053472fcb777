"""The quantities that have a ceiling (temperature, memory temperature, average power) and how they move.

Between the senses and the policy: user's ceiling and card's own limit become one scale, and a trend foretells the
next moment.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from channelscribe.core.gpu import Cause, GpuSample
from channelscribe.core.guard import GuardPolicy
from channelscribe.gpu.sanity import HOTTEST_C, Senses, number

_SLOPE_SAMPLES, _MEAN_SAMPLES = 5, 8
_FORGET_S = 600.0
_SHUTDOWN_ABOVE_SLOWDOWN_C = 5.0  # where a card reports only its shutdown threshold
_CARD_HOLDS = 1.05  # a GPU holds its own power limit, with a few watts to and fro; 5 % above it, it does not


@dataclass(frozen=True, slots=True)
class Gauge:
    """One quantity on its scale, all in `unit`: slow from `slow_at`, pause at `ceiling`, go on at `resume_at`. `most`
    is what the GPU itself lets it rise to."""

    cause: Cause
    name: str
    unit: str
    value: float
    ceiling: float
    slow_at: float
    resume_at: float
    stop_at: float
    whose: str
    most: float = math.inf

    @property
    def band(self) -> float:
        return self.ceiling - self.slow_at

    def text(self, value: float) -> str:
        return f"{value:.0f} {self.unit}" if self.unit == "W" else f"{value:.1f} {self.unit}".replace(".0 ", " ")


@dataclass(frozen=True, slots=True)
class Trend:
    """How one quantity moves.

    `slope`: per second, over the last samples. `mean`: of more of them, and `ripple`: how far single ones rise above
    their line as steps and rests take turns. `heat` and `cool`: the fastest rise and fall of the last ten minutes or
    so. `duty`: the share of time that the regulator has found to be right so far; `margin`: how much lower than usual
    it aims, because it was wrong lately.
    """

    points: tuple[tuple[float, float], ...] = ()
    slope: float = 0.0
    mean: float = 0.0
    ripple: float = 0.0
    heat: float = 0.0
    cool: float = 0.0
    duty: float = 1.0
    margin: float = 0.0

    def gap_s(self, fallback_s: float) -> float:
        """Seconds between the last two samples."""
        if len(self.points) < 2:
            return fallback_s
        return self.points[-1][0] - self.points[-2][0]


def follow(trend: Trend, now_s: float, value: float) -> Trend:
    """The trend after one more value."""
    if trend.points and now_s <= trend.points[-1][0]:
        return trend
    passed_s = now_s - trend.points[-1][0] if trend.points else 0.0
    points = (*trend.points, (now_s, value))[-_MEAN_SAMPLES:]
    _, slope = _line(points[-_SLOPE_SAMPLES:])
    end, drift = _line(points)
    kept = math.exp(-passed_s / _FORGET_S)
    return replace(
        trend,
        points=points,
        slope=slope,
        mean=sum([v for _, v in points]) / len(points),
        ripple=max([v - end - drift * (t - now_s) for t, v in points]),
        heat=max(slope, trend.heat * kept),
        cool=max(-slope, trend.cool * kept),
        margin=trend.margin * kept,
    )


def _line(points: tuple[tuple[float, float], ...]) -> tuple[float, float]:
    """Least squares: the value at the last point, and the change per second."""
    n, origin = len(points), points[-1][0]
    sum_t = sum_v = sum_tt = sum_tv = 0.0
    for t, v in points:
        back = t - origin
        sum_t, sum_v, sum_tt, sum_tv = sum_t + back, sum_v + v, sum_tt + back * back, sum_tv + back * v
    spread = n * sum_tt - sum_t * sum_t
    slope = (n * sum_tv - sum_t * sum_v) / spread if spread > 0 else 0.0
    return (sum_v - slope * sum_t) / n, slope


def slowdown(sample: GpuSample, temp_c: float | None) -> float | None:
    """Where the card begins to slow itself (°C), from its headroom, its threshold, or its shutdown threshold."""
    headroom_c, chip_c = number(sample.headroom_c), number(sample.temp_c)
    if headroom_c is not None and chip_c is not None and chip_c == temp_c and _plausible(chip_c + headroom_c):
        return chip_c + headroom_c
    threshold_c, shutdown_c = number(sample.slowdown_c), number(sample.shutdown_c)
    if threshold_c is not None and _plausible(threshold_c):
        return threshold_c
    if shutdown_c is not None and _plausible(shutdown_c - _SHUTDOWN_ABOVE_SLOWDOWN_C):
        return shutdown_c - _SHUTDOWN_ABOVE_SLOWDOWN_C
    return None


def _plausible(threshold_c: float) -> bool:
    return 40.0 <= threshold_c <= HOTTEST_C


def gauges(
    policy: GuardPolicy, sample: GpuSample, senses: Senses, average_w: float | None, limit_w: float | None
) -> Iterator[Gauge]:
    """What of this sample has a ceiling. The thermometer counts with its last believed value; `limit_w` is the power
    limit that held while the average was taken (`keep_limit`)."""
    if senses.temp_c is not None:
        yield _temperature(policy, senses.temp_c, slowdown(sample, senses.temp_c))
    memory_c = number(sample.mem_temp_c)
    if memory_c is not None and 0 < memory_c < HOTTEST_C:
        ceiling, stop = policy.mem_temp_c, policy.mem_temp_c + 2 * policy.headroom_pause_c
        slow, resume = ceiling - policy.slow_below_c, ceiling - policy.resume_below_c
        whose = "your ceiling"
        yield Gauge(Cause.MEMORY_TEMPERATURE, "memory temperature", "°C", memory_c, ceiling, slow, resume, stop, whose)
    if average_w is not None:
        yield _power(policy, average_w, limit_w)


def _temperature(policy: GuardPolicy, temp_c: float, slowdown_c: float | None) -> Gauge:
    ceiling, whose = policy.temp_c, "your ceiling"
    slow, resume = ceiling - policy.slow_below_c, ceiling - policy.resume_below_c
    stop = ceiling + 2 * policy.headroom_pause_c
    if slowdown_c is not None:
        slow, resume = (
            min(slow, slowdown_c - policy.headroom_slow_c),
            min(resume, slowdown_c - policy.headroom_resume_c),
        )
        stop = slowdown_c - policy.headroom_stop_c
        if slowdown_c - policy.headroom_pause_c < ceiling:
            ceiling = slowdown_c - policy.headroom_pause_c
            whose = f"{policy.headroom_pause_c:g} °C under the card's own slowdown at"
            whose = f"the ceiling {whose} {slowdown_c:.0f} °C,"
    return Gauge(Cause.TEMPERATURE, "temperature", "°C", temp_c, ceiling, slow, resume, stop, whose)


def _power(policy: GuardPolicy, average_w: float, limit_w: float | None) -> Gauge:
    """Where the GPU's own limit is not above the ceiling, reaching it is normal: the GPU holds it by itself. On the way
    there nothing is foretold beyond the limit either."""
    if limit_w is not None and 0 < limit_w <= policy.power_w:
        ceiling, slow, resume, whose = _CARD_HOLDS * limit_w, 1.02 * limit_w, limit_w, "5 % over the card's own limit,"
    else:
        ceiling, whose = policy.power_w, "your ceiling"
        slow, resume = 0.95 * ceiling, 0.9 * ceiling
    most = math.inf if limit_w is None or limit_w <= 0 else limit_w
    return Gauge(Cause.POWER, "average power", "W", average_w, ceiling, slow, resume, math.inf, whose, most)


def average_power(powers: tuple[tuple[float, float], ...], window_s: float) -> float | None:
    """Mean watts over the window; what lies before the first sample counts as nothing drawn."""
    if not powers:
        return None
    now_s = powers[-1][0]
    drawn_j = sum(
        (b_s - max(a_s, now_s - window_s)) * b_w
        for (a_s, _), (b_s, b_w) in itertools.pairwise(powers)
        if b_s > now_s - window_s
    )
    return drawn_j / window_s


def keep_power(
    powers: tuple[tuple[float, float], ...], now_s: float, sample: GpuSample, window_s: float
) -> tuple[tuple[float, float], ...]:
    """The power readings that the window still needs, with this one.

    The mean of a second, where the GPU gives one: the instant of a GPU at its limit leaps about it, and thirty instants
    have a mean of their own.
    """
    watts = number(sample.power_average_w)
    if watts is None or watts <= 0:
        watts = number(sample.power_w)
    if watts is None or watts < 0 or (powers and now_s <= powers[-1][0]):
        return powers
    first = next((i for i, (at_s, _) in enumerate(powers) if at_s > now_s - window_s), len(powers))
    return (*powers[max(first - 1, 0) :], (now_s, watts))


def keep_limit(
    limits: tuple[tuple[float, float], ...], now_s: float, limit_w: float | None, window_s: float
) -> tuple[tuple[float, float], ...]:
    """The power limits of the window, with this one; the first is the highest, and each later one lower.

    An average is compared with the highest limit that held while it was taken: a limit that was lowered a moment ago,
    by another run, by an administrator or by a laptop that moves watts to its processor, holds the watts to come only.
    """
    if limit_w is None:
        return limits
    return (*((at, w) for at, w in limits if at > now_s - window_s and w > limit_w), (now_s, limit_w))
