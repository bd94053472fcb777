"""The ways in which other programs keep a card cool (research/peers.md, B3), written down as policies like ours.

The backtest runs them beside ours at the same ceiling; nothing else uses them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from channelscribe.core.gpu import Cause, Decision, GpuSample, Load, Zone
from channelscribe.core.guard import GuardPolicy
from channelscribe.gpu.policy import decide, start
from channelscribe.gpu.sanity import number

Step = Callable[[Any, GpuSample, Load], tuple[Any, Decision]]
_RUN = Decision(Zone.RUN)


@dataclass(frozen=True, slots=True)
class Contender:
    """A policy with its name: a first state, and a pure step from state and sample to state and decision."""

    name: str
    begin: Any
    step: Step


@dataclass(frozen=True, slots=True)
class Held:
    """What the references remember."""

    paused: bool = False
    share: float = 1.0
    learnt: float = 1.0
    at_s: float | None = None


def none() -> Contender:
    """Nothing: the card looks after itself."""
    return Contender("no guard", Held(), lambda held, _sample, _load: (held, _RUN))


def pause_resume(pause_c: float, resume_c: float) -> Contender:
    """hashcat, John the Ripper, sd-webui: sleep from one temperature to another."""
    return Contender(f"pause {pause_c:g} / resume {resume_c:g}", Held(), partial(_pause_resume, pause_c, resume_c))


def _pause_resume(pause_c: float, resume_c: float, held: Held, sample: GpuSample, _: Load) -> tuple[Held, Decision]:
    temp_c = number(sample.temp_c)
    if temp_c is None:
        return held, _pause() if held.paused else _RUN
    paused = temp_c > resume_c if held.paused else temp_c >= pause_c
    return replace(held, paused=paused), _pause() if paused else _RUN


def duty_cycle(target_c: float) -> Contender:
    """BOINC: rest a part of each second; here a twentieth more above the target, a twentieth less below."""
    return Contender(f"duty cycle, target {target_c:g}", Held(), partial(_duty_cycle, target_c))


def _duty_cycle(target_c: float, held: Held, sample: GpuSample, _load: Load) -> tuple[Held, Decision]:
    temp_c = number(sample.temp_c)
    if temp_c is None:
        return held, _slow(held.share)
    share = min(max(held.share + (0.05 if temp_c < target_c else -0.05), 0.05), 1.0)
    return replace(held, share=share), _slow(share)


def set_point(target_c: float) -> Contender:
    """TThrottle: a regulator on run time, 10 to 100 %."""
    return Contender(f"set-point {target_c:g} (TThrottle)", Held(), partial(_set_point, target_c))


def _set_point(target_c: float, held: Held, sample: GpuSample, _load: Load) -> tuple[Held, Decision]:
    temp_c = number(sample.temp_c)
    if temp_c is None:
        return held, _slow(held.share)
    error = target_c - temp_c
    learnt = min(max(held.learnt + 0.002 * error, 0.1), 1.0)
    share = min(max(learnt + 0.05 * error, 0.1), 1.0)
    return replace(held, learnt=learnt, share=share), _slow(share)


def power_cap(target_c: float) -> Contender:
    """Zeus and miners: a PI regulator on the power limit. Needs rights on the card."""
    return Contender(f"PI power cap, target {target_c:g}", Held(), partial(_power_cap, target_c))


def _power_cap(target_c: float, held: Held, sample: GpuSample, _load: Load) -> tuple[Held, Decision]:
    temp_c, least, most = number(sample.temp_c), number(sample.limit_min_w), number(sample.limit_default_w)
    if temp_c is None or least is None or most is None:
        return held, _RUN
    error = target_c - temp_c
    learnt = min(max(held.learnt + 0.001 * error, least / most), 1.0)
    share = min(max(learnt + 0.04 * error, least / most), 1.0)
    return replace(held, learnt=learnt, share=share), Decision(Zone.SLOW, Cause.TEMPERATURE, cap_w=share * most)


def headroom(pause_c: float = 10.0, resume_c: float = 20.0) -> Contender:
    """nsight-python: pause and resume by the distance to the card's own slowdown, whatever the user's ceiling."""
    return Contender(f"headroom {pause_c:g} / {resume_c:g} (nsight)", Held(), partial(_headroom, pause_c, resume_c))


def _headroom(pause_c: float, resume_c: float, held: Held, sample: GpuSample, _load: Load) -> tuple[Held, Decision]:
    left_c = number(sample.headroom_c)
    if left_c is None:
        return held, _pause() if held.paused else _RUN
    paused = left_c < resume_c if held.paused else left_c <= pause_c
    return replace(held, paused=paused), _pause() if paused else _RUN


def _pause() -> Decision:
    return Decision(Zone.PAUSE, Cause.TEMPERATURE)


def _slow(share: float) -> Decision:
    return Decision(Zone.SLOW, Cause.TEMPERATURE, duty=share) if share < 1.0 else _RUN


def ours(policy: GuardPolicy, name: str = "ours") -> Contender:
    """The policy of this program."""
    return Contender(name, start(), partial(decide, policy))


def contenders(policy: GuardPolicy) -> list[Contender]:
    """All of them at the ceiling of `policy`, ours last; the target of a regulator is as far under it as in B3."""
    at = policy.temp_c
    return [
        none(),
        pause_resume(at, at - 15),
        pause_resume(at, at - 5),
        duty_cycle(at),
        set_point(at - 1),
        power_cap(at - 2),
        headroom(),
        ours(policy.model_copy(update={"power_cap": False})),
        ours(policy.model_copy(update={"power_cap": True}), "ours, with power cap"),
    ]
