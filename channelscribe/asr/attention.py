"""Self-attention of a float32 encoder on a CPU, through oneDNN: keys and values packed once a head, queries in blocks.

Loading puts it into the encoder beside the packed linear layers. PyTorch's own attention spends two thirds of a small
encoder's time in MKL products; here a block's scores stay in the processor's cache and the products run as those of
`packed` do.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

_NAME = "channelscribe_packed"
_QUERIES = 250  # a block's scores against 1,500 keys are 1.5 MB; 128 to 375 measure alike


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **_: Any
) -> tuple[Tensor, None]:
    """Attention of transformers' interface: [rows, heads, frames, width] each, the query already scaled.

    Gives [rows, frames, heads, width]. Without mask and dropout, as Whisper's encoder has neither.
    """
    if attention_mask is not None:
        raise ValueError("the encoder of Whisper has no mask")
    pack, product = torch.ops.mkldnn._reorder_linear_weight, torch.ops.mkldnn._linear_pointwise.default
    rows, heads, frames, width = query.shape
    made = query.new_empty(rows, frames, heads, width)
    for row in range(rows):
        for head in range(heads):
            keys = pack(key[row, head].contiguous(), _QUERIES)
            values = pack(value[row, head].T.contiguous(), _QUERIES)
            for at in range(0, frames, _QUERIES):
                block = slice(at, at + _QUERIES)
                scores = product(query[row, head, block], keys, None, "none", [], "")
                made[row, block, head] = product(scores.softmax(-1), values, None, "none", [], "")
    return made, None


def put_into(encoder: Any) -> None:
    """Every layer of the encoder attends by `attend`; the decoder keeps its own way."""
    from transformers import AttentionInterface

    AttentionInterface.register(_NAME, attend)
    for layer in encoder.layers:
        layer.self_attn.config = copy.copy(layer.self_attn.config)
        layer.self_attn.config._attn_implementation = _NAME
