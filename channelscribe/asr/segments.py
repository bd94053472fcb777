"""Tokens of a window to segments in file time. Pure; the engine calls it for every finished window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from channelscribe.asr.align import TimedToken
from channelscribe.asr.loading import LoadedWhisper
from channelscribe.asr.plausible import Attempt, Rated, without_loop
from channelscribe.asr.words import Stretch, words_of
from channelscribe.core.model import Segment, Word
from channelscribe.core.window import Window

_SCORE_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Line:
    """Text between two timestamps, in window time; `at` is the place of its first token."""

    start_s: float
    end_s: float
    tokens: tuple[int, ...]
    at: int = 0


def lines(tokens: Sequence[int], first_timestamp: int, seconds_per_timestamp: float, window_s: float) -> Iterator[Line]:
    """Splits at timestamps; text without a closing one lasts to the window's end. Clipped, and times never go back."""
    start_s, text = 0.0, list[int]()
    for place, token in enumerate(tokens):
        if token < first_timestamp:
            text.append(token)
            continue
        at_s = max(start_s, min((token - first_timestamp) * seconds_per_timestamp, window_s))
        if text:
            yield Line(start_s, at_s, tuple(text), place - len(text))
            text = []
        start_s = at_s
    if text:
        yield Line(start_s, window_s, tuple(text), len(tokens) - len(text))


def kept_tokens(attempt: Attempt) -> tuple[int, ...]:
    """What becomes text: all of it, or what stands before a loop's second turn."""
    return without_loop(attempt.tokens) if attempt.looped else attempt.tokens


def segments_of(
    window: Window,
    rated: Rated,
    whisper: LoadedWhisper,
    *,
    timed: Sequence[TimedToken] | None = None,
    language: str = "en",
) -> list[Segment]:
    """The window's segments, with indices to be given when the file's are complete. Empty text is dropped.

    `timed` are the times of the `kept_tokens`, from `align`, where words are wanted too.
    """
    attempt = rated.attempt
    first = whisper.vocabulary.first_timestamp
    found = []
    for line in lines(kept_tokens(attempt), first, whisper.seconds_per_timestamp, window.duration_s):
        if text := whisper.text(list(line.tokens)).strip():
            stretch = Stretch(window, line.start_s, line.end_s)
            words: tuple[Word, ...] = ()
            if timed is not None:
                words = words_of(timed[line.at : line.at + len(line.tokens)], whisper.tokenizer, language, stretch)
            found.append(_segment(text, rated, stretch, words))
    return found


def _segment(text: str, rated: Rated, stretch: Stretch, words: tuple[Word, ...]) -> Segment:
    attempt, (start_s, end_s) = rated.attempt, stretch.file_s
    return Segment(
        index=-1,
        start_s=start_s,
        end_s=end_s,
        text=text,
        # Rounded, so that the last bits, which depend on the batch's shape, do not reach the table.
        avg_logprob=round(attempt.avg_logprob, _SCORE_DIGITS),
        no_speech_prob=round(attempt.no_speech_prob, _SCORE_DIGITS),
        compression_ratio=round(rated.compression_ratio, _SCORE_DIGITS),
        words=words,
    )
