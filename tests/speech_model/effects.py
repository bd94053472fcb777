"""What happens to sound between a mouth and a microphone: noise, tones, rooms, overload, codecs. Nothing moves.

`windows` applies them while the model learns, `evaluate` one at a time to see what each costs.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np
from numpy.typing import NDArray

from tests.emulators import encoding
from tests.emulators.encoding import Encoding

Wave = NDArray[np.float32]
RATE_HZ = 16_000
MP3 = Encoding("mp3", "libmp3lame", 44_100, 64_000, sample_format="s16p")
MP3_LOW = Encoding("mp3", "libmp3lame", 22_050, 32_000, sample_format="s16p")
CODECS = {
    "aac": encoding.M4A,
    "aac-low": encoding.M4A_LOW,
    "opus": encoding.WEBM,
    "opus-low": encoding.WEBM_LOW,
    "mp3": MP3,
    "mp3-low": MP3_LOW,
}


def _generator(r: Random) -> np.random.Generator:
    return np.random.default_rng(r.getrandbits(64))


def noise(samples: int, r: Random) -> Wave:
    """Noise of level 1 whose spectrum falls by a random slope: white, pink, brown and between."""
    white = np.fft.rfft(_generator(r).standard_normal(samples, dtype=np.float32))
    shaped = np.fft.irfft(white * np.arange(1, len(white) + 1) ** -r.choice([0.0, 0.25, 0.5, 1.0]), samples)
    return np.asarray(shaped / (shaped.std() + 1e-9), np.float32)


def tones(samples: int, r: Random) -> Wave:
    """Chords that change now and then, of level 1: what music has and speech has not."""
    at = np.arange(samples, dtype=np.float32) / RATE_HZ
    sound = np.zeros(samples, np.float32)
    begin = 0
    while begin < samples:
        end = begin + round(r.uniform(0.2, 4.0) * RATE_HZ)
        root = r.uniform(80, 500)
        for ratio in r.choice([(1, 1.25, 1.5), (1, 1.2, 1.5), (1, 2), (1,), (1, 1.335, 2.01)]):
            sound[begin:end] += np.sin(2 * np.pi * root * ratio * at[begin:end])
        begin = end
    return np.asarray(sound / (sound.std() + 1e-9), np.float32)


def _level(wave: Wave) -> float:
    """The level of the loud half: pauses do not count."""
    loud = np.abs(wave)[np.abs(wave) > 0.01]
    return float(np.sqrt(np.mean(loud**2))) if len(loud) else 0.05


def add(wave: Wave, other: Wave, ratio_db: float) -> Wave:
    """`wave` with `other` (of level 1) below it by `ratio_db`."""
    return np.asarray(wave + other * (_level(wave) * 10 ** (-ratio_db / 20)), np.float32)


def reverberate(wave: Wave, r: Random, decay_s: float) -> Wave:
    """A room: direct sound and a tail of decaying noise."""
    samples = round(decay_s * RATE_HZ)
    tail = _generator(r).standard_normal(samples) * np.exp(-6.9 * np.arange(samples) / samples)
    tail *= r.uniform(0.2, 0.5) / np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    size = len(wave) + samples
    wet = np.fft.irfft(np.fft.rfft(wave, size) * np.fft.rfft(tail, size), size)[: len(wave)]
    return np.asarray(wet, np.float32)


def clip(wave: Wave, over_db: float) -> Wave:
    """Overload: the peaks above the top, cut off."""
    peak = float(np.max(np.abs(wave))) or 1.0
    loud = wave * (10 ** (over_db / 20) / peak)
    return np.asarray(np.clip(loud, -1.0, 1.0) * peak, np.float32)


def through_codec(wave: Wave, codec: str) -> Wave:
    """Encoded and decoded again, of the same length."""
    pcm = np.asarray(np.clip(wave, -1, 1) * 32767, np.int16)
    back = encoding.decode(encoding.encode(pcm, CODECS[codec]))[: len(pcm)]
    return np.asarray(np.pad(back, (0, len(pcm) - len(back))) / 32768, np.float32)


def _noisy(wave: Wave, r: Random) -> Wave:
    return add(wave, noise(len(wave), r), r.uniform(8, 35))


def _with_music(wave: Wave, r: Random) -> Wave:
    return add(wave, tones(len(wave), r), r.uniform(12, 35))


def _in_a_room(wave: Wave, r: Random) -> Wave:
    return reverberate(wave, r, r.uniform(0.1, 0.5))


def _overloaded(wave: Wave, r: Random) -> Wave:
    return clip(wave, r.uniform(2, 12))


def _coded(wave: Wave, r: Random) -> Wave:
    return through_codec(wave, r.choice(list(CODECS)))


_CHAIN: tuple[tuple[float, Callable[[Wave, Random], Wave]], ...] = (
    (0.15, _in_a_room),
    (0.3, _noisy),
    (0.15, _with_music),
    (0.08, _overloaded),
    (0.06, _coded),
)


def some(wave: Wave, r: Random, strength: float) -> Wave:
    """A random few of them, in the order of nature; half of the windows stay clean but for a hiss."""
    if r.random() < 0.5:
        for share, effect in _CHAIN:
            if r.random() < share * 2 * strength:
                wave = effect(wave, r)
    hiss = _generator(r).standard_normal(len(wave), dtype=np.float32) * 10 ** r.uniform(-5, -2.5)
    return np.asarray(wave + hiss * (r.random() < 0.8), np.float32)
