"""The policy: from one sample to one decision, pure, with everything it remembers in a frozen state.

Between the reader and the gate: the guard's thread calls `decide` once a sample and hands the decision to the gate.

The state machine (docs/guard.svg draws it):

    RUN    full duty. Everything is below its slow mark.
    SLOW   a gauge is within its band under the ceiling: the regulator sets a duty in [min_duty, 1], steps that heat
           too much get smaller batches. Also: memory over budget, a leak (smaller batches, collection).
    PAUSE  a gauge has reached its ceiling or will by the next sample; the card throttles itself for heat; the
           thermometer is blind; another program is on the card. Goes on at the resume mark, not before.
    STOP   the card's own limit is `headroom_stop_c` away, XID, lost, stalled, throttling without work. Final.

A safer zone is entered at once, a calmer one only after `min_dwell_s` in the present one, and a pause is left only
below its resume mark: two changes to a calmer zone are never closer than the dwell. Unknown is unsafe: after
`bad_readings` missing, impossible or frozen readings the guard counts as blind and pauses; until then the last
believed temperature is let rise at the fastest rate seen. A card that never gave a temperature (a MIG slice) is not
blind but has no thermometer: policy.blind_card says whether the card's own throttle reports are enough (the default),
or it may not run, or the rest alone is guarded.

`decide` never raises, whatever a driver puts into a sample; nonsense is read as unknown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from channelscribe.core.gpu import Cause, Decision, GpuSample, Load, Zone
from channelscribe.core.guard import GuardPolicy
from channelscribe.gpu import watch
from channelscribe.gpu.capped import Caps, cap
from channelscribe.gpu.ceilings import Limits, resolve, watts
from channelscribe.gpu.gauges import Gauge, Trend, average_power, follow, gauges, keep_limit, keep_power
from channelscribe.gpu.regulator import after_pause, batch_share, regulate, released
from channelscribe.gpu.sanity import Senses, look, moment, number
from channelscribe.gpu.watch import Finding, Floors

_SEVERITY = {Zone.RUN: 0, Zone.SLOW: 1, Zone.PAUSE: 2, Zone.STOP: 3}
_CALM = 0.2  # of the band: so far under the slow mark work counts as cool again
_SLOWEST_FALL = 0.02  # per second; what falls slower gives no forecast
_LEAST_BATCH = 0.125
_BUSY_TAU_S = 90.0


@dataclass(frozen=True, slots=True)
class GuardState:
    """All that the policy remembers between two samples."""

    zone: Zone = Zone.RUN
    since_s: float = 0.0
    now_s: float = 0.0
    decision: Decision = field(default_factory=lambda: Decision(Zone.RUN))
    senses: Senses = field(default_factory=Senses)
    trends: tuple[tuple[Cause, Trend], ...] = ()
    powers: tuple[tuple[float, float], ...] = ()
    power_limits: tuple[tuple[float, float], ...] = ()
    limits: Limits = field(default_factory=Limits)
    paused_by: frozenset[Cause] = frozenset()
    floors: Floors = field(default_factory=Floors)
    progress_s: float | None = None
    ecc: int | None = None
    throttled: int = 0
    memory_share: float = 1.0
    memory_since_s: float = 0.0
    busy: float = 1.0
    caps: Caps = field(default_factory=Caps)

    def trend(self, cause: Cause) -> Trend:
        return dict(self.trends).get(cause, Trend())


def start() -> GuardState:
    """The state before the first sample."""
    return GuardState()


def decide(policy: GuardPolicy, state: GuardState, sample: GpuSample, load: Load) -> tuple[GuardState, Decision]:
    """The next state and what to do now. Pure: same arguments, same answer; never raises.

    A ceiling that is 0 is the one for this GPU, by what it has said of itself so far.
    """
    if state.zone is Zone.STOP:
        return state, state.decision
    state = replace(state, limits=state.limits.told(sample))
    policy = resolve(policy, state.limits)
    known = _remember(policy, state, sample, load)
    known, found = _find(policy, known, sample, load)
    return _choose(policy, known, found, sample)


def _remember(policy: GuardPolicy, state: GuardState, sample: GpuSample, load: Load) -> GuardState:
    first = state.progress_s is None
    now = moment(sample, float("-inf") if first else state.now_s)
    now = 0.0 if now == float("-inf") else now
    held = state.zone is Zone.PAUSE
    weight = 1.0 - math.exp(-max(now - state.now_s, 0.0) / _BUSY_TAU_S) if not first else 0.0
    share, since = _memory_share(policy, state, sample, now)
    return replace(
        state,
        now_s=now,
        since_s=now if first else state.since_s,
        senses=look(policy, state.senses, sample, load, now),
        powers=keep_power(state.powers, now, sample, policy.power_window_s),
        power_limits=keep_limit(state.power_limits, now, _own_limit(state, sample), policy.power_window_s),
        floors=watch.keep_floor(state.floors, sample, load, now),
        progress_s=now if first or held or watch.progresses(policy, load) else state.progress_s,
        ecc=sample.ecc_uncorrected if state.ecc is None else state.ecc,
        throttled=state.throttled + 1 if held and watch.by_hardware(sample) else 0,
        busy=state.busy + weight * (min(max(number(load.busy_share) or 0.0, 0.0), 1.0) - state.busy),
        memory_share=share,
        memory_since_s=since,
    )


def _own_limit(state: GuardState, sample: GpuSample) -> float | None:
    """The power limit in force, in watts; a limit that the guard itself has lowered counts as what it was before."""
    now_w = None if state.caps.asked_w is not None else watts(sample.limit_w)
    return state.limits.power_w if now_w is None else now_w


def _memory_share(policy: GuardPolicy, state: GuardState, sample: GpuSample, now_s: float) -> tuple[float, float]:
    """Batches halve every dwell while memory is over budget, and double again once it is not."""
    over = watch.memory(policy, sample, 1.0)
    pressed = over is not None and over.zone is Zone.SLOW
    fresh = state.memory_share == 1.0
    if (pressed and fresh) or now_s - state.memory_since_s >= max(policy.min_dwell_s, policy.sample_s):
        share = state.memory_share * (0.5 if pressed else 2.0)
        return min(max(share, _LEAST_BATCH), 1.0), now_s
    return state.memory_share, state.memory_since_s


def _find(policy: GuardPolicy, state: GuardState, sample: GpuSample, load: Load) -> tuple[GuardState, list[Finding]]:
    """Everything that speaks against running at full speed, worst or not."""
    step_s = max(number(load.longest_step_s) or 0.0, 0.0)
    found: list[Finding | None] = [
        watch.lost(sample),
        watch.error(sample, state.ecc),
        watch.throttled(sample, state.throttled, policy),
        _blindness(policy, state.senses, sample),
        watch.strangers(policy, sample),
        watch.memory(policy, sample, state.memory_share),
        watch.leak(policy, state.floors),
        watch.stall(policy, load, state.now_s - (state.progress_s or state.now_s)),
    ]
    average_w = average_power(state.powers, policy.power_window_s)
    limit_w = state.power_limits[0][1] if state.power_limits else None
    for gauge in gauges(policy, sample, state.senses, average_w, limit_w):
        state, finding = _weigh(policy, state, gauge, step_s)
        found.append(finding)
    return state, [finding for finding in found if finding is not None]


def _blindness(policy: GuardPolicy, senses: Senses, sample: GpuSample) -> Finding | None:
    impossible = number(sample.temp_c)
    if senses.trouble and impossible is not None and impossible > policy.temp_c:
        return Finding(
            Zone.PAUSE, Cause.SENSOR, f"Held because {senses.trouble}.", impossible, policy.temp_c, unit="°C"
        )
    if not senses.blind:
        return None
    if senses.without_sensor and not senses.trouble.startswith("a "):
        return _no_thermometer(policy, sample)
    reason = f"The guard is blind: {senses.trouble}; goes on after {policy.bad_readings} good readings."
    return Finding(Zone.PAUSE, Cause.SENSOR, reason, float(senses.bad), float(policy.bad_readings))


def _no_thermometer(policy: GuardPolicy, sample: GpuSample) -> Finding | None:
    if policy.blind_card == "run" or (policy.blind_card == "throttle" and sample.throttle_mask is not None):
        return None
    why = "" if policy.blind_card == "pause" else " and does not say when it throttles"
    reason = f"The card has never given a temperature{why}; setting 'Card without thermometer' to 'run' allows it."
    return Finding(Zone.PAUSE, Cause.SENSOR, reason)


def _weigh(policy: GuardPolicy, state: GuardState, gauge: Gauge, step_s: float) -> tuple[GuardState, Finding | None]:
    """One gauge against its marks: the state with its trend, and what follows from it."""
    gauge, trend = _estimate(policy, state, gauge, state.trend(gauge.cause))
    if gauge.value >= gauge.stop_at:
        return state, _limit_reached(gauge)
    held = gauge.cause in state.paused_by
    if _rises_too_high(policy, gauge, trend, step_s, state.decision.duty) or (held and gauge.value > gauge.resume_at):
        if not held:
            trend = after_pause(policy, gauge, trend, 0.0 if state.caps.asked_w else state.busy)
        dwell_s = policy.min_dwell_s - (state.now_s - state.since_s if state.zone is Zone.PAUSE else 0.0)
        return _keep(state, gauge.cause, trend), _too_high(gauge, trend, held, dwell_s)
    calm = gauge.slow_at - _CALM * gauge.band
    if held:
        trend = released(trend)
        return _keep(state, gauge.cause, trend), _warm(policy, gauge, trend, trend.duty, step_s)
    if gauge.value < gauge.slow_at and state.zone is not Zone.SLOW:
        return _keep(state, gauge.cause, trend), None
    trend, duty = regulate(policy, gauge, trend, 0.0 if state.caps.asked_w else step_s)
    if gauge.cause is Cause.TEMPERATURE and state.now_s - state.senses.still_s > policy.frozen_s / 3:
        # A reading that stands still may be a dead one: it is no reason to work more.
        trend = replace(trend, duty=min(trend.duty, state.trend(gauge.cause).duty))
    cool = duty >= 1.0 and max(gauge.value, trend.mean) < calm
    return _keep(state, gauge.cause, trend), None if cool else _warm(policy, gauge, trend, duty, step_s)


def _rises_too_high(policy: GuardPolicy, gauge: Gauge, trend: Trend, step_s: float, duty: float) -> bool:
    """At the ceiling now, or by the next sample if it goes on like this.

    Below the band only what would leap over it counts: a die that begins to work rises fast for a moment and then no
    more, and nothing rises beyond what the GPU itself allows. Looked ahead of less: steps that outlast samples, as
    holding changes nothing before they end, and work that rests for a part of the time anyhow.
    """
    gap_s = trend.gap_s(policy.sample_s)
    ahead = gauge.value + max(trend.slope, 0.0) * gap_s * duty * min(1.0, 2.0 * gap_s / max(step_s, 1e-3))
    ahead = min(ahead, gauge.most)
    return gauge.value >= gauge.ceiling or ahead >= gauge.ceiling + (gauge.band if gauge.value < gauge.slow_at else 0.0)


def _estimate(policy: GuardPolicy, state: GuardState, gauge: Gauge, trend: Trend) -> tuple[Gauge, Trend]:
    """Follows the trend; while the thermometer gives nothing, the last temperature rises at the fastest rate seen."""
    if gauge.cause is not Cause.TEMPERATURE or not state.senses.bad:
        return gauge, follow(trend, state.now_s, gauge.value)
    unseen_s = min(state.now_s - state.senses.temp_s, policy.bad_readings * policy.sample_s)
    return replace(gauge, value=gauge.value + trend.heat * unseen_s), trend


def _keep(state: GuardState, cause: Cause, trend: Trend) -> GuardState:
    return replace(state, trends=(*((c, t) for c, t in state.trends if c is not cause), (cause, trend)))


def _limit_reached(gauge: Gauge) -> Finding:
    said, limit = gauge.text(gauge.value), gauge.text(gauge.stop_at)
    reason = f"The {gauge.name} is {said}; from {limit} on the card is not safe, so the run ends."
    return Finding(Zone.STOP, gauge.cause, reason, gauge.value, gauge.stop_at, None, gauge.unit)


def _too_high(gauge: Gauge, trend: Trend, held: bool, dwell_s: float) -> Finding:
    falling = max(-trend.slope, 0.0) if trend.slope < -_SLOWEST_FALL else trend.cool
    wait = max((gauge.value - gauge.resume_at) / falling, dwell_s, 0.0) if falling > _SLOWEST_FALL else None
    where = "at" if gauge.value >= gauge.ceiling else "cooling from" if held else "on its way to"
    expected = f", expected in {wait:.0f} s" if wait is not None else ""
    reason = (
        f"The {gauge.name} is {gauge.text(gauge.value)}, {where} {gauge.whose} of {gauge.text(gauge.ceiling)}; "
        f"goes on at {gauge.text(gauge.resume_at)}{expected}."
    )
    return Finding(
        Zone.PAUSE, gauge.cause, reason, gauge.value, gauge.ceiling, gauge.resume_at, gauge.unit, wait, duty=0.0
    )


def _warm(policy: GuardPolicy, gauge: Gauge, trend: Trend, duty: float, step_s: float) -> Finding:
    share = batch_share(policy, gauge, trend, step_s)
    where = "near" if gauge.value >= gauge.slow_at else "under"
    pace = f"{duty:.0%} of the time" if duty < 0.995 else "at full speed still"
    smaller = f" with batches of {share:.0%}" if share < 1.0 else ""
    reason = (
        f"The {gauge.name} is {gauge.text(gauge.value)}, {where} {gauge.whose} of {gauge.text(gauge.ceiling)}; "
        f"works {pace}{smaller}, free again under {gauge.text(gauge.slow_at)}."
    )
    return Finding(
        Zone.SLOW, gauge.cause, reason, gauge.value, gauge.ceiling, gauge.slow_at, gauge.unit, None, duty, share
    )


def _choose(
    policy: GuardPolicy, state: GuardState, found: list[Finding], sample: GpuSample
) -> tuple[GuardState, Decision]:
    """The worst finding rules; a calmer zone waits for its dwell."""
    worst = max(found, key=lambda f: (_SEVERITY[f.zone], -f.duty), default=Finding(Zone.RUN, Cause.NONE, ""))
    pausing = frozenset(f.cause for f in found if f.zone is Zone.PAUSE)
    state = replace(state, paused_by=pausing)
    stayed_s = state.now_s - state.since_s
    if _SEVERITY[worst.zone] < _SEVERITY[state.zone] and stayed_s < policy.min_dwell_s:
        rest = policy.min_dwell_s - stayed_s
        decision = replace(state.decision, expected_wait_s=rest if state.zone is Zone.PAUSE else None)
        return replace(state, decision=decision), decision
    decision = _decision(worst, found)
    caps, decision = cap(policy, state.caps, sample, decision)
    since = state.now_s if worst.zone is not state.zone else state.since_s
    return replace(state, zone=worst.zone, since_s=since, decision=decision, caps=caps), decision


def _decision(worst: Finding, found: list[Finding]) -> Decision:
    """Causes add up: the least duty and batch of all findings, collection if any asks for it."""
    return Decision(
        worst.zone,
        worst.cause,
        worst.reason,
        worst.value,
        worst.limit,
        worst.resume_below,
        worst.unit,
        worst.expected_wait_s,
        duty=min((f.duty for f in found if f.zone is Zone.SLOW), default=1.0),
        batch_share=min((f.batch_share for f in found), default=1.0),
        collect=any(f.collect for f in found),
    )
