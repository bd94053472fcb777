"""From a window's encoder output to its text: the temperatures in turn, the attempts rated, the best one kept.

The scheduler asks for the next start of a window and hands in how it ended. Pure but for the tokenizer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isnan

from torch import Tensor

from channelscribe.asr.job import Job
from channelscribe.asr.loading import LoadedWhisper
from channelscribe.asr.plausible import Attempt, Rated, best, compression_ratio, draws, is_plausible, is_silence
from channelscribe.asr.segments import segments_of
from channelscribe.asr.slots import Start
from channelscribe.core.profile import TranscriptionProfile
from channelscribe.core.window import Window, WindowText


@dataclass(eq=False, slots=True)
class Heard:
    """A window that is encoded, and what became of its attempts so far. Its sound is gone."""

    job: Job
    window: Window
    encoded: Tensor
    attempts: list[Rated] = field(default_factory=list)

    @property
    def wanted(self) -> bool:
        """Somebody still waits for it."""
        return not self.job.over and self.job.error is None


class Judge:
    """The rules of one profile over one model."""

    def __init__(self, whisper: LoadedWhisper, profile: TranscriptionProfile) -> None:
        self._whisper, self._profile = whisper, profile

    def start(self, heard: Heard) -> Start:
        """The next attempt: from the same encoder output, at the next temperature."""
        temperature = self._profile.temperatures[len(heard.attempts)]
        chances = None
        if temperature:
            sha, index = heard.job.media_sha256, heard.window.index
            chances = draws(sha, index, temperature, self._whisper.most_tokens)
        prompt = self._whisper.vocabulary.prompt(heard.job.language or "en")
        return Start(heard, heard.encoded, prompt, temperature, chances)

    def hear(self, heard: Heard, attempt: Attempt) -> WindowText | None:
        """The window's text, or None when another attempt is due. ArithmeticError when the model gave no numbers."""
        heard.attempts.append(self._rated(attempt))
        last = len(heard.attempts) == len(self._profile.temperatures)
        if not last and not is_plausible(heard.attempts[-1], self._profile):
            return None
        return self._text(heard.window, best(heard.attempts, self._profile))

    def _rated(self, attempt: Attempt) -> Rated:
        if isnan(attempt.avg_logprob):  # as by an overflow in 16 bits: no text is no answer
            raise ArithmeticError("the model gave no numbers")
        first = self._whisper.vocabulary.first_timestamp
        text = self._whisper.text([token for token in attempt.tokens if token < first])
        return Rated(attempt, compression_ratio(text.strip()))

    def _text(self, window: Window, rated: Rated) -> WindowText:
        if is_silence(rated.attempt, self._profile):
            return WindowText(window, (), silent=True)
        return WindowText(window, tuple(segments_of(window, rated, self._whisper)))
