"""Keys and values of all decode slots, of their tokens so far and of the audio, and the attention over both.

Allocated once and reused by every window. The decode step reads the first rows of it and writes each slot's token at
the slot's own place; the slots move rows so that the living ones stand first. Sizes in elements:
2 x layers x slots x width x (positions + frames).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from channelscribe.asr.loading import LoadedWhisper, single_query_for
from channelscribe.asr.single_query import Cached, Quantised, quantise

_AT_ONCE = 16
_ALIGNED = 8  # attention kernels read rows of a mask in 16 bytes


def positions_of(whisper: LoadedWhisper, most_tokens: int | None = None, longest_prompt: int | None = None) -> int:
    """Places that a slot needs: for what stands before a window's text and for its most tokens.

    232 of the 448 that a decoder has, since openai/whisper ends a window after 224 tokens.
    """
    needed = (longest_prompt or whisper.vocabulary.prompt_length) + (most_tokens or whisper.most_tokens)
    aligned = -(-needed // _ALIGNED) * _ALIGNED
    most: int = whisper.model.config.max_target_positions
    return min(aligned, most)


class SlotCache:
    """`own` [layers][slots, 2, heads, positions, size]; `values` [layers][slots, heads, frames, size]; `keys` likewise.

    One query a slot makes attention over the audio a matter of reading memory. For float32 on a CPU the keys lie as
    [slots, heads, size, frames], and both products are weighted sums of rows (`embedding_bag`), which reads at the
    memory's speed: measured 10.6 ms where `scaled_dot_product_attention` takes 18.6 ms.
    """

    def __init__(self, whisper: LoadedWhisper, slots: int, positions: int, *, eight_bits: bool = False) -> None:
        model = whisper.model
        config, weight = model.config, model.model.decoder.embed_tokens.weight
        self.heads: int = config.decoder_attention_heads
        self.size: int = config.d_model // self.heads
        self.frames: int = config.max_source_positions
        on_host = weight.device.type == "cpu"
        self._single_query, self._eight_bits = whisper.single_query, eight_bits
        if eight_bits:
            self._single_query = single_query_for(whisper.model, whisper.accelerator, eight_bits=True)
        self.streams = on_host and weight.dtype == torch.float32 and not eight_bits
        self._put = _put_on_host if on_host else _put
        self._layers = [layer.encoder_attn for layer in model.model.decoder.layers]
        own = (slots, 2, self.heads, positions, self.size)
        audio = (slots, self.heads, self.frames, self.size)
        turned = (slots, self.heads, self.size, self.frames) if self.streams else audio
        like: dict[str, Any] = {"dtype": weight.dtype, "device": weight.device}
        self.own = [torch.zeros(own, **like) for _ in self._layers]
        self.keys = [_empty(turned, like, eight_bits) for _ in self._layers]
        self.values = [_empty(audio, like, eight_bits) for _ in self._layers]
        self._spots = torch.arange(slots, device=weight.device)
        if self.streams:
            self._rows = torch.arange(slots * self.heads * max(self.frames, self.size))

    def admit(self, encoded: Sequence[Tensor], rows: Tensor) -> None:
        """Projects encoder output [frames, width] of several windows once for all their steps.

        `rows` int64 [windows] lie on the device. What those rows held is blanked: a masked place still counts as 0 x
        its value, so the NaN of one window must not wait for the next.
        """
        for at in range(0, len(encoded), _AT_ONCE):
            some = rows[at : at + _AT_ONCE]
            self._project(torch.stack(list(encoded[at : at + _AT_ONCE])), some)
            for own in self.own:
                self._put(own, some, None)

    def _project(self, encoded: Tensor, rows: Tensor) -> None:
        for attention, keys, values in zip(self._layers, self.keys, self.values, strict=True):
            key = self._by_head(attention.k_proj(encoded))
            value = self._by_head(attention.v_proj(encoded))
            for kept, made in ((keys, key.transpose(2, 3) if self.streams else key), (values, value)):
                for part, new in zip(
                    _tensors(kept), _tensors(quantise(made) if self._eight_bits else made), strict=True
                ):
                    self._put(part, rows, new)

    def _by_head(self, made: Tensor) -> Tensor:
        return made.view(len(made), self.frames, self.heads, self.size).transpose(1, 2)

    @property
    def bounded(self) -> bool:
        """Attention over the tokens so far reads as far as each row has come, so it needs no mask."""
        return self._single_query.name == "kernel"

    def attend_own(self, at: int, made: Tensor, place: Tensor, reach: Tensor, scale: float) -> Tensor:
        """Writes key and value of `made` [rows, 3, heads, size] at `place` and attends. Gives [rows, width].

        `reach` is how many places each row reads, int64 [rows], where attention is `bounded`; else a mask
        [rows, 1, 1, length] that is added to the products."""
        own, rows = self.own[at], len(made)
        own[self._spots[:rows], :, :, place] = made[:, 1:]
        keys, values = own[:rows, 0], own[:rows, 1]
        if self.bounded:
            return self._single_query.attend(made[:, 0], keys, values, scale=scale, lengths=reach)
        length = reach.shape[-1]
        keys, values = keys[:, :, :length], values[:, :, :length]
        found = F.scaled_dot_product_attention(made[:, 0, :, None], keys, values, reach, scale=scale)
        return found.reshape(rows, -1)

    def attend_audio(self, at: int, query: Tensor, scale: float) -> Tensor:
        """`query` [rows, heads, size] over the audio of each slot. Gives [rows, width]."""
        keys, values = self.keys[at], self.values[at]
        if self.streams and isinstance(keys, Tensor) and isinstance(values, Tensor):
            return self._streamed(keys, values, query * scale)
        return self._single_query.attend(query, keys, values, scale=scale)

    def _streamed(self, keys: Tensor, values: Tensor, query: Tensor) -> Tensor:
        rows, heads, size = query.shape
        probs = self._sums(keys, query.reshape(-1), size).softmax(-1)
        return self._sums(values, probs.view(-1), self.frames).view(rows, heads * size)

    def _sums(self, table: Tensor, weights: Tensor, each: int) -> Tensor:
        """Sums of `each` consecutive rows of the table, every row times its weight."""
        rows = self._rows[: len(weights)]
        starts = self._rows[: len(weights) : each]
        return F.embedding_bag(rows, table.view(-1, table.shape[-1]), starts, mode="sum", per_sample_weights=weights)

    def move(self, sources: Tensor, targets: Tensor) -> None:
        """Copies rows; both int64 [rows] on the device. A target is no other's source."""
        for at in range(0, len(sources), _AT_ONCE):
            some, to = sources[at : at + _AT_ONCE], targets[at : at + _AT_ONCE]
            for cached in (*self.own, *self.keys, *self.values):
                for kept in _tensors(cached):
                    self._put(kept, to, kept.index_select(0, some))


def _empty(shape: tuple[int, ...], like: dict[str, Any], eight_bits: bool) -> Cached:
    if not eight_bits:
        return torch.empty(shape, **like)
    numbers = torch.empty(shape, dtype=torch.int8, device=like["device"])
    return Quantised(numbers, torch.empty(shape[:-1], dtype=torch.float16, device=like["device"]))


def _tensors(cached: Cached) -> tuple[Tensor, ...]:
    return cached if isinstance(cached, Quantised) else (cached,)


def _put(kept: Tensor, rows: Tensor, made: Tensor | None) -> None:
    """One launch for all rows; zeros without anything made."""
    if made is None:
        kept.index_fill_(0, rows, 0.0)
    else:
        kept.index_copy_(0, rows, made)


def _put_on_host(kept: Tensor, rows: Tensor, made: Tensor | None) -> None:
    """Row by row, which on a CPU runs at the memory's speed: 2.2 ms where `index_copy_` takes 6.0 ms."""
    for at, row in enumerate(rows.tolist()):
        if made is None:
            kept[row].zero_()
        else:
            kept[row].copy_(made[at])
