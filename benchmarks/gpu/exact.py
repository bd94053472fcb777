"""Tokens of the decode slots beside those of `generate` on the same device: equal in float32, ties in 16 bits.

The shipped speech model and real sentences, because only trained weights come near real ties.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.gpu import engine_parts
from benchmarks.gpu.modes import AS_IT_IS, Mode
from benchmarks.gpu.notes import Notes
from benchmarks.gpu.speech import spoken
from benchmarks.gpu.stage import Stage
from channelscribe.asr.loading import LoadedWhisper
from channelscribe.asr.slots import Slots, Start

CHECKPOINT = Path(__file__).resolve().parents[2] / "tests" / "speech_model" / "checkpoint"
DTYPES = ("float32", "bfloat16")
# In 16 bits a tie may break either way, and what follows it in its window. A wrong path is wrong nearly everywhere.
MOST_CHANGED = 0.05
Pcm = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Comparison:
    """`differing`: the first place of difference in each window that has one, as (window, token, ours, theirs).

    `changed` is the edit distance of all windows' tokens as a share of theirs; `word_errors` are of what was said, ours
    and theirs.
    """

    dtype: str
    windows: int
    tokens: int
    differing: tuple[tuple[int, int, int, int], ...]
    changed: float
    word_errors: tuple[float, float]
    graphs: int
    ours_s: float

    @property
    def right(self) -> bool:
        return not self.differing if self.dtype == "float32" else self.changed <= MOST_CHANGED


def correctness(stage: Stage, notes: Notes) -> None:
    """Both number formats in this process's mode; as it is also with the audio's keys and values in 8 bits."""
    said = spoken(stage.check_windows, stage.check_longest_s)
    sounds, texts = [one.pcm for one in said], [one.text for one in said]
    for dtype in DTYPES:
        found = compare(sounds, texts, stage.device, dtype, stage.check_slots)
        notes.put(**{dtype: asdict(found)})
        notes.judge(found.right)
    if Mode.of(os.environ) == AS_IT_IS:
        found = compare(sounds, texts, stage.device, stage.dtype, stage.check_slots, eight_bits=True)
        notes.put(eight_bits=asdict(found))  # an option that may change words: told, not judged


def compare(
    sounds: Sequence[Pcm], texts: Sequence[str], device: str, dtype: str, slots: int, *, eight_bits: bool = False
) -> Comparison:
    """Ours with refilled slots against one batch of `generate`, both in `dtype`."""
    whisper = engine_parts.loaded(CHECKPOINT, device, dtype)
    with whisper.accelerator.current():
        hidden, features = engine_parts.encoded(whisper, sounds)
        begun_s = time.perf_counter()
        ours, graphs = _ours(whisper, hidden, slots, eight_bits)
        ours_s = time.perf_counter() - begun_s
        theirs = _theirs(whisper, features)
    pairs = list(zip(ours, theirs, strict=True))
    differing = [(at, *found) for at, (a, b) in enumerate(pairs) if (found := first_difference(a, b))]
    tokens = sum(map(len, theirs))
    changed = sum(distance(a, b) for a, b in pairs) / max(1, tokens)
    errors = _word_errors(whisper, ours, texts), _word_errors(whisper, theirs, texts)
    return Comparison(dtype, len(sounds), tokens, tuple(differing), round(changed, 4), errors, graphs, round(ours_s, 2))


def _ours(
    whisper: LoadedWhisper, hidden: Sequence[Tensor], count: int, eight_bits: bool
) -> tuple[list[list[int]], int]:
    """The windows' tokens, and how many graphs were recorded."""
    prompt, slots = whisper.vocabulary.prompt("en"), Slots(whisper, count, cut_loops=False, eight_bits=eight_bits)
    waiting, found = list(range(len(hidden))), dict[int, list[int]]()
    while waiting or slots.live:
        some, waiting = waiting[: slots.free], waiting[slots.free :]
        slots.admit([Start(at, hidden[at], prompt) for at in some])
        found |= {key: list(attempt.tokens) for key, attempt in slots.advance()}
    return [found[at] for at in range(len(hidden))], slots.graphs


@torch.inference_mode()
def _theirs(whisper: LoadedWhisper, features: Tensor) -> list[list[int]]:
    options: dict[str, Any] = {"language": "en", "task": "transcribe", "return_timestamps": True, "num_beams": 1}
    rows = whisper.model.generate(
        features.to(whisper.device, whisper.dtype), max_new_tokens=whisper.most_tokens, **options
    ).tolist()
    return [_without_ends(row, whisper) for row in rows]


def _without_ends(row: list[int], whisper: LoadedWhisper) -> list[int]:
    prompt = list(whisper.vocabulary.prompt("en"))
    row = row[len(prompt) :] if row[: len(prompt)] == prompt else row
    return row[: row.index(whisper.vocabulary.end)] if whisper.vocabulary.end in row else row


def first_difference(a: list[int], b: list[int]) -> tuple[int, int, int] | None:
    if a == b:
        return None
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return at, a[at] if at < len(a) else -1, b[at] if at < len(b) else -1


def distance(a: Sequence[object], b: Sequence[object]) -> int:
    """Insertions, deletions and replacements (Levenshtein)."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


def _word_errors(whisper: LoadedWhisper, found: Sequence[list[int]], texts: Sequence[str]) -> float:
    """Errors for each word that was said, without case and punctuation."""
    heard = [_words(whisper.text(tokens)) for tokens in found]
    said = [_words(text) for text in texts]
    errors = sum(distance(a, b) for a, b in zip(heard, said, strict=True))
    return round(errors / max(1, sum(map(len, said))), 4)


def _words(text: str) -> list[str]:
    return "".join(each if each.isalnum() or each.isspace() else " " for each in text.lower()).split()
