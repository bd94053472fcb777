"""The decode loop over the unmodified modules of `transformers`: features, encoder, languages, tokens.

The engine's thread calls it batch by batch. `generate` would encode up to three times and hides the first step's
logits, which give language and no-speech probability for free; its rules (logits processors) are used as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from channelscribe.asr.loading import LoadedWhisper
from channelscribe.asr.plausible import Attempt, repeating_tail
from channelscribe.core.window import RATE_HZ

_LOOP_CHECK_STEPS = 8


class Stopped(Exception):
    """The engine is closing; nobody waits for this batch any more."""


@dataclass(slots=True)
class _Row:
    """One window while it is being decoded."""

    place: int
    tokens: list[int] = field(default_factory=list)
    sum_logprob: float = 0.0
    no_speech_prob: float = 0.0
    done: bool = False
    looped: bool = False

    def take(self, token: int, logprob: float, end: int) -> None:
        self.sum_logprob += logprob
        self.done = token == end
        if not self.done:
            self.tokens.append(token)

    def attempt(self, temperature: float) -> Attempt:
        # openai/whisper divides by the tokens and the end token, whether or not that was reached.
        mean = self.sum_logprob / (len(self.tokens) + 1)
        return Attempt(tuple(self.tokens), mean, self.no_speech_prob, temperature, self.looped)


class Decoder:
    """A loaded model as four functions of batches. `stopping` is asked at every step. Not thread-safe."""

    def __init__(
        self,
        loaded: LoadedWhisper,
        *,
        most_tokens: int | None = None,
        stopping: Callable[[], bool] = lambda: False,
        cut_loops: bool = True,
    ) -> None:
        self._whisper, self._model = loaded, loaded.model
        self._most_tokens = most_tokens or loaded.most_tokens
        self._stopping, self._cut_loops = stopping, cut_loops

    @torch.inference_mode()
    def features(self, sounds: Sequence[NDArray[np.int16]]) -> Tensor:
        """Log-mel spectra. One by one: a window's spectrum must not depend on its neighbours."""
        extract = self._whisper.feature_extractor
        spectra = [
            extract(sound.astype(np.float32) / 32768.0, sampling_rate=RATE_HZ, return_tensors="pt").input_features
            for sound in sounds
        ]
        return torch.cat(spectra)

    @torch.inference_mode()
    def encode(self, features: Tensor) -> Tensor:
        inputs = features.to(self._whisper.device, self._whisper.dtype)
        encoded: Tensor = self._model.model.encoder(inputs).last_hidden_state
        return encoded

    @torch.inference_mode()
    def languages(self, encoded: Tensor) -> list[dict[str, float]]:
        """The probability of every language the model knows, for each window."""
        known = self._whisper.vocabulary.languages
        start = torch.full((len(encoded), 1), self._whisper.vocabulary.start, device=encoded.device)
        hidden = self._model.model.decoder(input_ids=start, encoder_hidden_states=encoded, use_cache=False)
        logits = self._model.proj_out(hidden.last_hidden_state[:, -1]).float()
        odds = logits[:, list(known.values())].softmax(-1).tolist()
        return [dict(zip(known, row, strict=True)) for row in odds]

    @torch.inference_mode()
    def decode(
        self, encoded: Tensor, prompts: Sequence[tuple[int, ...]], temperature: float, draws: Tensor | None = None
    ) -> list[Attempt]:
        """The text of each window. Above temperature 0, `draws[row, step]` in [0, 1) decides each token."""
        rows = [_Row(place) for place in range(len(encoded))]
        live, ids = rows, torch.tensor(prompts, device=encoded.device)
        state = _Step(self._model, encoded, self._rules(ids.shape[1]), ids)
        draws = None if draws is None else draws.to(encoded.device)
        for step in range(self._most_tokens):
            if self._stopping():
                raise Stopped
            logits = state.logits()
            if step == 0:
                self._note_no_speech(live, logits[:, 0])
            chance = None if draws is None else draws[[row.place for row in live], step]
            chosen, logprobs = _choose(state.ruled(logits[:, -1]), temperature, chance)
            self._take(live, chosen.tolist(), logprobs.tolist(), step)
            state.append(chosen)
            if all(row.done for row in live):
                break
            live = state.drop_finished(live)
        return [row.attempt(temperature) for row in rows]

    def _take(self, live: list[_Row], chosen: list[int], logprobs: list[float], step: int) -> None:
        end = self._whisper.vocabulary.end
        for row, token, logprob in zip(live, chosen, logprobs, strict=True):
            if not row.done:
                row.take(token, logprob, end)
                if self._cut_loops and step % _LOOP_CHECK_STEPS == 0 and repeating_tail(row.tokens):
                    row.done = row.looped = True

    def _note_no_speech(self, live: list[_Row], first_logits: Tensor) -> None:
        odds = first_logits.float().softmax(-1)[:, self._whisper.vocabulary.no_speech].tolist()
        for row, probability in zip(live, odds, strict=True):
            row.no_speech_prob = probability

    def _rules(self, prompt_length: int) -> list[Any]:
        """In the order of `WhisperGenerationMixin._retrieve_logit_processors`."""
        from transformers.generation.logits_process import (
            SuppressTokensAtBeginLogitsProcessor,
            SuppressTokensLogitsProcessor,
            WhisperTimeStampLogitsProcessor,
        )

        config, device = self._model.generation_config, self._whisper.choice.device
        rules: list[Any] = []
        if config.begin_suppress_tokens:
            tokens = config.begin_suppress_tokens
            rules.append(SuppressTokensAtBeginLogitsProcessor(tokens, begin_index=prompt_length, device=device))
        if config.suppress_tokens:
            rules.append(SuppressTokensLogitsProcessor(config.suppress_tokens, device=device))
        return [*rules, WhisperTimeStampLogitsProcessor(config, begin_index=prompt_length)]


class _Step:
    """The tensors of a batch while it is being decoded: tokens so far, encoder output, key-value cache."""

    def __init__(self, model: Any, encoded: Tensor, rules: list[Any], ids: Tensor) -> None:
        from transformers.cache_utils import DynamicCache, EncoderDecoderCache

        self._model, self._encoded, self._rules, self._ids = model, encoded, rules, ids
        self._next = ids
        self._cache = EncoderDecoderCache(DynamicCache(), DynamicCache())

    def logits(self) -> Tensor:
        hidden = self._model.model.decoder(
            input_ids=self._next, encoder_hidden_states=self._encoded, past_key_values=self._cache, use_cache=True
        )
        logits: Tensor = self._model.proj_out(hidden.last_hidden_state)
        return logits

    def ruled(self, logits: Tensor) -> Tensor:
        scores = logits.float()
        for rule in self._rules:
            scores = rule(self._ids, scores)
        return scores

    def append(self, chosen: Tensor) -> None:
        self._next = chosen[:, None]
        self._ids = torch.cat([self._ids, self._next], dim=1)

    def drop_finished(self, live: list[_Row]) -> list[_Row]:
        """Leaves finished rows out once they are half of the batch; every copy of the cache must pay for itself."""
        keep = [place for place, row in enumerate(live) if not row.done]
        if len(keep) > len(live) // 2:
            return live
        index = torch.tensor(keep, device=self._ids.device)
        self._ids, self._next, self._encoded = self._ids[index], self._next[index], self._encoded[index]
        self._cache.batch_select_indices(index)
        return [live[place] for place in keep]


def _choose(scores: Tensor, temperature: float, chance: Tensor | None) -> tuple[Tensor, Tensor]:
    """The tokens and their log probabilities at temperature 1, as openai/whisper reports them."""
    logprobs = scores.log_softmax(-1)
    if temperature <= 0 or chance is None:
        chosen = scores.argmax(-1)
    else:
        summed = (scores / temperature).softmax(-1).cumsum(-1)
        wanted = chance.to(summed.dtype)[:, None] * summed[:, -1:]
        chosen = torch.searchsorted(summed, wanted, right=True)[:, 0].clamp_(max=scores.shape[-1] - 1)
    return chosen, logprobs.gather(-1, chosen[:, None])[:, 0]
