"""Which language a window is in: what the decoder says of its very first token.

The encoder asks for the windows that vote on their file's language. One token needs no cache and no mask, so this is
written out over the modules' own layers; it launches only, and neither waits nor copies from the host.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from channelscribe.asr.accelerator import upload_ints
from channelscribe.asr.loading import LoadedWhisper


def language_probs(whisper: LoadedWhisper, encoded: Tensor, tokens: Tensor) -> Tensor:
    """Probabilities float32 [windows, languages] for encoder output [windows, frames, width].

    `tokens` [languages] are the language tokens, on the device. As `detect_language` of openai/whisper: the softmax
    over the language tokens alone, after the start token.
    """
    logits = first_logits(whisper, encoded)
    return logits.index_select(1, tokens).softmax(-1)


def first_logits(whisper: LoadedWhisper, encoded: Tensor) -> Tensor:
    """Logits float32 [windows, vocabulary] of the token after the start token."""
    decoder = whisper.model.model.decoder
    x = (decoder.embed_tokens.weight[whisper.vocabulary.start] + decoder.embed_positions.weight[0]).expand(
        len(encoded), -1
    )
    for layer in decoder.layers:
        own = layer.self_attn  # of a single token attention is its own value
        x = x + own.out_proj(own.v_proj(layer.self_attn_layer_norm(x)))
        x = x + _attend(layer.encoder_attn, layer.encoder_attn_layer_norm(x), encoded)
        x = x + layer.fc2(layer.activation_fn(layer.fc1(layer.final_layer_norm(x))))
    logits: Tensor = whisper.model.proj_out(decoder.layer_norm(x)).float()
    return logits


def _attend(attention: Any, x: Tensor, encoded: Tensor) -> Tensor:
    rows, heads, size = len(x), attention.num_heads, attention.head_dim
    query = attention.q_proj(x).view(rows, 1, heads, size).transpose(1, 2)
    key = attention.k_proj(encoded).view(rows, -1, heads, size).transpose(1, 2)
    value = attention.v_proj(encoded).view(rows, -1, heads, size).transpose(1, 2)
    found = F.scaled_dot_product_attention(query, key, value, scale=attention.scaling)
    made: Tensor = attention.out_proj(found.transpose(1, 2).reshape(rows, heads * size))
    return made


def language_tokens(whisper: LoadedWhisper) -> Tensor:
    """int64 [languages] on the device, in the vocabulary's order."""
    return upload_ints(whisper.accelerator, list(whisper.vocabulary.languages.values()))
