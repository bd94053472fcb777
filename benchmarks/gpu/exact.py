"""Tokens of the decode slots beside those of `generate` on the card: equal in float32, ties counted in 16 bits.

The shipped speech model and its sentences, because only trained weights come near real ties.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from channelscribe.asr.device import DeviceChoice
from channelscribe.asr.encoder import Encoder
from channelscribe.asr.loading import LoadedWhisper, load_whisper
from channelscribe.asr.model import ModelRef
from channelscribe.asr.slots import Slots, Start

CHECKPOINT = Path(__file__).resolve().parents[2] / "tests" / "speech_model" / "checkpoint"
Pcm = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Comparison:
    """`windows` that differ at all, and the first place of difference in each, as (window, token, ours, theirs)."""

    dtype: str
    windows: int
    tokens: int
    differing: tuple[tuple[int, int, int, int], ...]

    @property
    def text(self) -> str:
        return f"{self.dtype}: {len(self.differing)} of {self.windows} windows differ ({self.tokens} tokens in all)"


def compare(sounds: Sequence[Pcm], device: str, dtype: str, slots: int = 24) -> Comparison:
    """Ours with refilled slots against one batch of `generate`, both in `dtype`."""
    whisper = load_whisper(ModelRef("speech model", "shipped", CHECKPOINT), DeviceChoice(device, dtype, "asked for"))
    encoder = Encoder(whisper)
    hidden = encoder.encode(encoder.features(sounds))
    ours = _ours(whisper, hidden, slots)
    theirs = _theirs(whisper, encoder.features(sounds))
    pairs = zip(ours, theirs, strict=True)
    differing = [(at, *found) for at, (a, b) in enumerate(pairs) if (found := _first_difference(a, b))]
    return Comparison(dtype, len(sounds), sum(map(len, theirs)), tuple(differing))


def _ours(whisper: LoadedWhisper, hidden: torch.Tensor, count: int) -> list[list[int]]:
    prompt, slots = whisper.vocabulary.prompt("en"), Slots(whisper, count, cut_loops=False)
    waiting, found = list(range(len(hidden))), dict[int, list[int]]()
    while waiting or slots.live:
        some, waiting = waiting[: slots.free], waiting[slots.free :]
        slots.admit([Start(at, hidden[at], prompt) for at in some])
        found |= {key: list(attempt.tokens) for key, attempt in slots.advance()}
    return [found[at] for at in range(len(hidden))]


@torch.inference_mode()
def _theirs(whisper: LoadedWhisper, features: torch.Tensor) -> list[list[int]]:
    options: dict[str, Any] = {"language": "en", "task": "transcribe", "return_timestamps": True, "num_beams": 1}
    rows = whisper.model.generate(
        features.to(whisper.device, whisper.dtype), max_new_tokens=whisper.most_tokens, **options
    ).tolist()
    return [_without_ends(row, whisper) for row in rows]


def _without_ends(row: list[int], whisper: LoadedWhisper) -> list[int]:
    prompt = list(whisper.vocabulary.prompt("en"))
    row = row[len(prompt) :] if row[: len(prompt)] == prompt else row
    return row[: row.index(whisper.vocabulary.end)] if whisper.vocabulary.end in row else row


def _first_difference(a: list[int], b: list[int]) -> tuple[int, int, int] | None:
    if a == b:
        return None
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return at, a[at] if at < len(a) else -1, b[at] if at < len(b) else -1
