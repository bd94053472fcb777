"""Attention of one query a slot as a Triton kernel for CUDA: reads keys and values once, and nothing else of size.

`single_query` imports this module where Triton is, checks it beside its twin and hands it to the decode step.

What one program does. It streams a stretch of the positions of one row and head, `_block` at a time. Each of these
lanes keeps a maximum, a sum and a weighted sum of its own, in float32, and only the end of the stretch brings the lanes
together: inside the loop no warp waits for another. Products run on the CUDA cores, since one query would fill 1/16 of
a tensor core. Compiled for Hopper the loop takes 5.0 lane instructions for a bfloat16 and 4.7 for an int8. There is
room: 132 multiprocessors x 128 lanes x 1.75 GHz are 17 for each bfloat16 that an H100's 3.35 TB/s bring and 12 for an
H200's 4.8, 9 and 6 for each int8.

How positions are split. A program takes `_CHUNK` = 512 positions: the 1,500 of audio are 3 programs and a small second
kernel; up to 512, as the tokens so far are, it is one program and no second kernel. The number depends on `positions`
alone, never on rows or on the GPU, so that a window gives the same bits in any company; and as stretches start at
multiples of 512 and lanes at multiples of a block, a row gives the same bits whatever the cache behind its length. A
number that grew as rows get fewer would help only steps of few rows, and even 8 rows of 20 heads are 480 programs for
132 multiprocessors. 200 rows are 12,000, whose last wave is 1/20 of the time; 4,000 unsplit ones would have 1/7. The
second kernel reads 0.5 % of the bytes (estimates).

How much is under way. 64 positions of 64 in bfloat16 are 8 KB of keys and 8 KB of values, in loads of 16 bytes a
thread, all started before the first is used. At 96 to 112 registers a thread 4 or 5 programs share a multiprocessor:
64 KB on their way. With an assumed 0.7 us of latency an H100 needs 18 KB, an H200 26 KB, an RTX 4090 6 KB. So there are
no stages through shared memory (which compile to two barriers in the loop). 8 bits have half of it, which an H200 may
feel.
"""

# What Triton compiles has pointers and numbers for parameters, of which Python knows no type.
# mypy: disable-error-code="no-untyped-def, type-arg, untyped-decorator"
# ruff: noqa: ANN001, N803

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from channelscribe.asr.single_query import Cached, Quantised, checked

_CHUNK = 512
_WARPS = 4
_LOG2_E = 1.4426950408889634


@triton.jit
def _taken(peak, total, found, score, value_step, value) -> tuple:
    """Each lane's maximum, sum and weighted sum with one more position."""
    higher = tl.maximum(peak, score)
    fade, weight = tl.exp2(peak - higher), tl.exp2(score - higher)
    weighted = (weight * value_step)[:, None] * value.to(tl.float32)
    return higher, total * fade + weight, found * fade[:, None] + weighted


@triton.jit
def _joined(peak, total, found) -> tuple:
    """The same of all lanes, or of all stretches, together."""
    top = tl.max(peak, 0)
    share = tl.exp2(peak - top)
    return top, tl.sum(total * share, 0), tl.sum(found * share[:, None], 0)


@triton.jit(do_not_specialize=["heads", "positions"])
def _attend(
    query, keys, values, key_scales, value_scales, lengths, made, peaks,
    totals, scale, heads, positions,
    query_row, query_head, key_row, key_head, key_position,
    value_row, value_head, value_position,
    key_scale_row, key_scale_head, value_scale_row, value_scale_head,
    SIZE: tl.constexpr, PADDED: tl.constexpr, BLOCK: tl.constexpr, CHUNK: tl.constexpr,
    SPLITS: tl.constexpr, QUANTISED: tl.constexpr, BOUNDED: tl.constexpr,
) -> None:  # fmt: skip
    """`made` is the result where SPLITS is 1; else this stretch's weighted sums, their maximum and their sum."""
    row_head, split = tl.program_id(0), tl.program_id(1)
    row, head = (row_head // heads).to(tl.int64), row_head % heads
    lanes, at = tl.arange(0, BLOCK), tl.arange(0, PADDED)
    inside = at < SIZE
    asked = tl.load(query + row * query_row + head * query_head + at, mask=inside, other=0.0).to(tl.float32) * scale
    key_base = keys + row * key_row + head * key_head
    value_base = values + row * value_row + head * value_head
    end = tl.minimum(positions, (split + 1) * CHUNK)
    if BOUNDED:
        end = tl.minimum(end, tl.load(lengths + row).to(tl.int32))
    peak = tl.full([BLOCK], -1.0e30, tl.float32)  # finite, so that a lane without a position makes no NaN
    total = tl.zeros([BLOCK], tl.float32)
    found = tl.zeros([BLOCK, PADDED], tl.float32)
    start = split * CHUNK
    while start < end:
        places = start + lanes
        valid = places < end
        readable = valid[:, None] & inside[None, :] if SIZE != PADDED else valid[:, None]
        key = tl.load(key_base + places[:, None] * key_position + at[None, :], mask=readable, other=0.0)
        value = tl.load(value_base + places[:, None] * value_position + at[None, :], mask=readable, other=0.0)
        score = tl.sum(key.to(tl.float32) * asked[None, :], 1)
        value_step = 1.0
        if QUANTISED:
            steps = row * key_scale_row + head * key_scale_head + places
            score *= tl.load(key_scales + steps, mask=valid, other=0.0).to(tl.float32)
            steps = row * value_scale_row + head * value_scale_head + places
            value_step = tl.load(value_scales + steps, mask=valid, other=0.0).to(tl.float32)
        score = tl.where(valid, score, float("-inf"))
        peak, total, found = _taken(peak, total, found, score, value_step, value)
        start += BLOCK
    top, total_all, found_all = _joined(peak, total, found)
    if SPLITS == 1:
        tl.store(made + row_head.to(tl.int64) * SIZE + at, found_all / total_all, mask=inside)
    else:
        part = row_head.to(tl.int64) * SPLITS + split
        tl.store(made + part * SIZE + at, found_all, mask=inside)
        tl.store(peaks + part, top)
        tl.store(totals + part, total_all)


@triton.jit
def _combine(
    parts, peaks, totals, out,
    SIZE: tl.constexpr, PADDED: tl.constexpr, SPLITS: tl.constexpr, PADDED_SPLITS: tl.constexpr,
) -> None:  # fmt: skip
    row_head = tl.program_id(0).to(tl.int64)
    at, splits = tl.arange(0, PADDED), tl.arange(0, PADDED_SPLITS)
    inside, real = at < SIZE, splits < SPLITS
    peak = tl.load(peaks + row_head * SPLITS + splits, mask=real, other=-1.0e30)
    total = tl.load(totals + row_head * SPLITS + splits, mask=real, other=0.0)
    from_ = parts + (row_head * SPLITS + splits[:, None]) * SIZE + at[None, :]
    part = tl.load(from_, mask=real[:, None] & inside[None, :], other=0.0)
    _, total_all, found = _joined(peak, total, part)
    tl.store(out + row_head * SIZE + at, found / total_all, mask=inside)


def attend_one(
    query: Tensor, keys: Cached, values: Cached, *, scale: float, lengths: Tensor | None = None, chunk: int = _CHUNK
) -> Tensor:
    """As `single_query.attend_one`, on the current CUDA device and stream. `chunk` (a multiple of 64): see above.

    Reads nothing back, so that a CUDA graph can hold it; before a capture it has to run once with the same kinds of
    arguments, which compiles it.
    """
    rows, heads, size, positions = checked(query, keys, values, lengths)
    out = query.new_empty(rows, heads * size)
    if not rows:
        return out
    (key, key_scales), (value, value_scales) = _parts(keys, query), _parts(values, query)
    splits = triton.cdiv(positions, chunk)
    padded = max(16, triton.next_power_of_2(size))
    parts = out if splits == 1 else torch.empty(rows * heads, splits, size, dtype=torch.float32, device=out.device)
    sums = out if splits == 1 else torch.empty(2, rows * heads, splits, dtype=torch.float32, device=out.device)
    _attend[(rows * heads, splits)](
        query, key, value, key_scales, value_scales, query if lengths is None else lengths, parts, sums[0], sums[-1],
        scale * _LOG2_E, heads, positions,
        *query.stride()[:2], *key.stride()[:3], *value.stride()[:3],
        *key_scales.stride()[:2], *value_scales.stride()[:2],
        SIZE=size, PADDED=padded, BLOCK=_block(key, padded), CHUNK=chunk,
        SPLITS=splits, QUANTISED=isinstance(keys, Quantised), BOUNDED=lengths is not None,
        num_warps=_WARPS, enable_fp_fusion=True,
    )  # fmt: skip
    if splits > 1:
        _combine[(rows * heads,)](
            parts, sums[0], sums[1], out, SIZE=size, PADDED=padded, SPLITS=splits,
            PADDED_SPLITS=triton.next_power_of_2(splits), num_warps=1, enable_fp_fusion=True,
        )  # fmt: skip
    return out


def _parts(cached: Cached, otherwise: Tensor) -> tuple[Tensor, Tensor]:
    """The numbers and their scales; where there are none, a tensor that the kernel is given and does not read."""
    return (cached.numbers, cached.scales) if isinstance(cached, Quantised) else (cached, otherwise)


def _block(keys: Tensor, padded: int) -> int:
    """Positions that a program reads at once: 64 at a size of 64, so that each lane's sums fit into registers."""
    return max(16, min(64, 4096 // padded // (2 if keys.element_size() == 4 else 1)))
