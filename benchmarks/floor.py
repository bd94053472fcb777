"""The least time a window can take: operations and bytes of a Whisper, and the rates of a machine.

Computed from shapes alone, so that a measured speed can be told as a share of it. Per 30 s window: the encoder once,
keys and values of the cross-attention once, and for every step the larger of operations and bytes. A batch shares the
weights it reads; nobody shares keys and values. Perfect products, perfect bandwidth, nothing overlapped.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from benchmarks.clocked import ARCHITECTURES, FRAMES, WINDOW_S

PROMPT_STEPS = 3
_OWN_PLACES = 64  # of a window's own keys and values, how many are read at a step on average


@dataclass(frozen=True, slots=True)
class Rates:
    """`flop_s` of large matrix products, `byte_s` of reading memory, for numbers of `bytes_each` bytes."""

    name: str
    flop_s: float
    byte_s: float
    bytes_each: int = 2


# The H200's and H100's as measured on one each (a large bf16 product, a copy on the card); the others are data sheets.
CARDS = {
    "H200": Rates("H200", 790e12, 4.3e12),
    "H100": Rates("H100", 798e12, 3.0e12),
    "RTX 4090": Rates("RTX 4090", 165e12, 1.008e12),
    "L4": Rates("L4", 121e12, 0.300e12),
}


@dataclass(frozen=True, slots=True)
class Work:
    """Of one window in floating-point operations, of one step in numbers read; see `work_of`."""

    encoder_flop: float
    attention_flop: float
    cross_flop: float
    step_flop: float
    weights_read: float
    cross_read: float
    own_read: float


def work_of(arch: str) -> Work:
    """Two operations a weight and row; convolutions and attention included, normalisation and softmax left out."""
    a = ARCHITECTURES[arch]
    d, frames, below, above = a.width, FRAMES, a.encoder_layers, a.decoder_layers
    attention = 4.0 * frames * frames * d * below
    convolutions = 2 * 3 * (2 * frames * a.mels * d + frames * d * d)
    weights = above * 14.0 * d * d + a.vocabulary * d
    return Work(
        encoder_flop=2.0 * below * 12 * d * d * frames + attention + convolutions,
        attention_flop=attention,
        cross_flop=4.0 * d * d * frames * above,
        step_flop=2 * weights + 4.0 * frames * d * above,
        weights_read=weights,
        cross_read=2.0 * frames * d * above,
        own_read=2.0 * _OWN_PLACES * d * above,
    )


def floor_s(arch: str, rates: Rates, *, tokens: float, batch: int) -> float:
    """Seconds a window of `tokens` tokens needs at least when `batch` of them share each step."""
    work, steps = work_of(arch), tokens + PROMPT_STEPS
    computing = steps * work.step_flop / rates.flop_s
    numbers = work.weights_read / batch + work.cross_read + work.own_read
    reading = steps * numbers * rates.bytes_each / rates.byte_s
    return (work.encoder_flop + work.cross_flop) / rates.flop_s + max(computing, reading)


def floor_rtfx(arch: str, rates: Rates, *, tokens: float, batch: int) -> float:
    """Seconds of full windows in a second of time."""
    return WINDOW_S / floor_s(arch, rates, tokens=tokens, batch=batch)


def measured_rates(threads: int) -> Rates:
    """This processor's own, in float32: the best oneDNN product of an encoder's size, and summing a large tensor."""
    import torch

    torch.set_num_threads(threads)
    rows, inner, outer = 6000, 512, 2048
    x, w = torch.randn(rows, inner), torch.randn(outer, inner)
    packed = torch.ops.mkldnn._reorder_linear_weight(w, rows)
    big = torch.randn(64 << 20)

    def product() -> None:
        torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")

    flop_s = 2.0 * rows * inner * outer / _best_s(product)
    return Rates("this processor", flop_s, big.nbytes / _best_s(big.sum), 4)


def _best_s(work: object, times: int = 7) -> float:
    assert callable(work)
    found = []
    for _ in range(times):
        begun = time.process_time()
        work()
        found.append(time.process_time() - begun)
    return min(found)
