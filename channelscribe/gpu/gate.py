"""The gate between two GPU steps: the engine enters it around every step, the guard holds, slows and measures by it.

A step in flight always ends; the next one waits. A gate whose guard has fallen silent closes by itself.
"""

from __future__ import annotations

import gc
import logging
import sys
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import TracebackType

from channelscribe.core.clock import Clock, SystemClock
from channelscribe.core.gpu import Cause, Load
from channelscribe.gpu.batching import BatchControl

log = logging.getLogger(__name__)
_WORTH_GIVING_BACK_BYTES = 1 << 30
SLICE_S = 0.05  # a waiting step looks this often whether it may go on
LEAST_S = 1e-3  # no clock tells less apart
COLLECT_S = 30.0  # emptying the allocator's cache makes the next steps ask the driver again; not more often than this
LOADING = "load"
RECENT_STEPS = 64


class GuardGate:
    """Implements `core.gpu.Gate`. Everything else on it is for the guard. Thread-safe."""

    def __init__(self, clock: Clock | None = None, *, collect: Callable[[], None] | None = None) -> None:
        self._clock: Clock = clock or SystemClock()
        self._collect = collect or give_back_memory
        self._lock = threading.Lock()
        self._batches = BatchControl()
        self._cause: Cause | None = None
        self._reason = ""
        self._closed_since_s = 0.0
        self._closed_s: defaultdict[Cause, float] = defaultdict(float)
        self._duty = 1.0
        self._rest_until_s = 0.0
        self._silent_after_s: float | None = None
        self._heard_s = 0.0
        self._collect_asked = False
        self._collected_s: float | None = None
        self._inside = _Meter()
        self._began_s: list[float] = []
        self._lasted_s: deque[float] = deque(maxlen=RECENT_STEPS)
        self._waiting = _Meter()
        self._stage, self._batch = "idle", 0
        self._queue, self._videos = 0, 0
        self._taken_s = self._clock.monotonic()

    # What the engine sees.

    def step(self, stage: str, batch: int, stopping: Callable[[], bool]) -> AbstractContextManager[None]:
        return _Step(self, stage, batch, stopping)

    def most(self, wished: int) -> int:
        with self._lock:
            return self._batches.most(wished)

    def note(self, *, waiting: int, videos: int) -> None:
        self._queue, self._videos = waiting, videos

    def out_of_memory(self) -> None:
        with self._lock:
            self._batches.refused(max(1, self._batch), self._clock.monotonic())
            self._collect_asked, self._collected_s = True, None

    @property
    def slowed(self) -> bool:
        with self._lock:
            return self._duty < 1.0

    @property
    def held_s(self) -> float:
        with self._lock:
            return self._waiting.total_s(self._clock.monotonic())

    # What the guard does.

    def hold(self, reason: str, cause: Cause = Cause.NONE) -> None:
        """No step begins any more. Held already: the new cause counts from now on."""
        with self._lock:
            self._settle()
            self._cause, self._reason = cause, reason

    def release(self) -> None:
        with self._lock:
            self._settle()
            self._cause, self._reason = None, ""

    @property
    def reason(self) -> str | None:
        """Why steps are held; None while they are not."""
        with self._lock:
            return None if self._cause is None else self._reason

    def slow(self, duty: float) -> None:
        """Steps may use this share of the time: after each one there is a rest. 1: no rests."""
        with self._lock:
            if duty > self._duty:
                self._rest_until_s = 0.0
            self._duty = min(1.0, max(0.01, duty))

    def set_share(self, share: float) -> None:
        """The part of the wished number of windows that `most` gives, in (0, 1]."""
        with self._lock:
            self._batches.share(share, self._clock.monotonic())

    def make_room(self) -> None:
        """There is room: a window more now and then, after it had become fewer."""
        with self._lock:
            self._batches.roomy(self._clock.monotonic())

    def tidy(self) -> None:
        """The allocator's unused memory goes back to the card at the next boundary between two steps."""
        with self._lock:
            self._collect_asked = True

    def watch(self, silent_after_s: float | None) -> None:
        """From now on `beat` must come at least so often, or steps wait until it comes; None: no more."""
        with self._lock:
            self._silent_after_s, self._heard_s = silent_after_s, self._clock.monotonic()

    def beat(self) -> None:
        self._heard_s = self._clock.monotonic()

    @property
    def unwatched(self) -> bool:
        """Nobody has judged the card for too long."""
        return self._silent(self._clock.monotonic())

    def closed_s(self) -> Mapping[str, float]:
        """Seconds for which the gate has been closed so far, by cause, whether or not a step wanted to pass."""
        with self._lock:
            self._settle()
            return {str(cause): seconds for cause, seconds in self._closed_s.items()}

    def take_load(self) -> Load:
        """What went on since the call before."""
        with self._lock:
            now_s = self._clock.monotonic()
            passed_s = max(1e-9, now_s - self._taken_s)
            busy_s, held_s = self._inside.take_s(now_s), self._waiting.take_s(now_s)
            stage = self._stage if busy_s else ("held" if held_s else "idle")
            load = Load(
                stage=stage,
                batch=self._batch if busy_s else 0,
                waiting=self._queue,
                videos=self._videos,
                busy_share=min(1.0, busy_s / passed_s),
                held_s=held_s,
                longest_step_s=self._longest_step_s(now_s),
            )
            self._taken_s = now_s
            return load

    # What a step does.

    def enter(self, stage: str, batch: int, stopping: Callable[[], bool]) -> float | None:
        """When the step began, with leave to work; None when `stopping` said so first."""
        if self._collect_asked:
            self._tidy_up()
        while True:
            if self._blocked(self._clock.monotonic()) and not self._wait(stopping):
                return None
            with self._lock:
                now_s = self._clock.monotonic()
                if not self._blocked(now_s):  # not closed between the look and the step
                    self._stage, self._batch = stage, batch
                    self._inside.enter(now_s)
                    self._began_s.append(now_s)
                    return now_s

    def leave(self, stage: str, began_s: float) -> None:
        with self._lock:
            now_s = self._clock.monotonic()
            self._inside.leave(now_s)
            self._began_s.remove(began_s)
            if stage == LOADING:  # copying weights heats nothing
                return
            self._lasted_s.append(now_s - began_s)
            if self._duty < 1.0:
                self._rest_until_s = now_s + (now_s - began_s) * (1.0 - self._duty) / self._duty

    def _longest_step_s(self, now_s: float) -> float:
        in_flight_s = now_s - min(self._began_s) if self._began_s and self._stage != LOADING else 0.0
        return max(in_flight_s, max(self._lasted_s, default=0.0))

    def _wait(self, stopping: Callable[[], bool]) -> bool:
        with self._lock:
            self._waiting.enter(self._clock.monotonic())
        try:
            while self._blocked(now_s := self._clock.monotonic()):
                if stopping():
                    return False
                rest_s = self._rest_until_s - now_s
                self._clock.sleep(min(SLICE_S, max(rest_s, LEAST_S)) if rest_s > 0 and self._cause is None else SLICE_S)
            return True
        finally:
            with self._lock:
                self._waiting.leave(self._clock.monotonic())

    def _blocked(self, now_s: float) -> bool:
        return self._cause is not None or now_s < self._rest_until_s or self._silent(now_s)

    def _silent(self, now_s: float) -> bool:
        return self._silent_after_s is not None and now_s - self._heard_s > self._silent_after_s

    def _settle(self) -> None:
        now_s = self._clock.monotonic()
        if self._cause is not None:
            self._closed_s[self._cause] += now_s - self._closed_since_s
        self._closed_since_s = now_s

    def _tidy_up(self) -> None:
        with self._lock:
            now_s = self._clock.monotonic()
            due = self._collected_s is None or now_s - self._collected_s >= COLLECT_S
            if not due or not self._collect_asked or self._inside.count:
                return
            self._collect_asked, self._collected_s = False, now_s
        self._collect()


class _Meter:
    """Seconds in which at least one thread was there. Guarded by the gate's lock."""

    __slots__ = ("_before_s", "_since_s", "_taken_s", "count")

    def __init__(self) -> None:
        self.count = 0
        self._since_s = self._before_s = self._taken_s = 0.0

    def enter(self, now_s: float) -> None:
        if not self.count:
            self._since_s = now_s
        self.count += 1

    def leave(self, now_s: float) -> None:
        self.count -= 1
        if not self.count:
            self._before_s += now_s - self._since_s

    def total_s(self, now_s: float) -> float:
        return self._before_s + (now_s - self._since_s if self.count else 0.0)

    def take_s(self, now_s: float) -> float:
        """Of the time since the last take."""
        total_s = self.total_s(now_s)
        new_s, self._taken_s = total_s - self._taken_s, total_s
        return new_s


class _Step:
    __slots__ = ("_batch", "_began_s", "_gate", "_stage", "_stopping")

    def __init__(self, gate: GuardGate, stage: str, batch: int, stopping: Callable[[], bool]) -> None:
        self._gate, self._stage, self._batch, self._stopping = gate, stage, batch, stopping
        self._began_s: float | None = None

    def __enter__(self) -> None:
        self._began_s = self._gate.enter(self._stage, self._batch, self._stopping)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._began_s is not None:
            self._gate.leave(self._stage, self._began_s)


def give_back_memory() -> None:
    """Python's garbage, then the blocks that torch's allocator keeps without use. Without a GPU: only the first.

    Both hold the engine up, so neither happens while the allocator keeps less than 1 GiB without use.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        gc.collect()
        return
    before = torch.cuda.memory_reserved()
    if before - torch.cuda.memory_allocated() < _WORTH_GIVING_BACK_BYTES:
        return
    gc.collect()
    torch.cuda.empty_cache()
    log.info("gave %d MiB back to the GPU", (before - torch.cuda.memory_reserved()) >> 20)
