"""Windows in the decode slots, and which of them are there: so that no failure of a step can lose one.

The scheduler admits, advances, and after a failure takes back what was at work; encoder output and earlier attempts
stay with each window, so it only repeats its last attempt.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from channelscribe.asr.judging import Heard, Judge
from channelscribe.asr.loading import LoadedWhisper
from channelscribe.asr.plausible import Attempt
from channelscribe.asr.slots import Slots

# A window's end is seen at the end of a chunk, where launches run later at the end of the next one. Fewer steps in a
# chunk mean fewer that a slot runs for nothing; more mean less work for the host.
STEPS, STEPS_AHEAD = 8, 4


class Decoding:
    """The slots of one model. Building and `resize` raise the device's out-of-memory error."""

    def __init__(self, whisper: LoadedWhisper, judge: Judge, count: int, *, eight_bits: bool = False) -> None:
        self._whisper, self._judge, self._eight_bits = whisper, judge, eight_bits
        self._steps = STEPS_AHEAD if whisper.accelerator.asynchronous else STEPS
        self._live: dict[Heard, None] = {}
        self._slots: Slots | None = Slots(whisper, count, eight_bits=eight_bits)

    @property
    def live(self) -> Collection[Heard]:
        return self._live.keys()

    @property
    def count(self) -> int:
        return self._slots.count if self._slots else 0

    def admit(self, some: Sequence[Heard]) -> None:
        self._live |= dict.fromkeys(some)
        assert self._slots is not None
        self._slots.admit([self._judge.start(heard) for heard in some])

    def launch(self) -> None:
        """A few tokens for everybody; on a GPU this only queues them."""
        assert self._slots is not None
        self._slots.launch(self._steps)

    def collect(self, *, wait: bool = False) -> list[tuple[Heard, Attempt]]:
        """The windows whose attempt has ended, as far as that has been seen; `wait`: until nothing is under way."""
        assert self._slots is not None
        ended: list[tuple[Heard, Attempt]] = self._slots.collect(wait=wait)
        for heard, _ in ended:
            del self._live[heard]
        return ended

    def forget_ended(self) -> None:
        """Windows of files that failed or were cancelled."""
        gone = {heard for heard in self._live if not heard.wanted}
        if gone and self._slots is not None:
            self._slots.drop(gone)
            self._live = {heard: None for heard in self._live if heard not in gone}

    def take_back(self) -> list[Heard]:
        """Everything that was at work, in the order in which it came; the slots are empty."""
        taken = list(self._live)
        self._live = {}
        if self._slots is not None:
            self._slots.clear()
        return taken

    def resize(self, count: int) -> None:
        """Only when empty. The old slots go first: there would hardly be room for both."""
        assert not self._live, "windows are at work"
        self._slots = None
        self._whisper.accelerator.release_memory()
        self._slots = Slots(self._whisper, count, eight_bits=self._eight_bits)
