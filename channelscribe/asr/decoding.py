"""Windows in the decode slots, and which of them are there: so that no failure of a step can lose one.

The scheduler admits, advances, and after a failure takes back what was at work; encoder output and earlier attempts
stay with each window, so it only repeats its last attempt.
"""

from __future__ import annotations

import gc
from collections.abc import Collection, Sequence

import torch

from channelscribe.asr.judging import Heard, Judge
from channelscribe.asr.loading import LoadedWhisper
from channelscribe.asr.plausible import Attempt
from channelscribe.asr.slots import Slots

STEPS = 8


class Decoding:
    """The slots of one model. Building and `resize` raise the device's out-of-memory error."""

    def __init__(self, whisper: LoadedWhisper, judge: Judge, count: int) -> None:
        self._whisper, self._judge = whisper, judge
        self._live: dict[Heard, None] = {}
        self._slots: Slots | None = Slots(whisper, count)

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

    def advance(self) -> list[tuple[Heard, Attempt]]:
        """A few tokens for everybody; the windows whose attempt ended."""
        assert self._slots is not None
        ended: list[tuple[Heard, Attempt]] = self._slots.advance(STEPS)
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
        release_memory()
        self._slots = Slots(self._whisper, count)


def release_memory() -> None:
    """Gives back what the allocator keeps for later."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
