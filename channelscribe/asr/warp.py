"""Attention weights to moments: smoothing and dynamic time warping of many windows at once. Pure tensor arithmetic.

Used by `align`. The recurrence of Radford et al. 2022 (openai/whisper timing.py) is solved row by row: within a row the
cheapest place to enter is a running minimum, so that a batch costs as many steps as its longest text has tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

# Exchanges that leave the median of seven values in the middle (N. Devillard, "Fast median search", 1998).
_MEDIAN_OF_7 = ((0, 5), (0, 3), (1, 6), (2, 4), (0, 1), (3, 5), (2, 6), (2, 3), (3, 6), (4, 5), (1, 4), (1, 3), (3, 4))


def normalised(weights: Tensor, rows: Tensor) -> Tensor:
    """[n, tokens, frames] as distances from the mean over each window's first `rows` tokens, in standard deviations."""
    real = torch.arange(weights.shape[1], device=weights.device)[None, :, None] < rows[:, None, None]
    count = rows[:, None, None].to(weights.dtype)
    mean = (weights * real).sum(1, keepdim=True) / count
    apart = (weights - mean) * real
    deviation = (apart.square().sum(1, keepdim=True) / count).sqrt()
    return apart / deviation.clamp_min(torch.finfo(weights.dtype).tiny)


def median_filtered(weights: Tensor, columns: Tensor, width: int) -> Tensor:
    """The running median over frames of [n, tokens, frames], each window mirrored at its own edges.

    A window of no more than `width // 2` frames stays as it is, as in transformers; so does what lies behind `columns`.
    """
    half = width // 2
    if half == 0:
        return weights
    padded = functional.pad(weights, (half, half))
    place = torch.arange(1, half + 1, device=weights.device)
    for edge, step in ((torch.zeros_like(columns), 1), (columns - 1, -1)):
        inside = (edge[:, None] + step * place).clamp(0, weights.shape[2] - 1)
        outside = (edge[:, None] - step * place + half).clamp(0, padded.shape[2] - 1)
        shape = (-1, weights.shape[1], -1)
        padded.scatter_(2, outside[:, None].expand(shape), weights.gather(2, inside[:, None].expand(shape)))
    shifted = [padded[:, :, at : at + weights.shape[2]] for at in range(width)]
    return torch.where((columns > half)[:, None, None], _median(shifted), weights)


def _median(values: list[Tensor]) -> Tensor:
    """Exchanges of whole tensors are many times faster than sorting rows of seven."""
    if len(values) != 7:
        return torch.stack(values, -1).sort(-1)[0][..., len(values) // 2]
    values = list(values)
    for low, high in _MEDIAN_OF_7:
        one, other = values[low], values[high]
        values[low], values[high] = torch.minimum(one, other), torch.maximum(one, other)
    return values[3]


def jumps(weights: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """For each window, the frame at which the path of greatest total weight comes to each of its first `rows` tokens.

    `weights` is [n, tokens, frames], `rows` and `columns` int64 [n]; gives int64 [n, tokens], of which only the first
    `rows` of each window mean something. The path goes from the first token and frame to the last ones, one token or
    one frame or both at a time, and never back.
    """
    cost = -weights.to(torch.float64)
    entered, diagonal = _paths(cost)
    last, frame = rows - 1, columns[:, None] - 1
    found = torch.zeros(cost.shape[:2], dtype=torch.int64, device=cost.device)
    for row in reversed(range(cost.shape[1])):
        at = entered[row].gather(1, frame)
        found[:, row] = at[:, 0]
        came = at - diagonal[row].gather(1, at).long()
        frame = torch.where((row <= last)[:, None], came, frame)
    return found


def _paths(cost: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """For each token, [n, frames]: where the cheapest path to a frame entered the row, and whether by a diagonal."""
    count, _, frames = cost.shape
    until = cost.cumsum(2)
    before = functional.pad(until, (1, 0))[:, :, :frames]
    endless = cost.new_full((count, 1), torch.inf)
    entry = torch.cat([cost.new_zeros(count, 1), cost.new_full((count, frames - 1), torch.inf)], 1)
    diagonal = torch.zeros(count, frames, dtype=torch.bool, device=cost.device)
    entered, diagonals = [], []
    for row in range(cost.shape[1]):
        best, place = (entry - before[:, row]).cummin(1)
        entered.append(place)
        diagonals.append(diagonal)
        total = best + until[:, row]
        left = torch.cat([endless, total[:, :-1]], 1)
        diagonal = left < total
        entry = torch.minimum(left, total)
    return entered, diagonals
