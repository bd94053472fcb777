"""What the engine does next: draw windows, encode a micro-batch, fill slots, decode a few steps, hand out texts.

The worker's thread calls `turn` again and again. Windows of all files share every batch; a slot whose window ended gets
the next one, and an attempt that is not believable comes back at the next temperature from the same encoder output.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from channelscribe.asr.decoding import Decoding, release_memory
from channelscribe.asr.encoder import Encoder
from channelscribe.asr.intake import Intake
from channelscribe.asr.judging import Heard, Judge
from channelscribe.asr.loading import LoadedWhisper
from channelscribe.asr.planner import Plan
from channelscribe.asr.plausible import Attempt
from channelscribe.asr.pool import Pool
from channelscribe.asr.tally import Tally
from channelscribe.asr.timing import Worded, WordTimes
from channelscribe.asr.trouble import is_device_lost, is_out_of_memory, no_memory, window_failure
from channelscribe.core.gpu import Gate
from channelscribe.core.profile import TranscriptionProfile
from channelscribe.core.window import WindowText

log = logging.getLogger(__name__)
Built = TypeVar("Built")
# From this share of filled slots on, decoding need not wait for the encoder beside it.
_FULL_ENOUGH = 0.9


class Stopped(Exception):
    """The engine is closing; nobody waits for what is at work any more."""


class Scheduler:
    """One loaded model and one plan. Not thread-safe. Raises what no window is to blame for.

    `stopping` is asked between two steps. Building it raises EnvironmentFailure when not even one slot fits.
    """

    def __init__(
        self,
        whisper: LoadedWhisper,
        profile: TranscriptionProfile,
        plan: Plan,
        language: str | None,
        *,
        pool: Pool,
        gate: Gate,
        tally: Tally,
        stopping: Callable[[], bool],
    ) -> None:
        self._profile, self._plan = profile, plan
        self._pool, self._gate, self._tally, self._stopping = pool, gate, tally, stopping
        self._judge = Judge(whisper, profile)
        self._intake = Intake(Encoder(whisper), language)
        self._decoding = self._fitting(lambda slots: Decoding(whisper, self._judge, slots))
        self._words = WordTimes(whisper, profile, plan.encode)
        self._encode_alone = self._decode_alone = self._tried = 0

    @property
    def plan(self) -> Plan:
        return self._plan

    @property
    def waiting(self) -> int:
        """Windows drawn and not finished."""
        return self._to_decode + self._words.waiting

    @property
    def _to_decode(self) -> int:
        return self._intake.waiting + len(self._decoding.live)

    def turn(self) -> None:
        """One round. Waits for windows when there is nothing to do; raises Closed and Stopped."""
        self._intake.forget_ended()
        self._decoding.forget_ended()
        self._words.forget_ended()
        most = self._gate.most(self._plan.slots)
        self._gate.note(waiting=self._pool.waiting + self._intake.waiting, videos=self._pool.files)
        while self._words.due(idle=not self._to_decode) and not self._stopping():
            self._time_words(self._words.take())
        if not self.waiting:
            self._intake.add(self._pool.take(min(self._plan.encode, most)))
        self._encode(most)
        self._decode(most)

    def _encode(self, most: int) -> None:
        """Until slots and stock are full or nothing waits; leaves a micro-batch running when slots are full enough."""
        while not self._stopping():
            filled = len(self._decoding.live) + len(self._intake.ready)
            if self._intake.under_way:
                finished = self._intake.finished
                if filled >= _FULL_ENOUGH * most and not finished:
                    return
                self._guarded_encode(self._intake.fetch if finished else self._await_encoding)
                continue
            size = self._micro_batch(most)
            if not self._worth_encoding(filled - most, size):
                return
            self._guarded_encode(partial(self._start, size))

    def _micro_batch(self, most: int) -> int:
        return 1 if self._encode_alone else min(self._plan.encode, most)

    def _worth_encoding(self, spare: int, size: int) -> bool:
        """`spare` encoded windows are left once all slots are filled; below 0 slots stay empty."""
        if len(self._intake.fresh) < size:
            self._intake.add(self._pool.poll(size - len(self._intake.fresh)))
        there = len(self._intake.fresh)
        return there > 0 and (spare < 0 or (spare == 0 and there >= size))

    def _start(self, size: int) -> None:
        count = self._tried = min(size, len(self._intake.fresh))
        with self._step("encode", count):
            self._intake.start(count)
        self._tally.encoded += count
        self._tally.micro_batches += 1
        self._encode_alone = max(0, self._encode_alone - count)

    def _await_encoding(self) -> None:
        with self._step("encode", self._tried):
            self._intake.fetch()

    def _guarded_encode(self, work: Callable[[], None]) -> None:
        begun_s = time.monotonic()
        try:
            work()
        except Stopped:
            raise
        except Exception as error:  # noqa: BLE001  classified there, or raised again
            self._intake.give_back()
            self._recover_encoding(error)
        finally:
            self._tally.encode_s += time.monotonic() - begun_s

    def _decode(self, most: int) -> None:
        some = self._to_admit(most)
        if not some and not self._decoding.live:
            return
        begun_s = time.monotonic()
        try:
            with self._step("decode", len(self._decoding.live) + len(some)):
                self._admit(some)
                self._tally.chunk(len(self._decoding.live), most)
                ended = self._decoding.advance()
        except Stopped:
            raise
        except Exception as error:  # noqa: BLE001  classified there, or raised again
            self._recover_decoding(error, some)
            return
        finally:
            self._tally.decode_s += time.monotonic() - begun_s
        for heard, attempt in ended:
            self._hand_out(heard, attempt)

    def _to_admit(self, most: int) -> list[Heard]:
        if self._decode_alone:
            most = 1
        free = min(most, self._plan.slots) - len(self._decoding.live)
        return [self._intake.ready.popleft() for _ in range(min(max(0, free), len(self._intake.ready)))]

    def _admit(self, some: list[Heard]) -> None:
        if self._decoding.live:
            self._tally.refills += len(some)
        if some:
            self._decoding.admit(some)

    def _hand_out(self, heard: Heard, attempt: Attempt) -> None:
        self._tally.tokens += len(attempt.tokens)
        try:
            text = self._judge.hear(heard, attempt)
        except Exception as error:  # noqa: BLE001  whatever a tokenizer says of one window's tokens
            self._give_up(heard, error)
            return
        if text is None:
            self._tally.fallbacks += 1
            self._intake.ready.appendleft(heard)
            return
        self._decode_alone = max(0, self._decode_alone - 1)
        if not self._words.add(heard, text):
            self._deliver(heard, text)

    def _deliver(self, heard: Heard, text: WindowText) -> None:
        self._tally.windows += 1
        self._tally.audio_s += heard.window.duration_s
        heard.job.deliver(text)

    def _time_words(self, some: list[Worded]) -> None:
        begun_s = time.monotonic()
        try:
            with self._step("words", len(some)):
                texts = self._words.timed(some)
        except Stopped:
            raise
        except Exception as error:  # noqa: BLE001  classified there, or raised again
            self._recover_words(error, some)
            return
        finally:
            self._tally.words_s += time.monotonic() - begun_s
        for each, text in zip(some, texts, strict=True):
            self._deliver(each.heard, text)

    def _recover_words(self, error: Exception, some: list[Worded]) -> None:
        self._raise_if_lost(error)
        refused = is_out_of_memory(error)
        if refused:
            self._refused()
        if not self._words.put_back(some, fewer=refused):
            if refused:
                some[0].heard.job.fail(no_memory(self._profile))
            else:
                self._give_up(some[0].heard, error)

    def _recover_encoding(self, error: Exception) -> None:
        """The windows are all in `fresh` again, those that failed in front."""
        self._raise_if_lost(error)
        tried, first = self._tried, self._intake.fresh[0]
        if is_out_of_memory(error):
            self._refused()
            if not self._less_encoding(tried) and not self._fewer_slots():
                self._intake.fresh.popleft()
                first.job.fail(no_memory(self._profile))
        elif tried > 1:
            self._encode_alone = tried  # who of them it was shows when each is alone
        else:
            self._encode_alone = max(0, self._encode_alone - 1)
            self._intake.fresh.popleft()
            log.warning("window %d failed", first.sound.window.index, exc_info=error)
            first.job.fail(window_failure(first.sound.window, error))

    def _recover_decoding(self, error: Exception, some: list[Heard]) -> None:
        """`some` were about to be admitted."""
        self._raise_if_lost(error)
        outside = [heard for heard in some if heard not in self._decoding.live]
        self._intake.ready.extendleft(reversed(outside))
        tried = self._take_back() + len(outside)
        if is_out_of_memory(error):
            self._refused()
            if not self._fewer_slots() and not self._less_encoding(1):
                self._intake.ready.popleft().job.fail(no_memory(self._profile))
        elif tried > 1:
            self._decode_alone = tried  # who of them it was shows when each is alone
        else:
            self._decode_alone = max(0, self._decode_alone - 1)
            self._give_up(self._intake.ready.popleft(), error)

    def _refused(self) -> None:
        self._gate.out_of_memory()
        release_memory()

    def _less_encoding(self, tried: int) -> bool:
        """Halves the micro-batch; False when it is one already."""
        if tried <= 1 and self._plan.encode <= 1:
            return False
        self._plan = self._plan.with_less_encoding(tried)
        log.warning("too little memory to encode %d windows, going on with %d", tried, self._plan.encode)
        return True

    def _fewer_slots(self) -> bool:
        """Halves the slots; False when there is only one."""
        if self._plan.slots <= 1:
            return False
        before, self._plan = self._plan.slots, self._plan.with_fewer_slots()
        log.warning("too little memory for %d windows at once, going on with %d", before, self._plan.slots)
        self._take_back()
        self._fitting(self._decoding.resize)
        return True

    def _take_back(self) -> int:
        """What was at work waits in front again; says how many."""
        taken = self._decoding.take_back()
        self._intake.ready.extendleft(reversed(taken))
        return len(taken)

    def _give_up(self, heard: Heard, error: Exception) -> None:
        log.warning("window %d failed", heard.window.index, exc_info=error)
        heard.job.fail(window_failure(heard.window, error))

    def _fitting(self, build: Callable[[int], Built]) -> Built:
        """Slots as planned, or half as many, or half of that. Raises EnvironmentFailure when not even one fits."""
        while True:
            try:
                return build(self._plan.slots)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if self._plan.slots <= 1:
                    raise no_memory(self._profile) from error
                self._gate.out_of_memory()
                self._plan = self._plan.with_fewer_slots()
                log.warning("too little memory for the slots, going on with %d", self._plan.slots)
                release_memory()

    def _raise_if_lost(self, error: Exception) -> None:
        if is_device_lost(error):
            raise error

    @contextmanager
    def _step(self, stage: str, count: int) -> Iterator[None]:
        """Between two steps the gate may hold the engine."""
        with self._gate.step(stage, count, self._stopping):
            if self._stopping():
                raise Stopped
            yield
