"""Whisper's encoder over the modules' weights, in few sizes and over fixed memory, so that a graph holds it.

Used by the encoder where launches return before they have run; a CPU calls the modules of transformers. It computes
what they compute, but lays the stream of activations out by rows (in the modules the transposed output of the
convolutions keeps its strides through every layer, so that each addition mixes two layouts and each product copies),
makes query, key and value in one product, and is launched as one graph.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from channelscribe.asr.fused import fused
from channelscribe.asr.graphs import Replayer, capture_of
from channelscribe.asr.loading import LoadedWhisper
from channelscribe.asr.trouble import has_no_plan

log = logging.getLogger(__name__)


class EncoderPass:
    """Encodes up to `most` windows; fewer are computed as the next of 1, 2, 4, ... `most` windows.

    Making it joins weights, on the stream of everything else. `allocate`, and every call, belong on the stream on which
    it works: its memory and its graphs are that stream's. Not thread-safe.
    """

    def __init__(self, whisper: LoadedWhisper) -> None:
        self._whisper, self._accelerator = whisper, whisper.accelerator
        self._encoder = whisper.model.model.encoder
        self._heads: int = whisper.model.config.encoder_attention_heads
        self._scale = self._encoder.layers[0].self_attn.scaling
        self._projections = [_joined(layer.self_attn) for layer in self._encoder.layers]
        self._varied = False
        self._sizes: tuple[int, ...] = ()

    @property
    def most(self) -> int:
        return self._sizes[-1]

    @torch.inference_mode()
    def allocate(self, most: int) -> None:
        """For so many windows at once, instead of those before. Raises the device's out-of-memory error."""
        self._features = self._hidden = torch.empty(0)
        self._replay = Replayer[int](self._run, None)
        config = self._whisper.model.config
        like: dict[str, Any] = {"dtype": self._whisper.dtype, "device": self._whisper.device}
        frames = config.max_source_positions
        self._features = torch.zeros(most, config.num_mel_bins, 2 * frames, **like)
        self._hidden = torch.zeros(most, frames, config.d_model, **like)
        self._replay = Replayer[int](self._run, capture_of(self._accelerator))
        self._sizes = sizes_up_to(most)
        self._launch(most)  # the largest first: in the memory of its graph the others find room

    @torch.inference_mode()
    def __call__(self, features: Tensor) -> list[Tensor]:
        """Features [windows, mels, 2 x frames] to encoder output [frames, width] of each, in memory of its own."""
        count = len(features)
        size = next(size for size in self._sizes if size >= count)
        self._features[:count].copy_(features)
        self._launch(size)
        return [self._hidden[row].clone() for row in range(count)]

    def _launch(self, size: int) -> None:
        try:
            self._replay(size)
        except RuntimeError as error:
            if self._varied or not has_no_plan(error):
                raise
            log.warning("the encoder goes on without the attention that has no plan for it: %s", error)
            self._varied = True
            self._replay(size)

    @torch.inference_mode()
    def _run(self, size: int) -> None:
        if self._varied:
            with self._accelerator.varied_attention():
                self._hidden[:size].copy_(self._forward(self._features[:size]))
        else:
            self._hidden[:size].copy_(self._forward(self._features[:size]))

    def _forward(self, features: Tensor) -> Tensor:
        encoder = self._encoder
        x = F.gelu(encoder.conv2(F.gelu(encoder.conv1(features))))
        x = x.transpose(1, 2).contiguous() + encoder.embed_positions.weight
        for layer, (weight, bias) in zip(encoder.layers, self._projections, strict=True):
            made = F.linear(layer.self_attn_layer_norm(x), weight, bias)
            x = x + layer.self_attn.out_proj(self._attend(made))
            x = x + layer.fc2(layer.activation_fn(layer.fc1(layer.final_layer_norm(x))))
            if x.dtype == torch.float16:  # as the modules do: an overflow would be infinite from here on
                most = torch.finfo(x.dtype).max - 1000
                x = x.clamp(min=-most, max=most)
        normed: Tensor = encoder.layer_norm(x)
        return normed

    def _attend(self, made: Tensor) -> Tensor:
        """Query, key and value [rows, frames, 3 x width] to [rows, frames, width]."""
        rows, frames, wide = made.shape
        query, key, value = made.view(rows, frames, 3, self._heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        found = F.scaled_dot_product_attention(query, key, value, scale=self._scale)
        return found.transpose(1, 2).reshape(rows, frames, wide // 3)


def sizes_up_to(most: int) -> tuple[int, ...]:
    """1, 2, 4, ... and `most` itself."""
    if most < 1:
        raise ValueError(f"a micro-batch of {most} windows")
    powers = [1 << power for power in range(most.bit_length()) if 1 << power < most]
    return (*powers, most)


def _joined(attention: Any) -> tuple[Tensor, Tensor]:
    return fused((attention.q_proj, attention.k_proj, attention.v_proj))
