"""What is done when the device refuses memory or a window fails: less at once, one by one, and nobody loses a window.

The scheduler hands in every error of a step. Too little memory halves the plan; anything else is tried again one by
one, until it shows whose window it was; that window's file fails, and no other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from channelscribe.asr.decoding import Decoding, release_memory
from channelscribe.asr.intake import Intake
from channelscribe.asr.judging import Heard
from channelscribe.asr.planner import Plan
from channelscribe.asr.timing import Worded, WordTimes
from channelscribe.asr.trouble import is_device_lost, is_out_of_memory, no_memory, window_failure
from channelscribe.core.gpu import Gate
from channelscribe.core.profile import TranscriptionProfile
from channelscribe.core.window import Window

log = logging.getLogger(__name__)
Built = TypeVar("Built")


class Recovery:
    """Owns the plan, which only shrinks, and the slots that are built after it. Raises what no window is to blame for.

    `encode_alone` and `decode_alone` windows are still to be tried one by one.
    """

    def __init__(
        self,
        profile: TranscriptionProfile,
        plan: Plan,
        gate: Gate,
        intake: Intake,
        build: Callable[[int], Decoding],
    ) -> None:
        """Raises EnvironmentFailure when not even one slot fits."""
        self._profile, self._gate, self._intake = profile, gate, intake
        self.plan = plan
        self.encode_alone = self.decode_alone = 0
        self.decoding = self._fitting(build)

    def encoded(self, count: int) -> None:
        self.encode_alone = max(0, self.encode_alone - count)

    def decoded(self) -> None:
        self.decode_alone = max(0, self.decode_alone - 1)

    def of_encoding(self, error: Exception, tried: int) -> None:
        """`tried` windows failed together; they are all in `fresh` again, in front."""
        _raise_if_lost(error)
        if is_out_of_memory(error):
            self._refused()
            if not self._less_encoding(tried) and not self._fewer_slots():
                self._intake.fresh.popleft().job.fail(no_memory(self._profile))
        elif tried > 1:
            self.encode_alone = tried
        else:
            self.encoded(1)
            first = self._intake.fresh.popleft()
            first.job.fail(_failure(first.sound.window, error))

    def of_decoding(self, error: Exception, some: list[Heard]) -> None:
        """`some` were about to be admitted."""
        _raise_if_lost(error)
        outside = [heard for heard in some if heard not in self.decoding.live]
        self._intake.ready.extendleft(reversed(outside))
        tried = self._take_back() + len(outside)
        if is_out_of_memory(error):
            self._refused()
            if not self._fewer_slots() and not self._less_encoding(1):
                self._intake.ready.popleft().job.fail(no_memory(self._profile))
        elif tried > 1:
            self.decode_alone = tried
        else:
            self.decoded()
            self.give_up(self._intake.ready.popleft(), error)

    def of_words(self, error: Exception, words: WordTimes, some: list[Worded]) -> None:
        _raise_if_lost(error)
        refused = is_out_of_memory(error)
        if refused:
            self._refused()
        if words.put_back(some, fewer=refused):
            return
        if refused:
            some[0].heard.job.fail(no_memory(self._profile))
        else:
            self.give_up(some[0].heard, error)

    def give_up(self, heard: Heard, error: Exception) -> None:
        heard.job.fail(_failure(heard.window, error))

    def _refused(self) -> None:
        self._gate.out_of_memory()
        release_memory()

    def _less_encoding(self, tried: int) -> bool:
        """Halves the micro-batch; False when it is one already."""
        if tried <= 1 and self.plan.encode <= 1:
            return False
        self.plan = self.plan.with_less_encoding(tried)
        log.warning("too little memory to encode %d windows, going on with %d", tried, self.plan.encode)
        return True

    def _fewer_slots(self) -> bool:
        """Halves the slots; False when there is only one."""
        if self.plan.slots <= 1:
            return False
        before, self.plan = self.plan.slots, self.plan.with_fewer_slots()
        log.warning("too little memory for %d windows at once, going on with %d", before, self.plan.slots)
        self._take_back()
        self._fitting(self.decoding.resize)
        return True

    def _take_back(self) -> int:
        """What was at work waits in front again; says how many."""
        taken = self.decoding.take_back()
        self._intake.ready.extendleft(reversed(taken))
        return len(taken)

    def _fitting(self, build: Callable[[int], Built]) -> Built:
        """Slots as planned, or half as many, or half of that. Raises EnvironmentFailure when not even one fits."""
        while True:
            try:
                return build(self.plan.slots)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if self.plan.slots <= 1:
                    raise no_memory(self._profile) from error
                self.plan = self.plan.with_fewer_slots()
                log.warning("too little memory for the slots, going on with %d", self.plan.slots)
                self._refused()


def _failure(window: Window, error: Exception) -> Exception:
    log.warning("window %d failed", window.index, exc_info=error)
    return window_failure(window, error)


def _raise_if_lost(error: Exception) -> None:
    if is_device_lost(error):
        raise error
