"""Watts instead of rests: turns the regulator's duty into a power limit where the owner allowed it.

Called by the policy at its end. The same work at a lower clock takes less energy than work and rest in turns
(research/peers.md, B3), but it needs rights on the card; a card that does not follow is given rests again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from channelscribe.core.gpu import Cause, Decision, GpuSample, Zone
from channelscribe.core.guard import GuardPolicy
from channelscribe.gpu.sanity import number

_FOLLOWS = 1.03
_PATIENCE = 5
_OF_HEAT = (Cause.TEMPERATURE, Cause.MEMORY_TEMPERATURE, Cause.POWER)


@dataclass(frozen=True, slots=True)
class Caps:
    """The power limit asked for, and for how many samples in a row the card has not followed."""

    asked_w: float | None = None
    ignored: int = 0

    @property
    def refused(self) -> bool:
        return self.ignored >= _PATIENCE


def cap(policy: GuardPolicy, caps: Caps, sample: GpuSample, decision: Decision) -> tuple[Caps, Decision]:
    """The decision with watts in place of duty, where that is allowed, possible and obeyed.

    In zone run no cap is wanted (None restores the card's own limit); during a pause the last one stays.
    """
    if not policy.power_cap or decision.zone is Zone.STOP:
        return caps, decision
    caps = _obeyed(caps, sample)
    least, full = number(sample.limit_min_w), number(sample.limit_default_w) or number(sample.limit_max_w)
    if caps.refused or least is None or full is None or not 0 < least < full:
        return replace(caps, asked_w=None), decision
    if decision.zone is Zone.PAUSE:
        return caps, replace(decision, cap_w=caps.asked_w)
    if decision.duty >= 1.0:
        return Caps(), decision
    watts = max(decision.duty * full, least)
    duty = min(decision.duty * full / least, 1.0)
    share = 1.0 if duty >= 1.0 and decision.cause in _OF_HEAT else decision.batch_share  # no rests, no ripple
    return Caps(watts, caps.ignored), replace(decision, cap_w=watts, duty=duty, batch_share=share)


def _obeyed(caps: Caps, sample: GpuSample) -> Caps:
    limit = number(sample.limit_w)
    if caps.refused or caps.asked_w is None or limit is None:
        return caps
    return replace(caps, ignored=caps.ignored + 1 if limit > _FOLLOWS * caps.asked_w else 0)
