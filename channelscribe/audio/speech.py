"""Where in the sound somebody speaks, found while it streams by. Between `decode` and the packer in `windows`.

Recall comes first: a low threshold, generous padding, short words kept. What is not speech costs a window; speech that
is missed is lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from channelscribe.audio.silero import FRAME, SileroStream
from channelscribe.audio.windows import Span

_RELEASE_BELOW = 0.15
_LOWEST_RELEASE = 0.01


@dataclass(frozen=True, slots=True)
class SpeechRules:
    """In frames of 32 ms. Twice the padding must not exceed the silence, so that padded spans never overlap."""

    threshold: float = 0.35
    silence: int = 12
    padding: int = 6
    shortest: int = 4

    @property
    def release(self) -> float:
        return max(self.threshold - _RELEASE_BELOW, _LOWEST_RELEASE)


class SpeechDetector(Protocol):
    def feed(self, pcm: NDArray[np.int16]) -> list[Span]:
        """Spans that ended, and the one that is still open with what is certain of it, in samples of the file."""
        ...

    def finish(self) -> list[Span]: ...

    @property
    def settled(self) -> int:
        """No span that has not been given yet, nor the open one, begins before this sample."""
        ...


@dataclass(slots=True)
class Hysteresis:
    """Probabilities to padded spans, in frames; speech begins at the threshold and ends after a silence below it."""

    rules: SpeechRules
    heard: int = 0
    speech_from: int | None = None
    speech_to: int = 0
    last_end: int = 0
    _spans: list[Span] = field(default_factory=list)

    def feed(self, probabilities: NDArray[np.float32]) -> list[Span]:
        self._spans = []
        for probability in probabilities.tolist():
            self._hear(probability)
        if self.speech_from is not None and self._long_enough:
            self._spans.append(Span(self._padded_start, self.speech_to, ended=False))
        return self._spans

    def finish(self) -> list[Span]:
        self._spans = []
        if self.speech_from is not None:
            self._end(limit=self.heard)
        return self._spans

    @property
    def settled(self) -> int:
        return (
            self._padded_start if self.speech_from is not None else max(self.last_end, self.heard - self.rules.padding)
        )

    @property
    def _padded_start(self) -> int:
        return max(self.last_end, (self.speech_from or 0) - self.rules.padding)

    @property
    def _long_enough(self) -> bool:
        return self.speech_from is not None and self.speech_to - self.speech_from >= self.rules.shortest

    def _hear(self, probability: float) -> None:
        self.heard += 1
        if probability >= self.rules.threshold or (
            self.speech_from is not None and probability >= self.rules.release and self.speech_to == self.heard - 1
        ):
            self.speech_from = self.heard - 1 if self.speech_from is None else self.speech_from
            self.speech_to = self.heard
        elif self.speech_from is not None and self.heard - self.speech_to >= self.rules.silence:
            self._end(limit=self.heard)

    def _end(self, limit: int) -> None:
        if self._long_enough:
            self._spans.append(Span(self._padded_start, min(limit, self.speech_to + self.rules.padding), ended=True))
            self.last_end = self._spans[-1].end
        self.speech_from = None


class Silero:
    """Silero VAD over a stream of int16 sound at 16 kHz; equal sound gives equal spans however it is cut in chunks."""

    def __init__(self, threshold: float = 0.35, rules: SpeechRules | None = None) -> None:
        self._stream = SileroStream()
        self._hysteresis = Hysteresis(rules or SpeechRules(threshold=threshold))
        self._samples = 0

    def feed(self, pcm: NDArray[np.int16]) -> list[Span]:
        self._samples += len(pcm)
        return self._in_samples(self._hysteresis.feed(self._stream.feed(pcm)))

    def finish(self) -> list[Span]:
        spans = self._hysteresis.feed(self._stream.finish()) + self._hysteresis.finish()
        return self._in_samples([span for span in spans if span.ended])

    @property
    def settled(self) -> int:
        return min(self._samples, self._hysteresis.settled * FRAME)

    def _in_samples(self, spans: list[Span]) -> list[Span]:
        return [Span(s.start * FRAME, min(s.end * FRAME, self._samples), ended=s.ended) for s in spans]
