"""Timed tokens of a line to its words in file time. `segments` calls it when words are asked for.

In languages with spaces the words are the text split at spaces; elsewhere the smallest runs of whole characters that
the tokenizer knows, Latin runs kept together. Bare punctuation belongs to the word beside it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from channelscribe.asr.align import TimedToken
from channelscribe.asr.spelling import spelled
from channelscribe.core.model import Word
from channelscribe.core.window import RATE_HZ, Window

# openai/whisper tokenizer.split_to_word_tokens: languages that do not part their words with spaces.
SPACELESS = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
_OPENING = frozenset("“‘«„¡¿([{『「（《〈【")
_OPENING_AFTER_SPACE = frozenset("\"'-–—")
_TIME_DIGITS, _SCORE_DIGITS = 3, 4


@dataclass(frozen=True, slots=True)
class Stretch:
    """Where the words of a line must lie: the window, and the part of it, in window time, that its timestamps name."""

    window: Window
    start_s: float
    end_s: float

    @property
    def file_s(self) -> tuple[float, float]:
        """Start and end in the file."""
        start_s = round(self.window.to_file_s(self.start_s), _TIME_DIGITS)
        return start_s, max(start_s, round(self.window.to_file_s(self.end_s, ending=True), _TIME_DIGITS))


@dataclass(frozen=True, slots=True)
class _Part:
    text: str
    tokens: tuple[TimedToken, ...]

    def __add__(self, other: _Part) -> _Part:
        return _Part(self.text + other.text, self.tokens + other.tokens)

    @property
    def is_bare(self) -> bool:
        """Nothing in it can be said."""
        return all(unicodedata.category(c)[0] in "PZC" for c in self.text)

    @property
    def opens(self) -> bool:
        first = self.text.strip()[:1]
        return first in _OPENING or (first in _OPENING_AFTER_SPACE and self.text[0].isspace())


def words_of(tokens: Sequence[TimedToken], tokenizer: Any, language: str, stretch: Stretch) -> tuple[Word, ...]:
    """The words of a line's text tokens, in order, inside the stretch, never overlapping. Joined they are its text.

    A word's probability is the mean of its tokens'; its end is that of its last token, punctuation included.
    """
    parts = [
        _Part(text, tuple(tokens[place] for place in places))
        for text, places in spelled(tokenizer, [timed.token for timed in tokens])
    ]
    begins_word = _begins_spaceless_word if language in SPACELESS else _begins_word
    grouped: list[_Part] = []
    for part in parts:
        if grouped and not (grouped[-1].text.strip() and begins_word(grouped[-1], part)):
            grouped[-1] += part
        else:
            grouped.append(part)
    found: list[Word] = []
    for part in _with_punctuation(grouped):
        found.append(_word(part, stretch, found[-1].end_s if found else 0.0))
    return tuple(found)


def _begins_word(_: _Part, part: _Part) -> bool:
    return part.text[0].isspace()


def _begins_spaceless_word(before: _Part, part: _Part) -> bool:
    return not (_is_latin(before.text[-1]) and _is_latin(part.text[0]))


def _is_latin(character: str) -> bool:
    return character.isalnum() and ord(character) < 0x250


def _with_punctuation(words: Iterable[_Part]) -> list[_Part]:
    """Opening punctuation goes to the word after it, other to the one before, where there is one."""
    found: list[_Part] = []
    waiting: _Part | None = None
    for word in words:
        if not word.is_bare:
            found.append(waiting + word if waiting else word)
            waiting = None
        elif found and waiting is None and not word.opens:
            found[-1] += word
        else:
            waiting = waiting + word if waiting else word
    if waiting and found:
        found[-1] += waiting
    elif waiting and waiting.text.strip():
        found.append(waiting)
    return found


def _word(part: _Part, stretch: Stretch, after_s: float) -> Word:
    low_s, high_s = _bounds(part, stretch)
    start_s = min(max(part.tokens[0].start_s, low_s), high_s)
    end_s = min(max(part.tokens[-1].end_s, start_s), high_s)
    window, (first_s, last_s) = stretch.window, stretch.file_s
    begins_s = round(window.to_file_s(start_s, ending=start_s >= high_s), _TIME_DIGITS)
    begins_s = min(max(begins_s, first_s, after_s), last_s)
    ends_s = min(max(round(window.to_file_s(end_s, ending=True), _TIME_DIGITS), begins_s), last_s)
    probability = sum(timed.probability for timed in part.tokens) / len(part.tokens)
    return Word(part.text.strip(), begins_s, ends_s, round(probability, _SCORE_DIGITS))


def _bounds(part: _Part, stretch: Stretch) -> tuple[float, float]:
    """The stretch, within the piece of sound that holds the word's middle: no word lasts across what was cut out."""
    middle = (part.tokens[0].start_s + part.tokens[-1].end_s) / 2 * RATE_HZ
    pieces = stretch.window.pieces
    begin, end = 0, pieces[0].length
    for piece in pieces[1:]:
        if middle < end:
            break
        begin, end = end, end + piece.length
    low_s = min(max(stretch.start_s, begin / RATE_HZ), stretch.end_s)
    return low_s, max(low_s, min(stretch.end_s, end / RATE_HZ))
