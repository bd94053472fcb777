"""How many windows are at work at once: from a memory budget and the model's shapes to decode slots and micro-batch.

The engine's thread asks once the model is loaded, and again after the device refused memory. Pure but for
`room_on`.

One slot holds the keys and values of the sound and of the tokens, one window's encoder output stays beside it for a
second temperature, and the encoder needs room for its own activations (elements; times the bytes of one element):

    slot     2 x decoder layers x width x (frames + positions)      large-v3 in 16 bits: 245.8 + 38.0 = 284 MB
    kept     frames x width                                         large-v3: 3.8 MB
    encode   frames x width x (8 + 2 x 4) + 2 x frames x width      a layer's inputs, products and inner layer, the stem

`positions` are those that the slots hold: of the prompt and of the most tokens, not the decoder's 448.
The encoder's figure counts the tensors that live at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from channelscribe.asr.accelerator import Accelerator, DeviceMemory
from channelscribe.asr.cache import positions_of
from channelscribe.asr.encoder import MOST_AT_ONCE
from channelscribe.asr.loading import LoadedWhisper
from channelscribe.core.guard import BUDGET_SHARE
from channelscribe.core.profile import TranscriptionProfile

MOST_SLOTS = 512
# For cuBLAS, CUDA graphs and a decode step's logits; and what an allocator loses between its blocks.
_WORKSPACE_BYTES, _USABLE_SHARE = 768 << 20, 0.92
# On a CPU a small batch stays in its caches.
_ENCODE_ELSEWHERE = 8
_SCALE_BYTES = 2  # of a vector that is kept in 8 bits
_EIGHTS_FROM = 16


@dataclass(frozen=True, slots=True)
class Shapes:
    """What of a model decides how much memory a window takes."""

    width: int
    decoder_layers: int
    frames: int
    positions: int
    element_bytes: int
    head: int = 64
    eight_bits: bool = False

    @classmethod
    def of(cls, whisper: LoadedWhisper, *, eight_bits: bool = False) -> Shapes:
        config = whisper.model.config
        return cls(
            width=config.d_model,
            decoder_layers=config.decoder_layers,
            frames=config.max_source_positions,
            positions=positions_of(whisper),
            element_bytes=whisper.dtype.itemsize,
            head=config.d_model // config.decoder_attention_heads,
            eight_bits=eight_bits,
        )

    @property
    def slot_bytes(self) -> int:
        own = self.positions * self.width * self.element_bytes
        audio = self.frames * self.width * (1 if self.eight_bits else self.element_bytes)
        scales = self.frames * (self.width // self.head) * _SCALE_BYTES if self.eight_bits else 0
        return 2 * self.decoder_layers * (own + audio + scales)

    @property
    def kept_bytes(self) -> int:
        return self.frames * self.width * self.element_bytes

    @property
    def encode_bytes(self) -> int:
        return 18 * self.kept_bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """`slots` windows are decoded at once, `encode` encoded at once; as many encoded ones wait for a slot."""

    slots: int
    encode: int
    reason: str = ""

    def with_less_encoding(self, tried: int) -> Plan:
        return Plan(self.slots, max(1, min(self.encode, tried) // 2), self.reason)

    def with_fewer_slots(self) -> Plan:
        slots = max(1, self.slots // 2)
        return Plan(slots, min(self.encode, slots), self.reason)


def plan(profile: TranscriptionProfile, shapes: Shapes, room_bytes: int | None) -> Plan:
    """`room_bytes` is what the budget leaves on the GPU beside the loaded model; None where there is no GPU.

    Never less than one slot: whether that fits only the device can say.
    """
    if room_bytes is None:
        return Plan(profile.batch_size, min(profile.batch_size, _ENCODE_ELSEWHERE), "as the profile says")
    room = max(0, int(room_bytes * _USABLE_SHARE) - _WORKSPACE_BYTES)
    wished = MOST_SLOTS if profile.batch_from_card else profile.batch_size
    encode = max(1, min(MOST_AT_ONCE, wished, room // 4 // shapes.encode_bytes))
    left = room - encode * (shapes.encode_bytes + 2 * shapes.kept_bytes)
    slots = max(1, min(wished, left // (shapes.slot_bytes + shapes.kept_bytes)))
    if slots < wished and slots > _EIGHTS_FROM:
        slots -= slots % 8
    reason = f"{room_bytes / 2**30:.1f} GiB for windows of {shapes.slot_bytes / 2**20:.0f} MiB each"
    return Plan(slots, min(encode, slots), reason)


def room_on(accelerator: Accelerator, profile: TranscriptionProfile) -> int | None:
    """Bytes that the budget leaves now; what other processes hold counts against it. None without memory of its own."""
    memory = accelerator.memory()
    if memory is None:
        return None
    return room_within(profile, memory.free + memory.reserved - memory.allocated, memory.total)


def room_within(profile: TranscriptionProfile, free_bytes: int, total_bytes: int) -> int:
    """Never more than is free, and never more than the share of the card that is ours by default."""
    most = int(total_bytes * BUDGET_SHARE)
    budget = min(int(profile.vram_budget_gib * 2**30) or most, most)
    return max(0, min(free_bytes, budget - (total_bytes - free_bytes)))


def memory_of(memory: DeviceMemory | None) -> dict[str, Any]:
    """Peak, peak reserved and share of the allocator's memory that holds nothing now; empty without a GPU."""
    if memory is None:
        return {}
    return {
        "peak_memory_bytes": memory.peak_allocated,
        "peak_reserved_bytes": memory.peak_reserved,
        "fragmentation": 1.0 - memory.allocated / memory.reserved if memory.reserved else 0.0,
    }
