"""The budget of one decode step and of one window on a GPU, from shapes alone: python -m benchmarks.budget

Prints the tables of docs/performance.md: bytes and operations, the least time they take at a GPU's measured or stated
rates, the time at the shares of those rates that `SHARES` assumes, and the slots that fit. Nothing here is measured.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.clocked import ARCHITECTURES, FRAMES, WINDOW_S
from benchmarks.floor import CARDS, PROMPT_STEPS, Rates, work_of
from channelscribe.asr.planner import Shapes, plan, room_within
from channelscribe.core.profile import Preset, TranscriptionProfile

TOKENS = 120
GB, MS = 1e9, 1e-3
_HEAD, _OWN_PLACES = 64, 64
# The float32 logits: written once in 16 bits and once in 32, then read or written seven times by softmax and rules.
_LOGIT_BYTES = 2 + 2 + 4 + 7 * 4
# Places of a slot; of a GPU's memory what its driver leaves visible, and a CUDA context; bfloat16 weights.
_POSITIONS, GIB, _VISIBLE_SHARE, _CONTEXT_BYTES = 232, 1 << 30, 0.985, 1 << 29
_WEIGHT_BYTES = {"turbo": 1_620_000_000, "large-v3": 3_090_000_000}


@dataclass(frozen=True, slots=True)
class Shares:
    """Of the rates of a GPU, what a kernel is assumed to reach: products of the encoder, and reading memory."""

    products: float = 0.6
    memory: float = 0.8


SHARES = Shares()
# Slots that the planner gives large-v3 on a GPU's memory; for turbo 256, beyond which little is gained.
CASES = (
    ("turbo", "RTX 4090", 256, 16),
    ("turbo", "H100", 256, 16),
    ("turbo", "H100", 256, 8),
    ("turbo", "H200", 256, 16),
    ("large-v3", "RTX 4090", 48, 16),
    ("large-v3", "RTX 4090", 80, 8),
    ("large-v3", "H100", 224, 16),
    ("large-v3", "H100", 384, 8),
    ("large-v3", "H200", 408, 16),
)


@dataclass(frozen=True, slots=True)
class Step:
    """Bytes that one token for `slots` windows reads and writes, and its operations."""

    weights: float
    audio: float
    own: float
    logits: float
    flop: float

    @property
    def bytes(self) -> float:
        return self.weights + self.audio + self.own + self.logits


def step_of(arch: str, slots: int, kv_bits: int = 16) -> Step:
    shape, work = ARCHITECTURES[arch], work_of(arch)
    vectors = 2.0 * FRAMES * shape.decoder_layers * (shape.width // _HEAD)
    audio = work.cross_read * 2 if kv_bits == 16 else vectors * (_HEAD + 2)
    return Step(
        weights=2 * work.weights_read,
        audio=slots * audio,
        own=slots * 2.0 * _OWN_PLACES * shape.width * shape.decoder_layers * 2,
        logits=slots * shape.vocabulary * _LOGIT_BYTES,
        flop=slots * work.step_flop,
    )


def step_s(step: Step, rates: Rates, share: float = 1.0) -> float:
    return max(step.bytes / (rates.byte_s * share), step.flop / rates.flop_s)


def window_s(arch: str, rates: Rates, slots: int, kv_bits: int, shares: Shares) -> tuple[float, float]:
    """Seconds for the encoder with the audio's keys and values, and for the window's part of its steps."""
    work, steps = work_of(arch), TOKENS + PROMPT_STEPS
    encoding = (work.encoder_flop + work.cross_flop) / (rates.flop_s * shares.products)
    return encoding, steps * step_s(step_of(arch, slots, kv_bits), rates, shares.memory) / slots


def step_table() -> list[str]:
    lines = [
        "| shape, GPU, slots, bits | weights GB | audio GB | own GB | logits GB | GFLOP | floor ms | expected ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for arch, card, slots, bits in CASES:
        step, rates = step_of(arch, slots, bits), CARDS[card]
        least, wanted = step_s(step, rates), step_s(step, rates, SHARES.memory)
        parts = (step.weights, step.audio, step.own, step.logits)
        lines.append(
            f"| {arch}, {card}, {slots}, {bits} | "
            + " | ".join(f"{part / GB:.2f}" for part in parts)
            + f" | {step.flop / 1e9:.0f} | {least / MS:.2f} | {wanted / MS:.2f} |"
        )
    return lines


def window_table() -> list[str]:
    lines = [
        "| shape, GPU, slots, bits | encoder ms | steps ms | in turn | overlapped | floor, in turn |",
        "|---|---|---|---|---|---|",
    ]
    full = Shares(1.0, 1.0)
    for arch, card, slots, bits in CASES:
        encoding, decoding = window_s(arch, CARDS[card], slots, bits, SHARES)
        least = sum(window_s(arch, CARDS[card], slots, bits, full))
        lines.append(
            f"| {arch}, {card}, {slots}, {bits} | {encoding / MS:.2f} | {decoding / MS:.2f} | "
            f"{WINDOW_S / (encoding + decoding):,.0f}x | {WINDOW_S / max(encoding, decoding):,.0f}x | "
            f"{WINDOW_S / least:,.0f}x |"
        )
    return lines


def slots_table() -> list[str]:
    """What the planner gives the preset `auto` on an otherwise empty GPU; contexts and reserves are assumed."""
    lines = ["| model, bits | MB a slot | 12 GB | 24 GB | 48 GB | 80 GB | 141 GB |", "|---|---|---|---|---|---|---|"]
    profile = TranscriptionProfile.preset(Preset.AUTO)
    for arch, bits in (("turbo", 16), ("turbo", 8), ("large-v3", 16), ("large-v3", 8)):
        shape = ARCHITECTURES[arch]
        shapes = Shapes(shape.width, shape.decoder_layers, FRAMES, _POSITIONS, 2, _HEAD, bits == 8)
        cells = []
        for gib in (12, 24, 48, 80, 141):
            total = int(gib * GIB * _VISIBLE_SHARE)
            room = room_within(profile, total - _CONTEXT_BYTES - _WEIGHT_BYTES[arch], total)
            cells.append(str(plan(profile, shapes, room).slots))
        lines.append(f"| {arch}, {bits} | {shapes.slot_bytes / 1e6:.0f} | " + " | ".join(cells) + " |")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    del arguments
    sys.stdout.write("\n".join([*step_table(), "", *window_table(), "", *slots_table()]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
