"""Several linear layers of one input as one product. Used by the decode step and the encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


@torch.no_grad()
def fused(parts: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """Weight [parts x out, in] and bias of `nn.Linear` layers of one size; a missing bias counts as 0.

    The layers' own weights become views of it, so that nothing is in memory twice.
    """
    weight = torch.cat([part.weight for part in parts])
    zeros = torch.zeros_like(weight[: len(weight) // len(parts), 0])
    bias = torch.cat([zeros if part.bias is None else part.bias for part in parts])
    for part, piece in zip(parts, weight.chunk(len(parts)), strict=True):
        part.weight.data = piece
    return weight, bias
