"""What may be wrong besides heat and power: throttling, memory, leaks, stalls, strangers, errors of the card.

Each watcher looks at one sample and finds nothing or one thing, in words and numbers; the policy takes the worst.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

from channelscribe.core.gpu import Cause, GpuProcess, GpuSample, Load, Zone
from channelscribe.core.guard import BUDGET_SHARE, GIB, GuardPolicy
from channelscribe.gpu.sanity import number

SW_THERMAL, HW_THERMAL, HW_SLOWDOWN, HW_BRAKE = 0x20, 0x40, 0x08, 0x80  # nvml.h, nvmlClocksEventReason*
_THROTTLES = {
    HW_THERMAL: "hardware thermal slowdown",
    HW_BRAKE: "power brake",
    HW_SLOWDOWN: "hardware slowdown",
    SW_THERMAL: "software thermal slowdown",
}
_LEAK_WINDOW_S = 60.0
_LEAK_WINDOWS = 6


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason to be in a zone; the fields are those of Decision."""

    zone: Zone
    cause: Cause
    reason: str
    value: float | None = None
    limit: float | None = None
    resume_below: float | None = None
    unit: str = ""
    expected_wait_s: float | None = None
    duty: float = 1.0
    batch_share: float = 1.0
    collect: bool = False


def lost(sample: GpuSample) -> Finding | None:
    if not sample.lost:
        return None
    return Finding(Zone.STOP, Cause.LOST, "The card has gone; the driver no longer answers for it.")


def error(sample: GpuSample, ecc_before: int | None) -> Finding | None:
    """An XID or a memory error that could not be corrected: nothing that the card computes can be trusted."""
    if sample.xids:
        names = ", ".join(str(x) for x in sample.xids)
        return Finding(Zone.STOP, Cause.XID, f"The driver reported the critical error XID {names}.")
    ecc = sample.ecc_uncorrected
    if ecc is None or ecc_before is None or ecc <= ecc_before:
        return None
    said = f"The card's memory has had {ecc - ecc_before} errors that could not be corrected."
    return Finding(Zone.STOP, Cause.XID, said, float(ecc), float(ecc_before))


def throttled(sample: GpuSample, seen: int, policy: GuardPolicy) -> Finding | None:
    """Heat, slowdown and brake by the card itself. Idle, clocks set by hand and the power limit are normal (B2).

    `seen`: samples in a row that showed a hardware reason although work was held; after `bad_readings` the run stops.
    """
    mask = _mask(sample)
    names = [name for bit, name in _THROTTLES.items() if mask & bit]
    if not names:
        return None
    said = " and ".join(names)
    if seen >= policy.bad_readings:
        reason = f"The card still reports {said} after {seen} readings without work."
        return Finding(Zone.STOP, Cause.THROTTLE, reason, float(mask), 0.0)
    reason = f"The card slows itself: {said}; goes on when it reports none."
    return Finding(Zone.PAUSE, Cause.THROTTLE, reason, float(mask), 0.0)


def by_hardware(sample: GpuSample) -> bool:
    return bool(_mask(sample) & (HW_THERMAL | HW_SLOWDOWN | HW_BRAKE))


def _mask(sample: GpuSample) -> int:
    return sample.throttle_mask if isinstance(sample.throttle_mask, int) and sample.throttle_mask > 0 else 0


def strangers(policy: GuardPolicy, sample: GpuSample) -> Finding | None:
    """Another program on the card. One whose memory is not told counts as one."""
    if policy.foreign == "ignore" or not sample.processes:
        return None
    found = [p for p in sample.processes if p.ours is False and _large(policy, p)]
    if not found:
        return None
    first = max(found, key=lambda p: number(p.used_bytes) or 0.0)
    used = sum(number(p.used_bytes) or 0.0 for p in found) / GIB
    who = first.name or "another program"
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    reason = f"{who} (process {first.pid}){more} uses the card with {used:.1f} GiB; goes on when it has ended."
    return Finding(Zone.PAUSE, Cause.FOREIGN, reason, used, policy.foreign_mib / 1024, policy.foreign_mib / 1024, "GiB")


def _large(policy: GuardPolicy, process: GpuProcess) -> bool:
    used = number(process.used_bytes)
    return used is None or used >= policy.foreign_mib * 1024**2


def memory(policy: GuardPolicy, sample: GpuSample, share: float) -> Finding | None:
    """Over the budget: smaller batches (`share`) and collection; above the lower mark: collection only."""
    total, used = number(sample.mem_total_bytes), number(sample.mem_used_bytes)
    ours = _our_memory(sample)
    budget = policy.vram_budget_gib
    if total is not None and total > 0:
        budget = min(budget, BUDGET_SHARE * total / GIB)
        if used is not None and used > BUDGET_SHARE * total:
            return _too_much(used / GIB, BUDGET_SHARE * total / GIB, "of the card", share)
    if ours is None:
        return None
    if ours > budget:
        return _too_much(ours, budget, "of our own", share)
    mark = min(policy.collect_above_gib, budget)
    if ours <= mark:
        return None
    reason = f"{ours:.1f} GiB of memory are in use, above {mark:g} GiB; what is unused is given back."
    return Finding(Zone.RUN, Cause.MEMORY, reason, ours, mark, mark, "GiB", collect=True)


def _too_much(used_gib: float, limit_gib: float, whose: str, share: float) -> Finding:
    reason = (
        f"{used_gib:.1f} GiB of memory {whose} are in use, over {limit_gib:.1f} GiB; batches shrink to {share:.0%}."
    )
    return Finding(
        Zone.SLOW, Cause.MEMORY, reason, used_gib, limit_gib, limit_gib, "GiB", batch_share=share, collect=True
    )


def _our_memory(sample: GpuSample) -> float | None:
    """GiB held by this run: as the driver says per process, else as torch says, else all that is used."""
    own = [number(p.used_bytes) for p in sample.processes or () if p.ours]
    known = [used for used in own if used is not None]
    if known:
        return sum(known) / GIB
    reserved = number(sample.torch_reserved_bytes)
    found = reserved if reserved is not None else number(sample.mem_used_bytes)
    return None if found is None else found / GIB


@dataclass(frozen=True, slots=True)
class Floors:
    """The least memory held in each minute of work. What a finished video gave back shows here, what it kept too."""

    begun_s: float = 0.0
    floor: float | None = None
    last: tuple[float, ...] = ()


def keep_floor(floors: Floors, sample: GpuSample, load: Load, now_s: float) -> Floors:
    held = number(sample.torch_allocated_bytes)
    if held is None or load.stage in ("idle", "load") or not (number(load.busy_share) or 0.0) > 0:
        return floors
    if floors.floor is None:
        return replace(floors, begun_s=now_s, floor=held)
    if now_s - floors.begun_s < _LEAK_WINDOW_S:
        return replace(floors, floor=min(floors.floor, held))
    return Floors(now_s, held, (*floors.last, floors.floor)[-_LEAK_WINDOWS:])


def leak(policy: GuardPolicy, floors: Floors) -> Finding | None:
    """The floor has risen in each of the last minutes of work, by `leak_gib` together."""
    last = floors.last
    if len(last) < _LEAK_WINDOWS or any(b <= a for a, b in itertools.pairwise(last)):
        return None
    grown = (last[-1] - last[0]) / GIB
    if grown < policy.leak_gib:
        return None
    reason = (
        f"Memory held between videos has grown by {grown:.1f} GiB over {len(last)} minutes of work, to "
        f"{last[-1] / GIB:.1f} GiB; batches are halved and unused memory is given back."
    )
    return Finding(Zone.SLOW, Cause.LEAK, reason, grown, policy.leak_gib, 0.0, "GiB", batch_share=0.5, collect=True)


def progresses(policy: GuardPolicy, load: Load) -> bool:
    """False while windows wait and no GPU step ends. Loading a model may take its time."""
    if not load.waiting > 0 or load.stage == "load":
        return True
    return (number(load.busy_share) or 0.0) > 0 and (number(load.longest_step_s) or 0.0) < policy.stall_s


def stall(policy: GuardPolicy, load: Load, idle_s: float) -> Finding | None:
    if idle_s < policy.stall_s:
        return None
    reason = (
        f"{load.waiting} windows wait, but no GPU step has ended for {idle_s:.0f} s; the limit is {policy.stall_s:g} s."
    )
    return Finding(Zone.STOP, Cause.STALL, reason, idle_s, policy.stall_s, None, "s")
