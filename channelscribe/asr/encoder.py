"""A micro-batch of windows through the encoder, and what its first step says about the language.

The scheduler starts it and fetches the result later: on a GPU it runs on a stream of low priority, beside the decode
steps; everywhere else it is done when `start` returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from channelscribe.asr.accelerator import Accelerator, Event
from channelscribe.asr.encoder_pass import EncoderPass
from channelscribe.asr.language import language_probs, language_tokens
from channelscribe.asr.loading import LoadedWhisper
from channelscribe.asr.mel import LogMel

Sounds = Sequence[NDArray[np.int16]]
MOST_AT_ONCE = 32


@dataclass(slots=True)
class Encoding:
    """A micro-batch under way: encoder output [frames, width] of each window, each in memory of its own.

    `probs` float32 [voters, languages] lie on the host, and are those of the rows `voters`; `done` is behind it all.
    """

    hidden: list[Tensor]
    voters: Sequence[int]
    probs: Tensor | None
    done: Event
    accelerator: Accelerator

    @property
    def finished(self) -> bool:
        return self.done.query()

    def wait(self) -> None:
        self.done.synchronize()

    @torch.inference_mode()
    def fetch(self) -> tuple[list[Tensor], dict[int, list[float]]]:
        """Waits. Each window's encoder output, and the voters' language probabilities by row."""
        self.done.synchronize()
        for row in self.hidden:
            self.accelerator.hand_over(row)
        probs = [] if self.probs is None else self.probs.tolist()
        return self.hidden, dict(zip(self.voters, probs, strict=True))


class Encoder:
    """A loaded model's first half, for micro-batches of up to `most` windows. Not thread-safe."""

    def __init__(self, whisper: LoadedWhisper, most: int = MOST_AT_ONCE) -> None:
        self._whisper, self._accelerator = whisper, whisper.accelerator
        self.languages = list(whisper.vocabulary.languages)
        with self._accelerator.current():
            self._mel = LogMel(whisper.feature_extractor, whisper.accelerator)
            self._language_tokens = language_tokens(whisper)
            self._pass = EncoderPass(whisper) if self._accelerator.asynchronous else None
            self.follow()
            if self._pass is not None:
                with self._accelerator.background():
                    self._pass.allocate(most)

    def follow(self) -> None:
        """What was launched on the current stream so far comes before every micro-batch from now on."""
        made = self._accelerator.record()
        with self._accelerator.background():
            self._accelerator.wait_for(made)

    def limit(self, most: int) -> None:
        """From now on at most so many at once; the memory of the others is given back."""
        if self._pass is not None and most < self._pass.most:
            with self._accelerator.background():
                self._pass.allocate(most)

    def start(self, sounds: Sounds, voters: Sequence[int] = ()) -> Encoding:
        """`voters` are the rows of which the language is asked, too."""
        with self._accelerator.background():
            hidden, probs = self._work(sounds, voters)
            return Encoding(hidden, voters, probs, self._accelerator.record(), self._accelerator)

    @torch.inference_mode()
    def features(self, sounds: Sounds) -> Tensor:
        """Spectra [windows, mels, 2 x frames] in float32."""
        return self._mel(sounds)

    @torch.inference_mode()
    def encode(self, features: Tensor) -> list[Tensor]:
        """Encoder output [frames, width] of each window."""
        if self._pass is None:
            inputs = features.to(self._whisper.device, self._whisper.dtype)
            made: Tensor = self._whisper.model.model.encoder(inputs).last_hidden_state
            return [row.clone() for row in made]
        most = self._pass.most
        return [row for at in range(0, len(features), most) for row in self._pass(features[at : at + most])]

    @torch.inference_mode()
    def probs(self, hidden: Sequence[Tensor]) -> Tensor:
        """The probability of every language that the model knows, for each window: [windows, languages]."""
        with self._accelerator.varied_attention():
            return language_probs(self._whisper, torch.stack(list(hidden)), self._language_tokens)

    @torch.inference_mode()
    def _work(self, sounds: Sounds, voters: Sequence[int]) -> tuple[list[Tensor], Tensor | None]:
        hidden = self.encode(self.features(sounds))
        if not voters:
            return hidden, None
        there = self.probs([hidden[row] for row in voters])
        here = self._accelerator.host_tensor(*there.shape, dtype=there.dtype)
        self._accelerator.download(here, there)
        return hidden, here
