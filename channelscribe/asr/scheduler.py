"""What the engine does next: draw windows, encode a micro-batch, fill slots, decode a few steps, hand out texts.

The worker's thread calls `turn` again and again. Windows of all files share every batch; a slot whose window ended gets
the next one, and an attempt that is not believable comes back at the next temperature from the same encoder output.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from channelscribe.asr.decoding import Decoding
from channelscribe.asr.encoder import Encoder
from channelscribe.asr.intake import Intake
from channelscribe.asr.judging import Heard, Judge
from channelscribe.asr.loading import LoadedWhisper
from channelscribe.asr.planner import Plan
from channelscribe.asr.plausible import Attempt
from channelscribe.asr.pool import Pool
from channelscribe.asr.recovery import Recovery
from channelscribe.asr.tally import Tally
from channelscribe.asr.timing import Worded, WordTimes
from channelscribe.core.gpu import Gate
from channelscribe.core.profile import TranscriptionProfile
from channelscribe.core.window import WindowText

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
        self._pool, self._gate, self._tally, self._stopping = pool, gate, tally, stopping
        self._judge = Judge(whisper, profile)
        self._ahead = whisper.accelerator.asynchronous
        self._recovery = Recovery(
            profile,
            plan,
            gate,
            whisper.accelerator,
            lambda most: Intake(Encoder(whisper, most), language),
            partial(Decoding, whisper, self._judge, eight_bits=profile.kv_bits == 8),
        )
        self._intake, self._decoding = self._recovery.intake, self._recovery.decoding
        self._words = WordTimes(whisper, profile, self.plan.encode)
        self._ended: list[tuple[Heard, Attempt]] = []
        self._tried = 0

    @property
    def plan(self) -> Plan:
        return self._recovery.plan

    @property
    def waiting(self) -> int:
        """Windows drawn and not finished."""
        return self._to_decode + self._words.waiting

    @property
    def _to_decode(self) -> int:
        return self._intake.waiting + len(self._decoding.live) + len(self._ended)

    def turn(self) -> None:
        """One round. Waits for windows when there is nothing to do; raises Closed and Stopped."""
        self._intake.forget_ended()
        self._decoding.forget_ended()
        self._words.forget_ended()
        most = self._gate.most(self.plan.slots)
        self._gate.note(waiting=self._pool.waiting + self._intake.waiting, videos=self._pool.files)
        while self._words.due(idle=not self._to_decode) and not self._stopping():
            self._time_words(self._words.take())
        if not self.waiting:
            self._intake.add(self._pool.take(min(self.plan.encode, most)))
        self._encode(most)
        self._decode(most)

    def _encode(self, most: int) -> None:
        """Until slots and stock are full or nothing waits. Leaves a micro-batch running when slots are full enough, and
        where it runs beside the decode steps whenever there is a window to decode."""
        while not self._stopping():
            filled = len(self._decoding.live) + len(self._intake.ready)
            if self._intake.under_way:
                finished = self._intake.finished
                if not finished and (filled >= _FULL_ENOUGH * most or (self._ahead and filled)):
                    return
                self._guarded_encode(self._intake.fetch if finished else self._await_encoding)
                continue
            size = self._micro_batch(most)
            if not self._worth_encoding(filled - most, size):
                return
            self._guarded_encode(partial(self._start, size))

    def _micro_batch(self, most: int) -> int:
        return 1 if self._recovery.encode_alone else min(self.plan.encode, most)

    def _worth_encoding(self, spare: int, size: int) -> bool:
        """`spare` encoded windows are left once all slots are filled; below 0 slots stay empty."""
        if len(self._intake.fresh) < size:
            self._intake.add(self._pool.poll(size - len(self._intake.fresh)))
        there = len(self._intake.fresh)
        stock = size if self._ahead else 1
        return there > 0 and (spare < 0 or (spare < stock and there >= size))

    def _start(self, size: int) -> None:
        count = self._tried = min(size, len(self._intake.fresh))
        with self._step("encode", count):
            self._intake.start(count)
            if self._gate.slowed:
                self._intake.wait()
        self._tally.encoded += count
        self._tally.micro_batches += 1
        self._recovery.encoded(count)

    def _await_encoding(self) -> None:
        with self._step("encode", self._tried):
            self._intake.fetch()

    def _guarded_encode(self, work: Callable[[], None]) -> None:
        begun_s = time.monotonic()
        failure = _attempted(work)
        self._tally.encode_s += time.monotonic() - begun_s
        if failure is not None:
            self._intake.give_back()
            self._recovery.of_encoding(failure, self._tried)

    def _decode(self, most: int) -> None:
        some = self._to_admit(most)
        if not some and not self._decoding.live:
            self._hand_out_ended()
            return
        begun_s = time.monotonic()
        failure = _attempted(partial(self._decode_chunk, some, most))
        self._tally.decode_s += time.monotonic() - begun_s
        if failure is not None:
            self._recovery.of_decoding(failure, some)
        if not self._ahead:
            self._hand_out_ended()

    def _decode_chunk(self, some: Sequence[Heard], most: int) -> None:
        """Launches the next steps, hands out what ended before while those run, then sees who ended meanwhile."""
        with self._step("decode", len(self._decoding.live) + len(some)):
            self._admit(some)
            self._tally.chunk(len(self._decoding.live), most)
            self._decoding.launch()
            self._hand_out_ended()
            self._ended += self._decoding.collect(wait=self._gate.slowed)

    def _to_admit(self, most: int) -> list[Heard]:
        if self._recovery.decode_alone:
            most = 1
        free = min(most, self.plan.slots) - len(self._decoding.live)
        return [self._intake.ready.popleft() for _ in range(min(max(0, free), len(self._intake.ready)))]

    def _admit(self, some: Sequence[Heard]) -> None:
        if self._decoding.live:
            self._tally.refills += len(some)
        if some:
            self._decoding.admit(some)

    def _hand_out_ended(self) -> None:
        ended, self._ended = self._ended, []
        for heard, attempt in ended:
            if heard.wanted:
                self._hand_out(heard, attempt)

    def _hand_out(self, heard: Heard, attempt: Attempt) -> None:
        self._tally.tokens += len(attempt.tokens)
        try:
            text = self._judge.hear(heard, attempt)
        except Exception as error:  # noqa: BLE001  whatever a tokenizer says of one window's tokens
            self._recovery.give_up(heard, error)
            return
        if text is None:
            self._tally.fallbacks += 1
            self._intake.ready.appendleft(heard)
            return
        self._recovery.decoded()
        if not self._words.add(heard, text):
            self._deliver(heard, text)

    def _deliver(self, heard: Heard, text: WindowText) -> None:
        self._tally.windows += 1
        self._tally.audio_s += heard.window.duration_s
        heard.job.deliver(text)

    def _time_words(self, some: list[Worded]) -> None:
        begun_s, texts = time.monotonic(), list[WindowText]()

        def work() -> None:
            with self._step("words", len(some)):
                texts.extend(self._words.timed(some))

        failure = _attempted(work)
        self._tally.words_s += time.monotonic() - begun_s
        if failure is not None:
            self._recovery.of_words(failure, self._words, some)
            return
        for each, text in zip(some, texts, strict=True):
            self._deliver(each.heard, text)

    @contextmanager
    def _step(self, stage: str, count: int) -> Iterator[None]:
        """Between two steps the gate may hold the engine."""
        with self._gate.step(stage, count, self._stopping):
            if self._stopping():
                raise Stopped
            yield


def _attempted(work: Callable[[], None]) -> Exception | None:
    """What went wrong, to be classified where the frames that failed are gone: they hold on to the device's memory."""
    try:
        work()
    except Stopped:
        raise
    except Exception as error:  # noqa: BLE001  classified by the caller, or raised again
        return error
    return None
