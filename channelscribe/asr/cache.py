"""Keys and values of all decode slots, of their tokens so far and of the sound, and the attention over both.

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

_PROJECTED_AT_ONCE = 16


class SlotCache:
    """`own` [layers][slots, 2, heads, positions, size]; `values` [layers][slots, heads, frames, size]; `keys` likewise.

    One query a slot makes attention over the sound a matter of reading memory. For float32 on a CPU the keys lie as
    [slots, heads, size, frames], and both products are weighted sums of rows (`embedding_bag`), which reads at the
    memory's speed: measured 10.6 ms where `scaled_dot_product_attention` takes 18.6 ms.
    """

    def __init__(self, model: Any, slots: int) -> None:
        config, weight = model.config, model.model.decoder.embed_tokens.weight
        self.heads: int = config.decoder_attention_heads
        self.size: int = config.d_model // self.heads
        self.frames: int = config.max_source_positions
        self.streams = weight.device.type == "cpu" and weight.dtype == torch.float32
        self._layers = [layer.encoder_attn for layer in model.model.decoder.layers]
        own = (slots, 2, self.heads, config.max_target_positions, self.size)
        sound = (slots, self.heads, self.frames, self.size)
        turned = (slots, self.heads, self.size, self.frames) if self.streams else sound
        like = {"dtype": weight.dtype, "device": weight.device}
        self.own = [torch.zeros(own, **like) for _ in self._layers]
        self.keys = [torch.empty(turned, **like) for _ in self._layers]
        self.values = [torch.empty(sound, **like) for _ in self._layers]
        self._spots = torch.arange(slots, device=weight.device)
        if self.streams:
            self._rows = torch.arange(slots * self.heads * max(self.frames, self.size))

    def hear(self, encoded: Sequence[Tensor], rows: Sequence[int]) -> None:
        """Projects encoder output [frames, width] of several windows once for all their steps."""
        for at in range(0, len(rows), _PROJECTED_AT_ONCE):
            some = rows[at : at + _PROJECTED_AT_ONCE]
            self._project(torch.stack(list(encoded[at : at + _PROJECTED_AT_ONCE])), some)

    def _project(self, encoded: Tensor, rows: Sequence[int]) -> None:
        for attention, keys, values in zip(self._layers, self.keys, self.values, strict=True):
            key = self._by_head(attention.k_proj(encoded))
            value = self._by_head(attention.v_proj(encoded))
            for place, row in enumerate(rows):
                keys[row].copy_(key[place].transpose(1, 2) if self.streams else key[place])
                values[row].copy_(value[place])

    def _by_head(self, made: Tensor) -> Tensor:
        return made.view(len(made), self.frames, self.heads, self.size).transpose(1, 2)

    def attend_own(self, at: int, made: Tensor, place: Tensor, mask: Tensor, scale: float) -> Tensor:
        """Writes key and value of `made` [rows, 3, heads, size] at `place` and attends. Gives [rows, width].

        `mask` [rows, 1, 1, length] is added to the products."""
        own, rows, length = self.own[at], len(made), mask.shape[-1]
        own[self._spots[:rows], :, :, place] = made[:, 1:]
        keys, values = own[:rows, 0, :, :length], own[:rows, 1, :, :length]
        found = F.scaled_dot_product_attention(made[:, 0, :, None], keys, values, mask, scale=scale)
        return found.reshape(rows, -1)

    def attend_sound(self, at: int, query: Tensor, scale: float) -> Tensor:
        """`query` [rows, heads, size] over the sound of each slot. Gives [rows, width]."""
        rows = len(query)
        if self.streams:
            return self._streamed(at, query * scale)
        keys, values = self.keys[at][:rows], self.values[at][:rows]
        return F.scaled_dot_product_attention(query[:, :, None], keys, values, scale=scale).reshape(rows, -1)

    def _streamed(self, at: int, query: Tensor) -> Tensor:
        rows, heads, size = query.shape
        found = self._sums(self.keys[at], query.reshape(-1), size)
        odds = found.softmax(-1)
        return self._sums(self.values[at], odds.view(-1), self.frames).view(rows, heads * size)

    def _sums(self, table: Tensor, weights: Tensor, each: int) -> Tensor:
        """Sums of `each` consecutive rows of the table, every row times its weight."""
        rows = self._rows[: len(weights)]
        starts = self._rows[: len(weights) : each]
        return F.embedding_bag(rows, table.view(-1, table.shape[-1]), starts, mode="sum", per_sample_weights=weights)

    def blank(self, row: int) -> None:
        """A masked place still counts as 0 x its value, so the NaN of one window must not wait for the next."""
        for own in self.own:
            own[row].zero_()

    def move(self, source: int, target: int, length: int) -> None:
        for own in self.own:
            own[target, :, :, :length].copy_(own[source, :, :, :length])
            own[target, :, :, length:].zero_()
        for kept in (*self.keys, *self.values):
            kept[target].copy_(kept[source])
