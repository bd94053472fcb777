"""What slots must write: transformers' own decoder and processors, one window at a time, no cache, no batch.

`shaped` builds random models of many shapes whose texts end by themselves at places that depend on the sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration
from transformers.generation.logits_process import (
    SuppressTokensAtBeginLogitsProcessor,
    SuppressTokensLogitsProcessor,
    WhisperTimeStampLogitsProcessor,
)
from transformers.modeling_outputs import BaseModelOutput

from channelscribe.asr.device import DeviceChoice
from channelscribe.asr.loading import LoadedWhisper, Vocabulary
from channelscribe.asr.plausible import Attempt, repeating_tail

CPU = DeviceChoice("cpu", "float32", "test")
# Draws this close to the border between two tokens may fall on either side, by the rounding of the logits.
CLOSE_CALL = 1e-4


@dataclass(frozen=True)
class Shape:
    width: int = 32
    heads: int = 2
    layers: int = 2
    text: int = 150
    times: int = 101
    frames: int = 40
    places: int = 96
    tied: bool = True
    languages: tuple[str, ...] = ("en", "de", "fr")
    activation: str = "gelu"
    first_time: int | None = 50


def shaped(shape: Shape, seed: int = 0) -> LoadedWhisper:
    end = shape.text
    languages = {code: end + 2 + place for place, code in enumerate(shape.languages)}
    task = end + 2 + len(languages)
    no_timestamps = task + 4
    ids = {"decoder_start_token_id": end + 1, "eos_token_id": end, "bos_token_id": end, "pad_token_id": end}
    torch.manual_seed(seed)
    config = WhisperConfig(
        vocab_size=no_timestamps + 1 + shape.times, d_model=shape.width, encoder_layers=1, num_mel_bins=8,
        decoder_layers=shape.layers, encoder_attention_heads=1, decoder_attention_heads=shape.heads,
        encoder_ffn_dim=16, decoder_ffn_dim=3 * shape.width, max_target_positions=shape.places,
        max_source_positions=shape.frames, suppress_tokens=None, begin_suppress_tokens=None,
        tie_word_embeddings=shape.tied, activation_function=shape.activation, **ids,
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config).eval().requires_grad_(False)
    _enliven(model, end)
    tongue = {"lang_to_id": {f"<|{code}|>": at for code, at in languages.items()}, "task_to_id": {"transcribe": task}}
    model.generation_config = GenerationConfig(
        max_length=shape.places, is_multilingual=bool(languages), no_timestamps_token_id=no_timestamps,
        suppress_tokens=[3, 4, task, no_timestamps - 1], begin_suppress_tokens=[5, end],
        max_initial_timestamp_index=shape.first_time, **ids, **(tongue if languages else {}),
    )  # fmt: skip
    vocabulary = Vocabulary(end + 1, end, task if languages else None, no_timestamps, languages)
    return LoadedWhisper(model, None, None, vocabulary, CPU, shape.places - 3, 30.0, 0.02)


def _enliven(model: Any, end: int) -> None:
    """Strong weights, and places that lead towards the end of text; how soon depends on everything else."""
    for name, weight in model.model.decoder.named_parameters():
        if "embed" in name:
            weight.normal_(0, 0.5)
        elif "encoder_attn" in name and weight.ndim == 2:
            weight.normal_(0, 2.0 / weight.shape[-1] ** 0.5)
        elif weight.ndim == 2:
            weight.normal_(0, 1.2 / weight.shape[1] ** 0.5)
    if not model.config.tie_word_embeddings:
        model.proj_out.weight.normal_(0, 0.5)
    tokens, places = model.proj_out.weight, model.model.decoder.embed_positions.weight
    tokens[model.config.vocab_size - 31 :] *= 1.3
    tokens[end] *= 1.7
    places += torch.arange(len(places))[:, None] * 0.06 * tokens[end]


def heard(shape: Shape, count: int, seed: int = 0) -> Tensor:
    """Encoder output of `count` windows that differ strongly."""
    chance = torch.Generator().manual_seed(seed)
    whole = torch.randn(count, 1, shape.width, generator=chance)
    return whole + torch.randn(count, shape.frames, shape.width, generator=chance)


def generated(whisper: LoadedWhisper, encoded: Tensor, prompt: Sequence[int], most: int) -> list[tuple[int, ...]]:
    ids = torch.tensor([list(prompt)] * len(encoded))
    answer = whisper.model.generate(
        encoder_outputs=BaseModelOutput(last_hidden_state=encoded), decoder_input_ids=ids, return_timestamps=True,
        max_new_tokens=most, num_beams=1, do_sample=False, return_dict_in_generate=True,
        force_unique_generate_call=True,
    ).sequences  # fmt: skip
    end = whisper.vocabulary.end
    rows = [tuple(row[len(prompt) :]) for row in answer.tolist()]
    return [row[: row.index(end)] if end in row else row for row in rows]


class Reference:
    """Decodes one window by the definition. `model` is kept as transformers made it."""

    def __init__(self, whisper: LoadedWhisper, model: Any = None) -> None:
        self._model, self._vocabulary = model or whisper.model, whisper.vocabulary

    @torch.inference_mode()
    def attempt(
        self, encoded: Tensor, prompt: tuple[int, ...], most: int, temperature: float = 0.0,
        draws: Sequence[float] | None = None, cut_loops: bool = True, like: tuple[int, ...] = (),
    ) -> Attempt:  # fmt: skip
        """`like` is followed where a draw falls on the border between the reference's token and its."""
        tokens: list[int] = []
        total, looped, no_speech = 0.0, False, 0.0
        for step in range(most):
            logits = self._logits(encoded, [*prompt, *tokens])
            if step == 0:
                at = prompt.index(self._vocabulary.start)
                no_speech = logits[at].softmax(-1)[self._vocabulary.no_speech].item()
            scores = self._ruled([*prompt, *tokens], logits[-1:], len(prompt))
            wanted = like[step] if step < len(like) else self._vocabulary.end
            token = _token(scores[0], temperature, draws[step] if draws else None, wanted)
            total += scores.log_softmax(-1)[0, token].item()
            ended = token == self._vocabulary.end
            tokens += [] if ended else [token]
            looped = cut_loops and step % 8 == 0 and repeating_tail(tokens) is not None
            if ended or looped:
                break
        return Attempt(tuple(tokens), total / (len(tokens) + 1), no_speech, temperature, looped)

    @torch.inference_mode()
    def scores(self, encoded: Tensor, prompt: Sequence[int], tokens: Sequence[int]) -> tuple[Tensor, Tensor]:
        """For the token after `tokens`: with all rules but that of the sum over timestamps, and with that one too."""
        config = self._model.generation_config
        ids = [*prompt, *tokens]
        logits = self._logits(encoded, ids)[-1:]
        config._detect_timestamp_from_logprob = False
        raw = self._ruled(ids, logits, len(prompt))[0]
        config._detect_timestamp_from_logprob = True
        return raw, self._ruled(ids, logits, len(prompt))[0]

    def _logits(self, encoded: Tensor, ids: list[int]) -> Tensor:
        hidden = self._model.model.decoder(
            input_ids=torch.tensor([ids]), encoder_hidden_states=encoded[None], use_cache=False
        )
        logits: Tensor = self._model.proj_out(hidden.last_hidden_state)[0]
        return logits

    def _ruled(self, ids: list[int], scores: Tensor, begin: int) -> Tensor:
        return ruled(self._model.generation_config, torch.tensor([ids]), scores, begin)


def ruled(config: Any, ids: Tensor, scores: Tensor, begin: int) -> Tensor:
    """The processors of transformers in the order in which `generate` applies them."""
    scores = SuppressTokensAtBeginLogitsProcessor(config.begin_suppress_tokens, begin)(ids, scores)
    scores = SuppressTokensLogitsProcessor(config.suppress_tokens)(ids, scores)
    return WhisperTimeStampLogitsProcessor(config, begin_index=begin)(ids, scores)


def _token(scores: Tensor, temperature: float, chance: float | None, wanted: int) -> int:
    if temperature <= 0 or chance is None:
        return int(scores.argmax())
    summed = (scores / temperature).softmax(-1).cumsum(-1)
    point = torch.tensor(chance) * summed[-1]
    token = min(int(torch.searchsorted(summed, point, right=True)), len(scores) - 1)
    below = summed[wanted - 1] if wanted else torch.tensor(0.0)
    touches = min(abs(point - summed[wanted]), abs(point - below)) < CLOSE_CALL
    return wanted if touches else token
