"""One token for every slot: embedding, decoder layers, logits, Whisper's rules, choice, bookkeeping, all on the device.

The slots call it through `graphs.Replayer`. It reads nothing back to the host and changes only tensors that were
allocated at the start, so that a CUDA graph can hold it. It computes what the modules of transformers compute, with
their weights: query, key and value in one product, and the scale of the query left to the attention kernel.

Precision: weights and activations keep the model's dtype, logits and rules are float32. In float32 the tokens are those
of `generate`. In bfloat16, with 8 bits of mantissa, candidates whose scores differ by less than about 1/32 of the
highest are a tie, which rounding may break either way, and so are text and timestamps where the rules weigh the one
against the other; float16 has 8 times finer steps. Measured on random models, given the same tokens so far: 10 of 1,115
tokens are not the choice of float32 in bfloat16, 3 of 1,161 in float16.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from channelscribe.asr.cache import SlotCache
from channelscribe.asr.fused import fused
from channelscribe.asr.loading import LoadedWhisper
from channelscribe.asr.packed import PackedLinear
from channelscribe.asr.rules import Rules, Seen, draw


class Shape(NamedTuple):
    """What one launch computes: the first `rows` slots, over `length` places; more than greedy; with a window's start.

    `length` must exceed every living slot's place. `starting` may be False only if no slot is at its no-speech place.
    """

    rows: int
    length: int
    sampled: bool
    starting: bool


@dataclass(frozen=True, slots=True)
class Entries:
    """What is admitted together, on the device: one row a window, `rows` are their slots. Integers are int64.

    `prompt` is padded behind; `chances` [windows, tokens] are missing where no window is sampled.
    """

    rows: Tensor
    prompt_length: Tensor
    heard_at: Tensor
    temperature: Tensor
    prompt: Tensor
    chances: Tensor | None


@dataclass(frozen=True, slots=True)
class SlotState:
    """One row a slot. `place` is where `token` stands; `tokens` and `logprobs` have a last column for nothing."""

    token: Tensor
    place: Tensor
    prompt: Tensor
    prompt_length: Tensor
    heard_at: Tensor
    done: Tensor
    no_speech: Tensor
    temperature: Tensor
    chances: Tensor
    tokens: Tensor
    logprobs: Tensor
    last: Tensor
    was: Tensor
    was_before: Tensor

    @classmethod
    def of(cls, slots: int, places: int, most_tokens: int, device: torch.device) -> SlotState:
        def whole(*shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
            return torch.zeros(slots, *shape, dtype=dtype, device=device)

        real, flag = torch.float32, torch.bool
        seen = Seen.of(slots, device)
        return cls(
            token=whole(), place=whole(), prompt=whole(places), prompt_length=whole() + 1, heard_at=whole(),
            done=whole(dtype=flag).fill_(True), no_speech=whole(dtype=real), temperature=whole(dtype=real),
            chances=whole(most_tokens, dtype=real), tokens=whole(most_tokens + 1),
            logprobs=whole(most_tokens + 1, dtype=real), last=seen.last, was=seen.was, was_before=seen.was_before,
        )  # fmt: skip

    def first(self, rows: int) -> SlotState:
        """The same memory, fewer rows."""
        return SlotState(*(getattr(self, field.name)[:rows] for field in fields(self)))

    def move(self, sources: Tensor, targets: Tensor) -> None:
        """Copies rows, both int64 on the device; the sources are done with."""
        for field in fields(self):
            kept = getattr(self, field.name)
            kept.index_copy_(0, targets, kept.index_select(0, sources))
        self.done.index_fill_(0, sources, True)

    def enter(self, entries: Entries) -> None:
        """New windows into their rows."""
        rows, prompt = entries.rows, entries.prompt
        self.prompt[:, : prompt.shape[1]].index_copy_(0, rows, prompt)
        self.token.index_copy_(0, rows, prompt[:, 0])
        self.prompt_length.index_copy_(0, rows, entries.prompt_length)
        self.heard_at.index_copy_(0, rows, entries.heard_at)
        self.temperature.index_copy_(0, rows, entries.temperature)
        if entries.chances is not None:
            self.chances[:, : entries.chances.shape[1]].index_copy_(0, rows, entries.chances)
        self.place.index_fill_(0, rows, 0)
        self.no_speech.index_fill_(0, rows, 0.0)
        self.last.index_fill_(0, rows, -1)
        self.was.index_fill_(0, rows, False)
        self.was_before.index_fill_(0, rows, True)
        self.done.index_fill_(0, rows, False)

    @property
    def seen(self) -> Seen:
        return Seen(self.last, self.was, self.was_before)


class Step:
    """The function that is captured. `state` and `cache` belong to the slots and are changed in place."""

    def __init__(self, whisper: LoadedWhisper, state: SlotState, cache: SlotCache) -> None:
        self._accelerator = whisper.accelerator
        model, device = whisper.model, whisper.device
        self._decoder, self._project = model.model.decoder, model.proj_out
        self._heads: int = model.config.decoder_attention_heads
        self._projections = [_joined(layer.self_attn) for layer in self._decoder.layers]
        self._no_speech, self._end = whisper.vocabulary.no_speech, whisper.vocabulary.end
        self._rules = Rules(model.generation_config, whisper.vocabulary, self._project.out_features, device)
        self._state, self._cache = state, cache
        self._places = torch.arange(state.prompt.shape[1], device=device)
        self._views: dict[int, SlotState] = {}

    @torch.inference_mode()
    def __call__(self, shape: Shape) -> None:
        state = self._views.get(shape.rows) or self._views.setdefault(shape.rows, self._state.first(shape.rows))
        with self._accelerator.varied_attention():
            logits = self._project(self._hidden(state, shape)).float()
        if shape.starting:
            probs = logits.softmax(-1)[:, self._no_speech]
            state.no_speech.copy_(torch.where(state.place == state.heard_at, probs, state.no_speech))
        index = state.place - (state.prompt_length - 1)
        token, logprob = self._choose(state, logits, index, shape.sampled)
        self._take(state, token, logprob, index)

    def _hidden(self, state: SlotState, shape: Shape) -> Tensor:
        """The last layer's output [rows, width] for each slot's token."""
        decoder, cache = self._decoder, self._cache
        x = F.embedding(state.token, decoder.embed_tokens.weight) + decoder.embed_positions.weight[state.place]
        reach = state.place + 1 if cache.bounded else self._mask(state, shape, x.dtype)
        for at, layer in enumerate(decoder.layers):
            x = x + self._own(at, layer, x, state.place, reach)
            x = x + self._audio(at, layer, x)
            x = x + layer.fc2(layer.activation_fn(layer.fc1(layer.final_layer_norm(x))))
        normed: Tensor = decoder.layer_norm(x)
        return normed

    def _mask(self, state: SlotState, shape: Shape, dtype: torch.dtype) -> Tensor:
        mask = torch.zeros(shape.rows, 1, 1, shape.length, dtype=dtype, device=state.place.device)
        later = self._places[: shape.length] > state.place[:, None]
        return mask.masked_fill_(later[:, None, None], float("-inf"))

    def _own(self, at: int, layer: Any, x: Tensor, place: Tensor, reach: Tensor) -> Tensor:
        attention = layer.self_attn
        made = self._projections[at](layer.self_attn_layer_norm(x)).view(len(x), 3, self._heads, -1)
        found: Tensor = attention.out_proj(self._cache.attend_own(at, made, place, reach, attention.scaling))
        return found

    def _audio(self, at: int, layer: Any, x: Tensor) -> Tensor:
        attention = layer.encoder_attn
        query = attention.q_proj(layer.encoder_attn_layer_norm(x)).view(len(x), self._heads, -1)
        found: Tensor = attention.out_proj(self._cache.attend_audio(at, query, attention.scaling))
        return found

    def _choose(self, state: SlotState, logits: Tensor, index: Tensor, sampled: bool) -> tuple[Tensor, Tensor]:
        barred = self._rules.bar(logits, index, state.seen)
        token, logprob, bound = self._rules.greedy(logits, barred)
        if not sampled:
            return token, logprob
        drawn = state.temperature > 0
        ruled = self._rules.ruled(logits, barred, bound)
        chance = state.chances.gather(1, index.clamp(0, state.chances.shape[1] - 1)[:, None])[:, 0]
        other, other_logprob = draw(ruled, torch.where(drawn, state.temperature, 1.0), chance)
        return torch.where(drawn, other, token), torch.where(drawn, other_logprob, logprob)

    def _take(self, state: SlotState, token: Tensor, logprob: Tensor, index: Tensor) -> None:
        """Slots within their prompt take its next token; the others note what they wrote. NaN ends a slot."""
        nothing = state.tokens.shape[1] - 1
        writing = (index >= 0) & (index < nothing) & ~state.done
        column = torch.where(writing, index, nothing)[:, None]
        state.tokens.scatter_(1, column, token[:, None])
        state.logprobs.scatter_(1, column, logprob[:, None])
        self._rules.note(state.seen, token, index, writing)
        state.done.logical_or_(writing & ((token == self._end) | logprob.isnan()))
        following = (state.place + 1).clamp_(max=state.prompt.shape[1] - 1)
        given = state.prompt.gather(1, following[:, None])[:, 0]
        state.token.copy_(torch.where(state.done, state.token, torch.where(index < 0, given, token)))
        state.place.copy_(torch.where(state.done, state.place, following))


def _joined(attention: Any) -> Callable[[Tensor], Tensor]:
    """Query, key and value of a token, one after the other [rows, 3 x width]."""
    parts = (attention.q_proj, attention.k_proj, attention.v_proj)
    if isinstance(attention.q_proj, PackedLinear):
        return lambda x: torch.cat([part(x) for part in parts], -1)
    weight, bias = fused(parts)
    return lambda x: F.linear(x, weight, bias)
