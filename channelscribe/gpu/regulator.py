"""How much of its time the card may work while it is warm: a regulator that tunes itself to the card's speed.

Called by the policy for each gauge in zone slow; a narrow duty cycle keeps more throughput than pausing and resuming
(research/peers.md, B3), so pauses are left for what the regulator cannot hold.
"""

from __future__ import annotations

from dataclasses import replace

from channelscribe.core.guard import GuardPolicy
from channelscribe.gpu.gauges import Gauge, Trend

_TARGET = 0.3  # of the band, below the ceiling
_EAGERNESS = 0.6  # crossover frequency times dead time; above 1 such a loop swings
_PATIENCE = 8.0  # dead times in which the standing part follows a standing error
_AFTER_PAUSE = 0.85
_LONGEST_DEAD_S = 30.0


def target(gauge: Gauge) -> float:
    """What is aimed at: just so far under the ceiling that ripple does not reach it."""
    return gauge.ceiling - _TARGET * gauge.band


def dead_time_s(policy: GuardPolicy, trend: Trend, longest_step_s: float) -> float:
    """From a decision until its effect is read: one sample, and the step in flight."""
    return min(trend.gap_s(policy.sample_s) + longest_step_s, _LONGEST_DEAD_S)


def regulate(policy: GuardPolicy, gauge: Gauge, trend: Trend, longest_step_s: float) -> tuple[Trend, float]:
    """The trend with its learnt duty, and the duty to use now, within `min_duty` to 1.

    The gain follows from the observed speed: the faster the card heats and cools, the less each degree may change the
    duty, or the delay between decision and effect makes it swing.
    """
    dead_s = dead_time_s(policy, trend, longest_step_s)
    speed = max(trend.heat + trend.cool, gauge.band / 20.0)
    gain = min(_EAGERNESS / (speed * dead_s), 2.0 / gauge.band)
    error = target(gauge) - gauge.value - trend.slope * dead_s
    learnt = trend.duty + gain / (_PATIENCE * dead_s) * error * min(trend.gap_s(policy.sample_s), dead_s)
    learnt = _within(policy, learnt)
    return replace(trend, duty=learnt), _within(policy, learnt + gain * error)


def after_pause(policy: GuardPolicy, trend: Trend) -> Trend:
    """A pause was needed: the learnt duty was too much."""
    return replace(trend, duty=_within(policy, trend.duty * _AFTER_PAUSE))


def batch_share(gauge: Gauge, trend: Trend, longest_step_s: float) -> float:
    """The share of a batch whose step heats by no more than the band; at least a quarter."""
    rise = trend.heat * longest_step_s
    return min(max(gauge.band / rise, 0.25), 1.0) if rise > gauge.band else 1.0


def _within(policy: GuardPolicy, duty: float) -> float:
    return min(max(duty, policy.min_duty), 1.0)
