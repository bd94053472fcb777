"""Attention of one query a slot: in plain PyTorch, over keys and values of 8 bits too, and who computes it on a device.

The decode step asks for it once a layer for the audio and once for the tokens so far; `choose` decides at load between
the Triton kernel (`single_query_triton`) and its twin here.

One query reads every key and value once, so the time is that of their bytes: 2 x positions x heads x size x bytes of an
element for a row and layer. 8 bits (`quantise`) halve them, plus one scale for each vector: 66 instead of 128 bytes for
64 numbers. A scale multiplies the score of its key and the probability of its value, so nothing is written in full.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeAlias, cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from channelscribe.core.errors import EnvironmentFailure, UsageError

log = logging.getLogger(__name__)

OVERRIDE = "CHANNELSCRIBE_SINGLE_QUERY"
_KERNEL = "channelscribe.asr.single_query_triton"
_LEAST_CAPABILITY = (8, 0)  # Ampere: the first with bfloat16, and what Triton still supports
_STEPS = 127
_TOLERANCE = {torch.float32: 2.0**-14, torch.float16: 2.0**-9, torch.bfloat16: 2.0**-6}


class Quantised(NamedTuple):
    """`numbers` [slots, heads, positions, size] int8; a vector is its numbers times its one of `scales`
    [slots, heads, positions], float16 or float32."""

    numbers: Tensor
    scales: Tensor


Cached: TypeAlias = Tensor | Quantised


class Attend(Protocol):
    def __call__(
        self, query: Tensor, keys: Cached, values: Cached, *, scale: float, lengths: Tensor | None = None
    ) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class SingleQuery:
    """Who computes it on this device."""

    name: Literal["kernel", "twin"]
    attend: Attend


def quantise(vectors: Tensor, scales: torch.dtype = torch.float16) -> Quantised:
    """[..., size] of any float type as int8, symmetric: absmax / 127 of each vector is its scale, rounded to `scales`.

    An entry is off by at most about half a scale. NaN and infinity make the scale so, and with it what is attended. In
    float16 a scale is at least 6.1e-5 (the smallest normal number) and infinite from an absmax of 8.3 million on.
    """
    most = torch.linalg.vector_norm(vectors, float("inf"), dim=-1)
    scale = (most.float() / _STEPS).to(scales).clamp_(min=torch.finfo(scales).tiny)
    numbers = vectors / scale.float()[..., None]  # at most 127.07, whichever way the scale was rounded
    return Quantised(numbers.round_().to(torch.int8), scale)


def attend_one(
    query: Tensor, keys: Cached, values: Cached, *, scale: float, lengths: Tensor | None = None
) -> Tensor:  # fmt: skip
    """softmax(scale x query . keys) . values of each row and head. Gives [rows, heads x size] in the query's type.

    `query` [rows, heads, size]; `keys` and `values` [slots, heads, positions, size], of which the first rows are read,
    in the query's type or both quantised. All may be strided, but for their last dimension. `lengths` [rows], int32 or
    int64, at least 1: positions from there on do not count, whatever stands there. Sums are float32. ValueError for
    shapes or types that do not fit.

    Quantised, this twin writes keys and values of its rows out in float32, which the kernel does not.
    """
    rows, _, _, positions = checked(query, keys, values, lengths)
    valid = None if lengths is None else torch.arange(positions, device=query.device) < lengths[:, None]
    if isinstance(keys, Quantised) and isinstance(values, Quantised):
        return _over_numbers(query, _first(keys, rows), _first(values, rows), scale, valid)
    return _over_floats(query, cast(Tensor, keys)[:rows], cast(Tensor, values)[:rows], scale, valid)


def _over_floats(query: Tensor, keys: Tensor, values: Tensor, scale: float, valid: Tensor | None) -> Tensor:
    mask = None
    if valid is not None:
        beyond = ~valid[:, None, :, None]
        keys, values = keys.masked_fill(beyond, 0), values.masked_fill(beyond, 0)  # 0 x NaN would be NaN
        mask = torch.zeros_like(valid, dtype=query.dtype).masked_fill_(~valid, float("-inf"))[:, None, None]
    found = F.scaled_dot_product_attention(query[:, :, None], keys, values, mask, scale=scale)
    return found.reshape(len(query), -1)


def _over_numbers(query: Tensor, keys: Quantised, values: Quantised, scale: float, valid: Tensor | None) -> Tensor:
    scores = (query.float()[:, :, None] @ keys.numbers.float().transpose(-1, -2))[:, :, 0]
    scores = scores * keys.scales.float() * scale
    if valid is not None:
        scores = scores.masked_fill(~valid[:, None], float("-inf"))
    weights = scores.softmax(-1) * values.scales.float()
    if valid is not None:
        weights = weights.masked_fill(~valid[:, None], 0)
    found = (weights[:, :, None] @ values.numbers.float())[:, :, 0]
    return found.reshape(len(query), -1).to(query.dtype)


def _first(cached: Quantised, rows: int) -> Quantised:
    return Quantised(cached.numbers[:rows], cached.scales[:rows])


def checked(query: Tensor, keys: Cached, values: Cached, lengths: Tensor | None) -> tuple[int, int, int, int]:
    """Rows, heads, size and positions. ValueError if the arguments of `attend_one` do not fit each other."""
    rows, heads, size = query.shape
    held = [cached.numbers if isinstance(cached, Quantised) else cached for cached in (keys, values)]
    positions = held[0].shape[2]
    for numbers, cached in zip(held, (keys, values), strict=True):
        if numbers.shape[0] < rows or numbers.shape[1:] != (heads, positions, size):
            raise ValueError(f"{tuple(numbers.shape)} does not hold {rows} x {heads} x {positions} x {size}")
        if numbers.dtype != (torch.int8 if isinstance(cached, Quantised) else query.dtype):
            raise ValueError(f"{numbers.dtype} does not go with a query of {query.dtype}")
        if isinstance(cached, Quantised) and (cached.scales.shape != numbers.shape[:3] or cached.scales.stride(2) != 1):
            raise ValueError(f"scales of {tuple(cached.scales.shape)} do not go with {tuple(numbers.shape)}")
    if isinstance(keys, Quantised) != isinstance(values, Quantised):
        raise ValueError("keys and values are quantised together or not at all")
    if size > 1 and any(tensor.stride(-1) != 1 for tensor in (query, *held)):
        raise ValueError("the last dimension has to be contiguous")
    if lengths is not None and (lengths.shape != (rows,) or lengths.dtype not in (torch.int32, torch.int64)):
        raise ValueError(f"lengths of {tuple(lengths.shape)} and {lengths.dtype} are not one integer for each row")
    return rows, heads, size, positions


TWIN = SingleQuery("twin", attend_one)


def choose(
    device: torch.device,
    dtype: torch.dtype,
    *,
    capability: tuple[int, int] | None,
    size: int = 64,
    eight_bits: bool = False,
    wanted: str | None = None,
) -> SingleQuery:
    """The kernel where it works, else the twin; asked once, at load, with the device current.

    `capability` is the CUDA device's, None on others; `size` that of a head. `wanted` (or, if None, the environment's
    `CHANNELSCRIBE_SINGLE_QUERY`): "auto", "kernel" or "twin". With "auto" a CUDA device of capability 8.0 or more gets
    the kernel if Triton is there and a small attention on the device itself comes out right; else a warning says why.
    UsageError for another word, EnvironmentFailure where "kernel" is wanted and does not work.
    """
    wanted = wanted or os.environ.get(OVERRIDE) or "auto"
    if wanted not in ("auto", "kernel", "twin"):
        raise UsageError(f"{OVERRIDE} is {wanted!r}; it can be auto, kernel or twin.", code="bad_single_query")
    if wanted == "twin" or (wanted == "auto" and (capability is None or capability < _LEAST_CAPABILITY)):
        return TWIN
    try:
        kernel = cast(Attend, importlib.import_module(_KERNEL).attend_one)
        _check(kernel, device, dtype, size, eight_bits)
    except Exception as error:  # whatever a compiler or a driver says, the twin computes the same
        why = next(iter(str(error).splitlines()), "") or type(error).__name__
        if wanted == "kernel":
            message = f"The attention kernel does not work on {device} ({why}); set {OVERRIDE}=twin."
            raise EnvironmentFailure(message, code="no_kernel") from error
        level = logging.INFO if isinstance(error, ModuleNotFoundError) else logging.WARNING
        log.log(level, "attention in the decode step runs as plain PyTorch, since its kernel does not work: %s", why)
        return TWIN
    return SingleQuery("kernel", kernel)


def _check(kernel: Attend, device: torch.device, dtype: torch.dtype, size: int, eight_bits: bool) -> None:
    """Raises unless the kernel says on the device what the twin says on the CPU in float32, of the same numbers."""
    for query, keys, values, lengths in _samples(dtype, size, eight_bits):
        wanted = attend_one(query.float(), _floats(keys), _floats(values), scale=size**-0.5, lengths=lengths)
        bound = None if lengths is None else lengths.to(device)
        found = kernel(query.to(device), _moved(keys, device), _moved(values, device), scale=size**-0.5, lengths=bound)
        if not torch.allclose(found.cpu().float(), wanted, atol=_TOLERANCE[dtype], rtol=_TOLERANCE[dtype]):
            furthest = (found.cpu().float() - wanted).abs().max().item()
            raise ArithmeticError(f"it is off by {furthest:.2g} in {dtype}")


def _samples(dtype: torch.dtype, size: int, eight_bits: bool) -> Iterator[tuple[Tensor, Cached, Cached, Tensor | None]]:
    """As the step asks: over 1,500 positions of audio, and over tokens of which some are still to come."""
    chance = torch.Generator().manual_seed(size)
    for positions, lengths in ((1500, None), (96, torch.tensor([1, 96, 37]))):
        query = torch.randn(3, 2, size, generator=chance).to(dtype)
        keys, values = (torch.randn(4, 2, positions, size, generator=chance).to(dtype) for _ in range(2))
        yield query, keys, values, lengths
        if eight_bits:
            yield query, quantise(keys), quantise(values), lengths


def _floats(cached: Cached) -> Cached:
    return cached if isinstance(cached, Quantised) else cached.float()


def _moved(cached: Cached, device: torch.device) -> Cached:
    if isinstance(cached, Quantised):
        return Quantised(cached.numbers.to(device), cached.scales.to(device))
    return cached.to(device)
