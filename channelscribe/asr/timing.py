"""Windows whose text stands and whose words are still to be timed: collected, so that one pass serves many.

The scheduler adds what the judge has kept, and asks for a round when enough wait or nothing else is to be done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from channelscribe.asr.align import MICRO_BATCH, align
from channelscribe.asr.judging import Heard
from channelscribe.asr.loading import LoadedWhisper
from channelscribe.asr.plausible import Rated, best
from channelscribe.asr.segments import kept_tokens, segments_of
from channelscribe.core.profile import TranscriptionProfile
from channelscribe.core.window import WindowText


@dataclass(frozen=True, slots=True)
class Worded:
    """A finished window, its text and the attempt that the text is from."""

    heard: Heard
    text: WindowText
    rated: Rated


class WordTimes:
    """Not thread-safe. Does nothing at all unless the profile asks for words."""

    def __init__(self, whisper: LoadedWhisper, profile: TranscriptionProfile, most: int) -> None:
        self._whisper, self._profile = whisper, profile
        self._most = max(1, min(most, MICRO_BATCH))
        self._waiting: deque[Worded] = deque()
        self._alone = 0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def add(self, heard: Heard, text: WindowText) -> bool:
        """False when the window is finished as it is."""
        if not self._profile.words or not text.segments:
            return False
        self._waiting.append(Worded(heard, text, best(heard.attempts, self._profile)))
        return True

    def due(self, *, idle: bool) -> bool:
        return bool(self._waiting) and (idle or len(self._waiting) >= self._most)

    def take(self) -> list[Worded]:
        """The next round."""
        count = 1 if self._alone else self._most
        self._alone = max(0, self._alone - 1)
        return [self._waiting.popleft() for _ in range(min(count, len(self._waiting)))]

    def timed(self, some: Sequence[Worded]) -> list[WindowText]:
        """Their texts with words."""
        languages = [each.heard.job.language or "en" for each in some]
        times = align(
            self._whisper,
            torch.stack([each.heard.encoded for each in some]),
            [kept_tokens(each.rated.attempt) for each in some],
            languages,
            [each.text.window.length for each in some],
            micro_batch=self._most,
        )
        found = []
        for each, timed, language in zip(some, times, languages, strict=True):
            window = each.text.window
            segments = segments_of(window, each.rated, self._whisper, timed=timed, language=language)
            found.append(replace(each.text, segments=tuple(segments)))
        return found

    def put_back(self, some: Sequence[Worded], *, fewer: bool) -> bool:
        """After a failed round: to be tried in halves, or one by one. False when a single one failed."""
        if len(some) <= 1:
            return False
        self._waiting.extendleft(reversed(some))
        if fewer:
            self._most = max(1, len(some) // 2)
        else:
            self._alone = len(some)
        return True

    def forget_ended(self) -> None:
        """Windows of files that failed or were cancelled."""
        self._waiting = deque(each for each in self._waiting if each.heard.wanted)
