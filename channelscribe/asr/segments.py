"""Tokens of a window to segments in file time. Pure; the engine calls it for every finished window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from channelscribe.asr.loading import LoadedWhisper
from channelscribe.asr.plausible import Rated, without_loop
from channelscribe.core.model import Segment
from channelscribe.core.window import Window

_SCORE_DIGITS, _TIME_DIGITS = 4, 3


@dataclass(frozen=True, slots=True)
class Line:
    """Text between two timestamps, in window time."""

    start_s: float
    end_s: float
    tokens: tuple[int, ...]


def lines(tokens: Sequence[int], first_timestamp: int, seconds_per_timestamp: float, window_s: float) -> Iterator[Line]:
    """Splits at timestamps; text without a closing one lasts to the window's end. Clipped, and times never go back."""
    start_s, text = 0.0, list[int]()
    for token in tokens:
        if token < first_timestamp:
            text.append(token)
            continue
        at_s = max(start_s, min((token - first_timestamp) * seconds_per_timestamp, window_s))
        if text:
            yield Line(start_s, at_s, tuple(text))
            text = []
        start_s = at_s
    if text:
        yield Line(start_s, window_s, tuple(text))


def segments_of(window: Window, rated: Rated, whisper: LoadedWhisper) -> list[Segment]:
    """The window's segments, with indices to be given when the file's are complete. Empty text is dropped."""
    attempt = rated.attempt
    tokens = without_loop(attempt.tokens) if attempt.looped else attempt.tokens
    first = whisper.vocabulary.first_timestamp
    found = lines(tokens, first, whisper.seconds_per_timestamp, window.duration_s)
    return [
        Segment(
            index=-1,
            start_s=round(window.to_file_s(line.start_s), _TIME_DIGITS),
            end_s=round(max(window.to_file_s(line.end_s, ending=True), window.to_file_s(line.start_s)), _TIME_DIGITS),
            text=text,
            # Rounded, so that the last bits, which depend on the batch's shape, do not reach the table.
            avg_logprob=round(attempt.avg_logprob, _SCORE_DIGITS),
            no_speech_prob=round(attempt.no_speech_prob, _SCORE_DIGITS),
            compression_ratio=round(rated.compression_ratio, _SCORE_DIGITS),
        )
        for line in found
        if (text := whisper.text(list(line.tokens)).strip())
    ]
