"""Keys and values of all decode slots: of the tokens so far, written at each slot's own place, and of the sound.

Allocated once and reused by every window; the decode step reads the first rows of it, the slots move rows so that the
living ones stand first. Sizes in elements: 2 x layers x slots x width x (positions + frames).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

_PROJECTED_AT_ONCE = 16


class SlotCache:
    """`own` [layers][slots, 2, heads, positions, size]; `keys`, `values` [layers][slots, heads, frames, size]."""

    def __init__(self, model: Any, slots: int) -> None:
        config, weight = model.config, model.model.decoder.embed_tokens.weight
        heads, width = config.decoder_attention_heads, config.d_model
        self.frames: int = config.max_source_positions
        self._projections = [layer.encoder_attn for layer in model.model.decoder.layers]
        own = (slots, 2, heads, config.max_target_positions, width // heads)
        sound = (slots, heads, self.frames, width // heads)
        layers = len(self._projections)
        like = {"dtype": weight.dtype, "device": weight.device}
        self.own = [torch.zeros(own, **like) for _ in range(layers)]
        self.keys = [torch.empty(sound, **like) for _ in range(layers)]
        self.values = [torch.empty(sound, **like) for _ in range(layers)]

    def hear(self, encoded: Sequence[Tensor], rows: Sequence[int]) -> None:
        """Projects encoder output [frames, width] of several windows once for all their steps."""
        for at in range(0, len(rows), _PROJECTED_AT_ONCE):
            some = rows[at : at + _PROJECTED_AT_ONCE]
            self._project(torch.stack(list(encoded[at : at + _PROJECTED_AT_ONCE])), some)

    def _project(self, encoded: Tensor, rows: Sequence[int]) -> None:
        for attention, keys, values in zip(self._projections, self.keys, self.values, strict=True):
            for projection, kept in ((attention.k_proj, keys), (attention.v_proj, values)):
                made = F.linear(encoded, projection.weight, projection.bias)
                made = made.view(len(rows), self.frames, kept.shape[1], kept.shape[3]).transpose(1, 2)
                for place, row in enumerate(rows):
                    kept[row].copy_(made[place])

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
