"""How much of its time the card may work while it is warm: a regulator that tunes itself to the card's speed.

Called by the policy for each gauge in zone slow; a narrow duty cycle keeps more throughput than pausing and resuming
(research/peers.md, B3), so pauses are left for what the regulator cannot hold.
"""

from __future__ import annotations

from dataclasses import replace

from channelscribe.core.guard import GuardPolicy
from channelscribe.gpu.gauges import Gauge, Trend

_WHOLE_DEGREES = 0.5  # thermometers round
_TARGET = 0.3  # of the band, below the ceiling
_EAGERNESS = 0.6  # crossover frequency times dead time; above 1 such a loop swings
_PATIENCE = 5.0  # dead times in which the standing part follows a standing error
_AFTER_PAUSE, _AFTER_PAUSE_LOWER, _LOWEST = 0.95, 0.1, 0.5
_LONGEST_DEAD_S, _MEAN_LAG = 30.0, 4.0


def target(gauge: Gauge, trend: Trend) -> float:
    """What is aimed at: just so far under the ceiling that the ripple of steps and rests does not reach it."""
    return gauge.ceiling - min(max(_TARGET * gauge.band, trend.ripple + _WHOLE_DEGREES) + trend.margin, gauge.band)


def dead_time_s(policy: GuardPolicy, trend: Trend, longest_step_s: float) -> float:
    """From a decision until its effect shows in the mean: the step in flight, and half of the samples of the mean."""
    return min(_MEAN_LAG * trend.gap_s(policy.sample_s) + longest_step_s, _LONGEST_DEAD_S)


def regulate(policy: GuardPolicy, gauge: Gauge, trend: Trend, longest_step_s: float) -> tuple[Trend, float]:
    """The trend with its learnt duty, and the duty to use now, within `min_duty` to 1.

    The gain follows from the observed speed: the faster the card heats and cools, the less each degree may change the
    duty, or the delay between decision and effect makes it swing.
    """
    dead_s = dead_time_s(policy, trend, longest_step_s)
    speed = max(trend.heat + trend.cool, gauge.band / 8.0)
    gain = min(_EAGERNESS / (speed * dead_s), 2.0 / gauge.band)
    error = target(gauge, trend) - trend.mean
    learnt = trend.duty + gain / (_PATIENCE * dead_s) * error * min(trend.gap_s(policy.sample_s), dead_s)
    learnt = _within(policy, learnt)
    return replace(trend, duty=learnt), _within(policy, learnt + gain * error)


def after_pause(policy: GuardPolicy, gauge: Gauge, trend: Trend, busy: float) -> Trend:
    """A pause was needed: the learnt duty was too much, and the aim too high. `busy`: the share of time that was worked
    lately, pauses included, which the card has borne."""
    margin = min(trend.margin + _AFTER_PAUSE_LOWER * gauge.band, _LOWEST * gauge.band)
    return replace(trend, duty=_within(policy, max(trend.duty * _AFTER_PAUSE, min(trend.duty, busy))), margin=margin)


def released(trend: Trend) -> Trend:
    """Work goes on: what was read while it rested says nothing about the mean of the time to come."""
    return replace(trend, points=trend.points[-1:])


def batch_share(policy: GuardPolicy, gauge: Gauge, trend: Trend, longest_step_s: float) -> float:
    """The share of a batch to work with; at least a quarter.

    Smaller where single steps carry the temperature through more than half the band, and where steps outlast samples
    and pauses were needed again and again: such a step is over the ceiling before anything can hold it.
    """
    rough = gauge.band / 2 / trend.ripple if trend.ripple > gauge.band / 2 else 1.0
    wrong = trend.margin / (_LOWEST * gauge.band) if longest_step_s > trend.gap_s(policy.sample_s) else 0.0
    return max(min(rough, 1.0 - 0.7 * wrong), 0.25)


def _within(policy: GuardPolicy, duty: float) -> float:
    return min(max(duty, policy.min_duty), 1.0)
