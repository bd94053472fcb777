"""A micro-batch of windows through the encoder, and what its first step says about the language.

The scheduler starts it and fetches the result later: on a card it runs on a stream of its own, beside the decode steps;
everywhere else it is done when `start` returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from channelscribe.asr.loading import LoadedWhisper
from channelscribe.asr.mel import LogMel

Sounds = Sequence[NDArray[np.int16]]


@dataclass(slots=True)
class Encoding:
    """A micro-batch under way. `odds` are those of the rows `voters`; `done` is the card's event behind it all."""

    hidden: Tensor
    voters: Sequence[int]
    odds: Tensor | None
    done: Any = None

    @property
    def finished(self) -> bool:
        return self.done is None or bool(self.done.query())

    @torch.inference_mode()
    def fetch(self) -> tuple[list[Tensor], dict[int, list[float]]]:
        """Waits. Encoder output [frames, width] of each window, in memory of its own, and the voters' odds by row."""
        if self.done is not None:
            self.done.synchronize()
            current = torch.cuda.current_stream(self.hidden.device)
            self.hidden.record_stream(current)
        rows = [self.hidden[row].clone() for row in range(len(self.hidden))]
        odds = [] if self.odds is None else self.odds.tolist()
        return rows, dict(zip(self.voters, odds, strict=True))


class Encoder:
    """A loaded model's first half. Not thread-safe."""

    def __init__(self, whisper: LoadedWhisper) -> None:
        self._whisper, self._mel = whisper, LogMel(whisper.feature_extractor, whisper.device)
        self._stream: Any = None
        if whisper.device.type == "cuda":
            self._stream = torch.cuda.Stream(whisper.device)  # type: ignore[no-untyped-call]
        self.languages = list(whisper.vocabulary.languages)

    def start(self, sounds: Sounds, voters: Sequence[int] = ()) -> Encoding:
        """`voters` are the rows of which the language is asked, too."""
        if self._stream is None:
            return self._work(sounds, voters)
        self._stream.wait_stream(torch.cuda.current_stream(self._whisper.device))
        with torch.cuda.stream(self._stream):
            begun = self._work(sounds, voters)
            begun.done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            begun.done.record(self._stream)
        return begun

    @torch.inference_mode()
    def features(self, sounds: Sounds) -> Tensor:
        return self._mel(sounds)

    @torch.inference_mode()
    def encode(self, features: Tensor) -> Tensor:
        inputs = features.to(self._whisper.device, self._whisper.dtype)
        hidden: Tensor = self._whisper.model.model.encoder(inputs).last_hidden_state
        return hidden

    @torch.inference_mode()
    def odds(self, hidden: Tensor) -> Tensor:
        """The probability of every language the model knows, for each window: [windows, languages]."""
        model, vocabulary = self._whisper.model, self._whisper.vocabulary
        start = torch.full((len(hidden), 1), vocabulary.start, device=hidden.device)
        found = model.model.decoder(input_ids=start, encoder_hidden_states=hidden, use_cache=False).last_hidden_state
        logits: Tensor = model.proj_out(found[:, -1]).float()
        return logits[:, list(vocabulary.languages.values())].softmax(-1)

    @torch.inference_mode()
    def _work(self, sounds: Sounds, voters: Sequence[int]) -> Encoding:
        hidden = self.encode(self.features(sounds))
        return Encoding(hidden, voters, self.odds(hidden[list(voters)]) if voters else None)
