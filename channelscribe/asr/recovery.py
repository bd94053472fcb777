"""What is done when the device refuses memory or a window fails: less at once, one by one, and nobody loses a window.

The scheduler hands in every error of a step. Too little memory halves the plan; anything else is tried again one by
one, until it shows whose window it was; that window's file fails, and no other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from channelscribe.asr.accelerator import Accelerator
from channelscribe.asr.decoding import Decoding
from channelscribe.asr.intake import Intake
from channelscribe.asr.judging import Heard
from channelscribe.asr.planner import Plan
from channelscribe.asr.timing import Worded, WordTimes
from channelscribe.asr.trouble import drop_frames, is_device_lost, is_out_of_memory, no_memory, window_failure
from channelscribe.core.gpu import Gate
from channelscribe.core.profile import TranscriptionProfile
from channelscribe.core.window import Window

log = logging.getLogger(__name__)
Built = TypeVar("Built")


class Recovery:
    """Owns the plan, which only shrinks, and the slots that are built after it. Raises what no window is to blame for.

    Call it outside the `except` block that caught the error: what that block's frames hold on to is memory that the
    smaller slots need. `encode_alone` and `decode_alone` windows are still to be tried one by one.
    """

    def __init__(
        self,
        profile: TranscriptionProfile,
        plan: Plan,
        gate: Gate,
        accelerator: Accelerator,
        intake: Callable[[int], Intake],
        decoding: Callable[[int], Decoding],
    ) -> None:
        """Builds intake and slots. Raises EnvironmentFailure when not even one window fits."""
        self._profile, self._gate, self._accelerator = profile, gate, accelerator
        self.plan = plan
        self.encode_alone = self.decode_alone = 0
        self.intake = until_it_fits(lambda: intake(self.plan.encode), self._halve_encoding)
        self.decoding = self._fitting(decoding)

    def encoded(self, count: int) -> None:
        self.encode_alone = max(0, self.encode_alone - count)

    def decoded(self) -> None:
        self.decode_alone = max(0, self.decode_alone - 1)

    def of_encoding(self, error: Exception, tried: int) -> None:
        """`tried` windows failed together; they are all in `fresh` again, in front."""
        self._sort_out(error)
        if is_out_of_memory(error):
            self._refused()
            if not self._less_encoding(tried) and not self._fewer_slots():
                self.intake.fresh.popleft().job.fail(no_memory(self._profile))
        elif tried > 1:
            self.encode_alone = tried
        else:
            self.encoded(1)
            first = self.intake.fresh.popleft()
            first.job.fail(_failure(first.sound.window, error))

    def of_decoding(self, error: Exception, some: Sequence[Heard]) -> None:
        """`some` were about to be admitted."""
        self._sort_out(error)
        outside = [heard for heard in some if heard not in self.decoding.live]
        self.intake.ready.extendleft(reversed(outside))
        tried = self._take_back() + len(outside)
        if is_out_of_memory(error):
            self._refused()
            if not self._fewer_slots() and not self._less_encoding(1):
                self.intake.ready.popleft().job.fail(no_memory(self._profile))
        elif tried > 1:
            self.decode_alone = tried
        else:
            self.decoded()
            self.give_up(self.intake.ready.popleft(), error)

    def of_words(self, error: Exception, words: WordTimes, some: list[Worded]) -> None:
        self._sort_out(error)
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
        with self._accelerator.background():
            self._accelerator.record().synchronize()  # what is under way may read what is to be given back
        self._accelerator.release_memory()

    def _less_encoding(self, tried: int) -> bool:
        """Halves the micro-batch; False when it is one already."""
        if tried <= 1 and self.plan.encode <= 1:
            return False
        self.plan = self.plan.with_less_encoding(tried)
        log.warning("too little memory to encode %d windows, going on with %d", tried, self.plan.encode)
        until_it_fits(lambda: self.intake.limit(self.plan.encode), self._halve_encoding)
        return True

    def _halve_encoding(self) -> None:
        """After the encoder's own memory was refused. Raises EnvironmentFailure where it is for one window only."""
        if self.plan.encode <= 1:
            raise no_memory(self._profile)
        self.plan = self.plan.with_less_encoding(self.plan.encode)
        log.warning("too little memory for the encoder, going on with %d windows at once", self.plan.encode)
        self._refused()

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
        self.intake.ready.extendleft(reversed(taken))
        return len(taken)

    def _fitting(self, build: Callable[[int], Built]) -> Built:
        """Slots as planned, or half as many, or half of that. Raises EnvironmentFailure when not even one fits."""

        def fewer() -> None:
            if self.plan.slots <= 1:
                raise no_memory(self._profile)
            self.plan = self.plan.with_fewer_slots()
            log.warning("too little memory for the slots, going on with %d", self.plan.slots)
            self._refused()

        built = until_it_fits(lambda: build(self.plan.slots), fewer)
        self.intake.follow()
        return built

    @staticmethod
    def _sort_out(error: Exception) -> None:
        """Raises what no window is to blame for; of the others only what was said and where is kept."""
        if is_device_lost(error):
            raise error
        drop_frames(error)


def until_it_fits(build: Callable[[], Built], less: Callable[[], None]) -> Built:
    """Builds; whenever memory is refused, asks for less and builds again. `less` raises when there is no less."""
    while True:
        try:
            return build()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            refused = error
        drop_frames(refused)  # out here, where nothing holds on to what was built half
        del refused
        less()


def _failure(window: Window, error: Exception) -> Exception:
    log.warning("window %d failed", window.index, exc_info=error)
    return window_failure(window, error)
