"""From what a person allows and what a GPU reports to the figures in force: the only place where a default is scaled.

The policy asks here for every sample, and so does whatever shows a ceiling. docs/guard.md has the figures of several
GPUs.
"""

from __future__ import annotations

from dataclasses import dataclass

from channelscribe.core.gpu import GpuSample
from channelscribe.core.guard import (
    BUDGET_SHARE,
    COLLECT_SHARE,
    GIB,
    LEAST_POWER_W,
    MOST_GIB,
    MOST_POWER_W,
    GuardPolicy,
)
from channelscribe.gpu.gauges import slowdown
from channelscribe.gpu.sanity import number

# Where a GPU reports no power limit and no memory: those of the GPU that the defaults come from, an RTX 4090 of 24 GiB.
UNKNOWN_POWER_W, UNKNOWN_BUDGET_GIB, UNKNOWN_COLLECT_GIB = 450.0, 22.0, 18.0
_LEAST_GIB = 0.1


@dataclass(frozen=True, slots=True)
class Limits:
    """What a GPU has said of itself so far; None until it has.

    `default_w` is the limit that its maker gave it, in watts. `enforced_w` is the highest one seen in force: a limit
    that somebody lowers for a while, as the guard or another run does, is not the GPU's own.
    """

    default_w: float | None = None
    enforced_w: float | None = None
    total_bytes: float | None = None

    @property
    def power_w(self) -> float | None:
        """The GPU's own power limit; that of a laptop, which moves and has no default, at its highest."""
        return self.enforced_w if self.default_w is None else self.default_w

    def told(self, sample: GpuSample) -> Limits:
        """With what this sample adds; what it leaves out stays known."""
        default, enforced, total = watts(sample.limit_default_w), watts(sample.limit_w), number(sample.mem_total_bytes)
        found = Limits(
            self.default_w if default is None else default,
            self.enforced_w if enforced is None else max(enforced, self.enforced_w or 0.0),
            self.total_bytes if total is None or total <= 0 else total,
        )
        return self if found == self else found


def watts(value: object) -> float | None:
    """A power limit that a GPU can have, or None: a driver that says less or more does not know."""
    found = number(value)
    return found if found is not None and LEAST_POWER_W <= found <= MOST_POWER_W else None


def resolve(policy: GuardPolicy, limits: Limits) -> GuardPolicy:
    """The policy without a 0 in power or memory. Pure.

    power       named, else the GPU's own limit, else 450 W
    budget      named, but at most 22/24 of the memory; not named: that, else 22 GiB
    collection  named, else 18/24 of the memory, else 18 GiB; never above the budget

    Shares are rounded to 0.1 GiB, so that an RTX 4090 of 23.99 GiB gets 22 and 18. A named power ceiling stays what it
    is: the gauge compares it with the limit in force at each moment.
    """
    budget, collect = UNKNOWN_BUDGET_GIB, UNKNOWN_COLLECT_GIB
    if limits.total_bytes is not None:
        budget, collect = _share(BUDGET_SHARE, limits.total_bytes), _share(COLLECT_SHARE, limits.total_bytes)
    if policy.vram_budget_gib:
        budget = policy.vram_budget_gib if limits.total_bytes is None else min(policy.vram_budget_gib, budget)
    collect = min(policy.collect_above_gib or collect, budget)
    power = policy.power_w or limits.power_w or UNKNOWN_POWER_W
    if (power, budget, collect) == (policy.power_w, policy.vram_budget_gib, policy.collect_above_gib):
        return policy
    return policy.model_copy(
        update={"power_w": power, "vram_budget_gib": budget, "collect_above_gib": collect},
    )


def _share(share: float, total_bytes: float) -> float:
    return min(max(round(share * total_bytes / GIB, 1), _LEAST_GIB), MOST_GIB)


@dataclass(frozen=True, slots=True)
class Figures:
    """What holds on one GPU now, each as low as the GPU itself wants it."""

    temp_c: float
    power_w: float
    vram_budget_gib: float
    collect_above_gib: float

    def __str__(self) -> str:
        return (
            f"{self.temp_c:g} °C, {self.power_w:.0f} W, {self.vram_budget_gib:g} GiB of memory, "
            f"unused memory given back above {self.collect_above_gib:g} GiB"
        )


def figures(policy: GuardPolicy, limits: Limits, sample: GpuSample) -> Figures:
    """The resolved ceilings, bounded by the slowdown temperature and the power limit that the GPU reports."""
    known = resolve(policy, limits.told(sample))
    slowdown_c, limit_w = slowdown(sample, number(sample.temp_c)), watts(sample.limit_w)
    return Figures(
        known.temp_c if slowdown_c is None else min(known.temp_c, slowdown_c - policy.headroom_pause_c),
        known.power_w if limit_w is None else min(known.power_w, limit_w),
        known.vram_budget_gib,
        known.collect_above_gib,
    )
