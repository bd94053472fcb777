"""Whether an attempt at a window's text is believable, and which attempt is kept. Pure; called between two decodes.

The thresholds are those of Radford et al. 2022, section 4.5; of several implausible attempts the most probable one is
kept, as faster-whisper does (openai/whisper keeps the last one, which is the most random).
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from channelscribe.core.profile import TranscriptionProfile

_LONGEST_PERIOD = 24
_LOOP_TOKENS, _LOOP_TIMES = 32, 4


@dataclass(frozen=True, slots=True)
class Attempt:
    """One decode of one window; `tokens` without prompt and end."""

    tokens: tuple[int, ...]
    avg_logprob: float
    no_speech_prob: float
    temperature: float
    looped: bool = False


@dataclass(frozen=True, slots=True)
class Rated:
    attempt: Attempt
    compression_ratio: float


def compression_ratio(text: str) -> float:
    data = text.encode("utf-8")
    return len(data) / len(zlib.compress(data)) if data else 0.0


def repeating_tail(tokens: Sequence[int]) -> int | None:
    """The period of a sequence that ends in a loop: the same tokens at least four times and 32 tokens long."""
    for period in range(1, _LONGEST_PERIOD + 1):
        needed = max(_LOOP_TOKENS, period * _LOOP_TIMES)
        if len(tokens) >= needed:
            tail = tokens[-needed:]
            if tail[period:] == tail[:-period]:
                return period
    return None


def without_loop(tokens: Sequence[int]) -> tuple[int, ...]:
    """The tokens up to the end of a loop's first turn."""
    period = repeating_tail(tokens)
    if period is None:
        return tuple(tokens)
    end = len(tokens)
    while end > 2 * period and tokens[end - period : end] == tokens[end - 2 * period : end - period]:
        end -= period
    return tuple(tokens[:end])


def is_silence(attempt: Attempt, profile: TranscriptionProfile) -> bool:
    """The model says that nobody speaks, and its text is a guess."""
    return attempt.no_speech_prob > profile.no_speech_threshold and attempt.avg_logprob < profile.logprob_threshold


def is_plausible(rated: Rated, profile: TranscriptionProfile) -> bool:
    attempt = rated.attempt
    if is_silence(attempt, profile):
        return True
    loop = attempt.looped or rated.compression_ratio > profile.compression_ratio_threshold
    return not loop and attempt.avg_logprob >= profile.logprob_threshold


def best(attempts: Sequence[Rated], profile: TranscriptionProfile) -> Rated:
    """The first plausible one, else the most probable that is no loop, else the most probable."""
    for rated in attempts:
        if is_plausible(rated, profile):
            return rated
    sound = [r for r in attempts if not r.attempt.looped and r.compression_ratio <= profile.compression_ratio_threshold]
    return max(sound or attempts, key=lambda r: r.attempt.avg_logprob)


def draws(media_sha256: str, window: int, temperature: float, count: int) -> list[float]:
    """Numbers in [0, 1) that are the same whenever and beside whatever this window is decoded."""
    seed = hashlib.sha256(f"{media_sha256}:{window}:{temperature:g}".encode()).digest()
    source = Random(int.from_bytes(seed, "big"))
    return [source.random() for _ in range(count)]
