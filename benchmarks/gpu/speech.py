"""Windows of real words for the comparison of tokens, from a few shipped sentences, so that no decoder is needed.

`python -m benchmarks.gpu.speech` makes the file anew from the speech bank of the tests; that needs PyAV.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 16_000
FILE = Path(__file__).with_name("sentences.npz")
_SENTENCES, _LEAST_S, _GAP_S, _HISS = 24, 4.0, 0.6, 12.0
# ITU-T G.711, mu-law: 8 bits that keep about 38 dB between a sample and its rounding, whatever its size.
_MU, _FULL = 255.0, 32768.0
Pcm = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Spoken:
    """One window, int16 at 16 kHz, and the words that are said in it."""

    pcm: Pcm
    text: str


def spoken(count: int, longest_s: float = 28.0) -> list[Spoken]:
    """`count` windows of 4 s to `longest_s`, each of other sentences in another order; the same at every call."""
    sentences = shipped()
    lengths_s = np.linspace(_LEAST_S, longest_s, count)
    return [_window(sentences, Random(at), float(length_s)) for at, length_s in enumerate(lengths_s)]


def shipped() -> list[Spoken]:
    with np.load(FILE, allow_pickle=False) as kept:
        sound = expanded(kept["sound"])
        pieces = np.split(sound, np.cumsum(kept["lengths"])[:-1])
        texts: list[str] = json.loads(str(kept["texts"]))
    return [Spoken(pcm, text) for pcm, text in zip(pieces, texts, strict=True)]


def _window(sentences: list[Spoken], random: Random, length_s: float) -> Spoken:
    pcm = (np.random.default_rng(random.randrange(1 << 30)).standard_normal(round(length_s * RATE_HZ)) * _HISS).astype(
        np.int16
    )
    at, said, gap = round(_GAP_S * RATE_HZ), list[str](), round(_GAP_S * RATE_HZ)
    for one in random.sample(sentences, len(sentences)):
        if at + len(one.pcm) + gap <= len(pcm):
            pcm[at : at + len(one.pcm)] = one.pcm
            said.append(one.text)
            at += len(one.pcm) + gap
    return Spoken(pcm, " ".join(said))


def compressed(pcm: Pcm) -> NDArray[np.uint8]:
    """One byte a sample: the logarithm of its size, and its sign."""
    x = pcm.astype(np.float64) / _FULL
    curve = np.sign(x) * np.log1p(_MU * np.abs(x)) / np.log1p(_MU)
    return np.round((curve + 1.0) * 127.5).astype(np.uint8)


def expanded(codes: NDArray[np.uint8]) -> Pcm:
    curve = codes.astype(np.float64) / 127.5 - 1.0
    x = np.sign(curve) * np.expm1(np.abs(curve) * np.log1p(_MU)) / _MU
    return np.clip(np.round(x * _FULL), -32768, 32767).astype(np.int16)


def bank_sentences() -> list[Spoken]:
    """The shortest of the bank, in turns by voice."""
    from tests.emulators.speech import SpeechBank

    bank = SpeechBank.load()
    by_voice = {voice: sorted(bank.spoken_by([voice]), key=lambda clip: clip.duration_s) for voice in bank.voices}
    turns = [clips[place] for place in range(_SENTENCES) for clips in by_voice.values() if place < len(clips)]
    picked, texts = list[Spoken](), set[str]()
    for clip in turns:
        if len(picked) < _SENTENCES and clip.text not in texts and clip.duration_s > 1.5:
            picked.append(Spoken(bank.samples(clip), clip.text))
            texts.add(clip.text)
    return picked


def build(path: Path = FILE) -> int:
    """Writes the file; gives its bytes."""
    picked = bank_sentences()
    np.savez_compressed(
        path,
        sound=np.concatenate([compressed(one.pcm) for one in picked]),
        lengths=np.array([len(one.pcm) for one in picked]),
        texts=np.array(json.dumps([one.text for one in picked])),
    )
    return path.stat().st_size


if __name__ == "__main__":
    sys.stdout.write(f"{build()} bytes\n")
