"""A checkpoint listens to windows: what it writes, when each sentence sounds, and what language it takes them for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import torch
from transformers import ParakeetForCTC, ParakeetProcessor, WhisperForConditionalGeneration, WhisperProcessor

from tests.speech_model.targets import Vocabulary
from tests.speech_model.voices import RATE_HZ
from tests.speech_model.windows import Window

BATCH = 6


@dataclass(frozen=True)
class Said:
    """A stretch of text between two timestamps."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Heard:
    """What the model made of one window."""

    said: tuple[Said, ...]
    language: str | None = None
    no_speech: float | None = None

    @property
    def text(self) -> str:
        return " ".join(s.text for s in self.said)


class Judge(Protocol):
    """Anything that listens."""

    def hear(self, windows: Sequence[Window]) -> Iterator[Heard]: ...


class WhisperJudge:
    """A Whisper, opened as anybody would; plain `generate`, told the language."""

    def __init__(self, folder: Path) -> None:
        self.processor = WhisperProcessor.from_pretrained(folder)
        self.model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        self.vocabulary = Vocabulary(self.processor)
        self._languages: dict[str, int] = vars(self.model.generation_config)["lang_to_id"]

    def hear(self, windows: Sequence[Window]) -> Iterator[Heard]:
        for first in range(0, len(windows), BATCH):
            yield from self._hear(windows[first : first + BATCH])

    @torch.no_grad()
    def _hear(self, windows: Sequence[Window]) -> list[Heard]:
        waves = [w.wave for w in windows]
        features = self.processor(waves, sampling_rate=RATE_HZ, return_tensors="pt").input_features
        start = torch.full((len(windows), 1), self.vocabulary.start)
        odds = self.model(input_features=features, decoder_input_ids=start).logits[:, 0].softmax(-1)
        languages = list(self._languages)
        best = odds[:, list(self._languages.values())].argmax(-1)
        silent = odds[:, self.vocabulary.id("<|nospeech|>")]
        spoken = [w.language if f"<|{w.language}|>" in languages else "en" for w in windows]
        ids = self.model.generate(features, language=spoken, task="transcribe", return_timestamps=True)
        rows = zip(ids.tolist(), best.tolist(), silent.tolist(), strict=True)
        return [Heard(self._parted(row), languages[b].strip("<|>"), s) for row, b, s in rows]

    def _parted(self, ids: list[int]) -> tuple[Said, ...]:
        """Text between timestamps; text without an end lasts for no time."""
        said, tokens, start_s = list[Said](), list[int](), 0.0
        for token in [*ids, self.vocabulary.first_stamp]:
            if token < self.vocabulary.end:
                tokens.append(token)
            elif token >= self.vocabulary.first_stamp:
                at_s = (token - self.vocabulary.first_stamp) * 0.02
                if tokens:
                    said.append(Said(self.processor.tokenizer.decode(tokens).strip(), start_s, max(at_s, start_s)))
                tokens, start_s = [], at_s
        return tuple(said)


class ParakeetJudge:
    """A Parakeet, opened as anybody would; a sentence lasts from its first token to the last before its stop."""

    FRAME_S = 0.08

    def __init__(self, folder: Path) -> None:
        self.processor = ParakeetProcessor.from_pretrained(folder)
        self.model = ParakeetForCTC.from_pretrained(folder, dtype=torch.float32)

    @torch.no_grad()
    def hear(self, windows: Sequence[Window]) -> Iterator[Heard]:
        for first in range(0, len(windows), BATCH):
            waves = [w.wave for w in windows[first : first + BATCH]]
            given = self.processor(waves, sampling_rate=RATE_HZ, return_tensors="pt")
            written = torch.as_tensor(self.model.generate(**given))
            yield from (Heard(self._parted(row)) for row in written.tolist())

    def _parted(self, ids: list[int]) -> tuple[Said, ...]:
        """Text up to each stop; a frame's token is new where it differs from the frame before."""
        blank, decode = self.processor.tokenizer.pad_token_id, self.processor.tokenizer.decode
        said, tokens, start_s, end_s = list[Said](), list[int](), 0.0, 0.0
        for frame, (before, token) in enumerate(pairwise([blank, *ids, blank])):
            at_s, stop = frame * self.FRAME_S, before != blank and decode([before]) == "."
            end_s = at_s if before != blank and not stop else end_s
            if token not in (blank, before):
                start_s = start_s if tokens else at_s
                tokens.append(token)
            if tokens and (frame == len(ids) or (stop and token == blank)):
                said.append(Said(decode(tokens, group_tokens=False).strip(), start_s, max(start_s, end_s)))
                tokens = []
        return tuple(said)


def open_judge(folder: Path) -> Judge:
    kind = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    return ParakeetJudge(folder) if kind == "parakeet_ctc" else WhisperJudge(folder)
