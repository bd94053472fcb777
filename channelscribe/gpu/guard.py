"""The guard: a thread that reads the card, asks the policy, and makes its decision so, the gate first of all.

It knows no orchestrator and no table: who wants to tell, store or stop hands in a function, which must not block.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from channelscribe.core.clock import Clock, SystemClock
from channelscribe.core.errors import CoolingTimeout, GpuFailure
from channelscribe.core.gpu import Card, Cause, Decision, GpuSample, Reader, Reading, Zone
from channelscribe.core.guard import GIB, GuardPolicy
from channelscribe.gpu.ceilings import figures, resolve
from channelscribe.gpu.gate import LOADING, GuardGate
from channelscribe.gpu.judgement import Judgement
from channelscribe.gpu.policy import GuardState, decide, start
from channelscribe.gpu.sim import LoadedReader
from channelscribe.gpu.tally import GuardTotals, Tally

log = logging.getLogger(__name__)
SILENT_S = 15.0  # a driver call that has not come back for so long is a blind card
SILENT_SAMPLES = 10
END_S = 5.0
ROOMY_SHARE = 0.9  # of the memory budget, up to which more windows are tried
_HELD = (Zone.PAUSE, Zone.STOP)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Change:
    """The guard went from one zone to another."""

    before: Zone
    card: Card
    reading: Reading

    @property
    def decision(self) -> Decision:
        return self.reading.decision


class Cap(Protocol):
    """Sets the card's power limit; gpu/capping.py. Never raises."""

    def apply(self, watts: float | None) -> None: ...

    def restore(self) -> None: ...


def _ignore(_: object) -> None:
    return None


class Guard:
    """Owns its reader and cap. `tick` is one judgement; `start` makes a thread of it."""

    def __init__(
        self,
        reader: Reader,
        policy: GuardPolicy,
        gate: GuardGate,
        *,
        clock: Clock | None = None,
        run_id: str = "",
        on_change: Callable[[Change], None] = _ignore,
        on_reading: Callable[[Reading], None] = _ignore,
        on_failure: Callable[[GpuFailure], None] = _ignore,
        cap: Cap | None = None,
        judgement: Judgement | None = None,
    ) -> None:
        self.card, self._asked = reader.card, policy
        self._reader, self._gate, self._cap, self._judgement = reader, gate, cap, judgement
        self._clock: Clock = clock or SystemClock()
        self._run_id = run_id
        self._on_change, self._on_reading, self._on_failure = on_change, on_reading, on_failure
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="channelscribe-guard", daemon=True)
        self._state: GuardState = start()
        self._tally = Tally()
        self._last: Reading | None = None
        self._zone = Zone.RUN
        self._held_since_s: float | None = None
        self._override_until_s = float("-inf")
        self._failed = False
        self._complained: set[str] = set()
        self._told: GuardPolicy | None = None

    @property
    def policy(self) -> GuardPolicy:
        """What the run is guarded by: every figure in force, as soon as the GPU has told its limits."""
        return resolve(self._asked, self._state.limits)

    def start(self) -> None:
        """Judges once before it returns, so that no step slips onto a hot card."""
        if self._asked.enabled:
            self._gate.watch(max(SILENT_S, SILENT_SAMPLES * self._asked.sample_s))
        self._try()
        self._thread.start()

    def stop(self) -> None:
        """The gate opens for good, the power limit is restored, the card is let go of."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(END_S)
        self._gate.watch(None)
        self._gate.release()
        if self._cap is not None:
            self._cap.restore()
        if self._judgement is not None:
            self._judgement.withdraw()
        if self._thread.is_alive():
            log.warning("the driver of %s does not answer; its last call is left behind", self.card.name)
            return
        with self._lock:
            self._tally.add(self._reader.sample(), self._gate.take_load(), self._zone)
        self._reader.close()

    def tick(self) -> Reading:
        """Reads, judges and acts."""
        load = self._gate.take_load()
        if isinstance(self._reader, LoadedReader):
            self._reader.load(0.0 if load.stage == LOADING else load.busy_share)  # copying weights heats nothing
        sample = self._befriended(self._reader.sample())
        with self._lock:
            self._gate.beat()
            self._state, own = decide(self._asked, self._state, sample, load)
            self._say_ceilings(sample)
            reading = Reading(self._run_id, sample, load, self._judged(own))
            self._act(reading)
            self._tally.add(sample, load, self._zone)
        self._tell(self._on_reading, reading)
        return reading

    def override(self, seconds: float) -> bool:
        """A person wants the work to go on although the card is hot. False where nobody may: in the zone stop."""
        with self._lock:
            if self._zone is Zone.STOP or self._last is None:
                return False
            self._override_until_s = self._clock.monotonic() + seconds
            self._act(replace(self._last, decision=self._overruled(self._last.decision)))
            return True

    def supervise(self) -> None:
        """For another thread, every second or so: holds, tells and in the end gives up when a driver call hangs."""
        if not self._gate.unwatched or self._last is None:
            return
        reason = f"the driver of {self.card.name} has not answered for {SILENT_S:.0f} s or more"
        blind = Decision(Zone.PAUSE, Cause.SENSOR, reason)
        if self._lock.acquire(timeout=0.1):
            try:
                self._act(replace(self._last, decision=blind))
            finally:
                self._lock.release()

    def snapshot(self) -> Reading | None:
        """The last reading; None before the first."""
        return self._last

    def totals(self) -> GuardTotals:
        with self._lock:
            return self._tally.totals(sum(self._gate.closed_s().values()))

    def _watch(self) -> None:
        while not self._stopped.wait(self._asked.sample_s):
            self._try()

    def _try(self) -> None:
        try:
            self.tick()
        except Exception as error:  # noqa: BLE001 - a guard that stumbles holds the card until it judges again
            self._complain("tick", "the guard failed to judge the card; steps wait until it does")
            self._gate.hold(f"the guard failed to judge the card ({type(error).__name__})", Cause.SENSOR)

    def _say_ceilings(self, sample: GpuSample) -> None:
        """Once, and again where a GPU tells its limits late."""
        known = self.policy
        if known != self._told and known.enabled and not sample.lost:
            self._told = known
            log.info("the guard holds %s to %s", self.card.name, figures(known, self._state.limits, sample))

    def _befriended(self, sample: GpuSample) -> GpuSample:
        """Another run of ours on the card is no foreign tenant."""
        friends = self._judgement.companions if self._judgement is not None else frozenset()
        if not friends or not sample.processes:
            return sample
        return replace(
            sample, processes=tuple(replace(p, ours=True) if p.pid in friends else p for p in sample.processes)
        )

    def _judged(self, own: Decision) -> Decision:
        if not self._asked.enabled:
            return Decision(Zone.RUN)
        return self._overruled(own if self._judgement is None else self._judgement.consult(own))

    def _overruled(self, judged: Decision) -> Decision:
        left_s = self._override_until_s - self._clock.monotonic()
        if left_s <= 0:
            return judged
        if judged.zone is not Zone.PAUSE:  # it has cooled, or it burns: what comes next is judged afresh
            self._override_until_s = float("-inf")
            return judged
        reason = f"resumed by hand, judged again in {left_s:.0f} s, although {judged.reason}"
        return replace(judged, zone=Zone.RUN, cause=Cause.PERSON, reason=reason, duty=1.0, batch_share=1.0)

    def _act(self, reading: Reading) -> None:
        """The gate first; whoever is told comes after."""
        decision = reading.decision
        if decision.zone in _HELD:
            self._gate.hold(decision.reason, decision.cause)
        else:
            self._gate.release()
        self._gate.slow(decision.duty if decision.zone is Zone.SLOW else 1.0)
        self._size(decision, reading.sample)
        if self._cap is not None:
            self._cap.apply(decision.cap_w)
        self._last, before, self._zone = reading, self._zone, decision.zone
        if before is not decision.zone:
            self._tell(self._on_change, Change(before, self.card, reading))
        self._give_up_if_hopeless(decision)

    def _size(self, decision: Decision, sample: GpuSample) -> None:
        self._gate.set_share(decision.batch_share)
        if decision.collect:
            self._gate.tidy()
        if decision.zone is Zone.RUN and (sample.mem_used_bytes or 0) < ROOMY_SHARE * self._budget_bytes(sample):
            self._gate.make_room()

    def _budget_bytes(self, sample: GpuSample) -> float:
        budget = self.policy.vram_budget_gib * GIB
        return min(budget, sample.mem_total_bytes) if sample.mem_total_bytes else budget

    def _give_up_if_hopeless(self, decision: Decision) -> None:
        now_s = self._clock.monotonic()
        if decision.zone not in _HELD:
            self._held_since_s = None
            return
        self._held_since_s = now_s if self._held_since_s is None else self._held_since_s
        held_s = now_s - self._held_since_s
        if decision.zone is Zone.STOP:
            self._fail(GpuFailure(_stopped(self.card, decision), code=f"gpu_{decision.cause}"))
        elif held_s > self._asked.max_pause_s:
            self._fail(CoolingTimeout(_too_long(self.card, decision, held_s)))

    def _fail(self, failure: GpuFailure) -> None:
        if not self._failed:
            self._failed = True
            self._tell(self._on_failure, failure)

    def _tell(self, listener: Callable[[_T], None], what: _T) -> None:
        try:
            listener(what)
        except Exception:  # noqa: BLE001 - whoever listens must not harm the guard
            self._complain(repr(listener), "what the guard said was not heard")

    def _complain(self, about: str, sentence: str) -> None:
        if about not in self._complained:
            self._complained.add(about)
            log.exception(sentence)


def _stopped(card: Card, decision: Decision) -> str:
    return (
        f"The run was stopped to protect {card.name}: {decision.reason.rstrip('.')}; look at the card "
        "(nvidia-smi), then press Retry: finished windows are kept."
    )


def _too_long(card: Card, decision: Decision, held_s: float) -> str:
    return (
        f"{card.name} was not fit to work for {held_s:.0f} s ({decision.reason.rstrip('.')}); let it cool or raise the "
        "ceiling, then press Retry: finished windows are kept."
    )
