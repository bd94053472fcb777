"""From a memory budget to slots: the figures of the note, and no plan that would not fit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from channelscribe.asr.planner import MOST_SLOTS, Plan, Shapes, plan, room_on, room_within
from channelscribe.core.profile import Preset, TranscriptionProfile
from tests.emulators.gpu_device import GpuStandIn

GIB = 1 << 30
LARGE = Shapes(width=1280, decoder_layers=32, frames=1500, positions=448, element_bytes=2)
TURBO = Shapes(width=1280, decoder_layers=4, frames=1500, positions=448, element_bytes=2)
AUTO = TranscriptionProfile.preset(Preset.AUTO)
shapes = st.builds(
    Shapes,
    width=st.sampled_from([384, 512, 768, 1280]),
    decoder_layers=st.integers(1, 32),
    frames=st.just(1500),
    positions=st.just(448),
    element_bytes=st.sampled_from([2, 4]),
)


def test_the_figures_of_the_research_note() -> None:
    assert LARGE.slot_bytes == pytest.approx(319e6, rel=0.01)
    assert TURBO.kept_bytes == pytest.approx(3.84e6, rel=0.01)


@given(shapes, st.integers(0, 150 * GIB), st.booleans(), st.integers(1, 512))
def test_a_plan_fits_its_room_or_is_the_smallest(shape: Shapes, room: int, automatic: bool, batch: int) -> None:
    profile = TranscriptionProfile(batch_size=batch, batch_from_card=automatic)
    found = plan(profile, shape, room)
    assert 1 <= found.encode <= found.slots <= (MOST_SLOTS if automatic else batch)
    needed = found.slots * (shape.slot_bytes + shape.kept_bytes) + found.encode * (
        shape.encode_bytes + shape.kept_bytes
    )
    left = 0.92 * room - (768 << 20)  # the rest is for cuBLAS, graphs and the gaps between an allocator's blocks
    assert needed <= left or found.slots == 1
    assert found.encode * shape.encode_bytes <= left / 4 or found.encode == 1


@given(shapes, st.integers(0, 100 * GIB), st.integers(0, 40 * GIB))
def test_more_room_never_makes_fewer_slots(shape: Shapes, room: int, more: int) -> None:
    assert plan(AUTO, shape, room).slots <= plan(AUTO, shape, room + more).slots + 8


def test_presets_on_a_card_of_24_gib() -> None:
    room = room_within(AUTO, int(19.5 * GIB), 24 * GIB)
    sizes = {preset: plan(TranscriptionProfile.preset(preset), LARGE, room).slots for preset in Preset}
    assert [sizes[p] for p in (Preset.STABLE, Preset.OPTIMIZED, Preset.FAST)] == [8, 16, 32]
    assert 32 < sizes[Preset.AUTO] < 64, "research/asr.md, section 3: 24 GB cards hold about 50"
    assert sizes[Preset.MAX] <= 56
    assert plan(AUTO, TURBO, room).slots > 200


def test_what_torch_keeps_of_freed_memory_is_room_still() -> None:
    gpu = GpuStandIn(others_bytes=4 * GIB)
    with gpu.current():
        before = room_on(gpu, AUTO)
        freed = torch.zeros(1 << 20, device=gpu.device)
        del freed
        assert gpu.memory().reserved > gpu.memory().allocated
        assert room_on(gpu, AUTO) == before == 18 * GIB


def test_without_a_card_the_profile_decides() -> None:
    assert plan(AUTO, LARGE, None).slots == TranscriptionProfile().batch_size
    assert plan(TranscriptionProfile(batch_size=3), LARGE, None).encode == 3


@pytest.mark.parametrize(
    ("budget_gib", "free_gib", "total_gib", "room_gib"),
    [
        (0, 24, 24, 22),
        (0, 48, 48, 44),
        (0, 120, 144, 108),
        (0, 20, 24, 18),
        (10, 24, 24, 10),
        (10, 20, 24, 6),
        (10, 5, 24, 0),
        (99, 24, 24, 22),
        (0, 1, 24, 0),
    ],
)
def test_what_the_budget_leaves(budget_gib: float, free_gib: int, total_gib: int, room_gib: int) -> None:
    profile = TranscriptionProfile(vram_budget_gib=budget_gib)
    assert room_within(profile, free_gib * GIB, total_gib * GIB) == room_gib * GIB


def test_halving_ends_at_one() -> None:
    found = Plan(56, 32)
    for _ in range(9):
        found = found.with_fewer_slots().with_less_encoding(found.encode)
    assert (found.slots, found.encode) == (1, 1)
    assert Plan(8, 8).with_less_encoding(3).encode == 1


@pytest.mark.parametrize(("own_gib", "guard_gib", "found_gib"), [(0, 22, 22), (10, 22, 10), (40, 22, 22), (22, 22, 22)])
def test_the_guards_budget_bounds_the_plan(own_gib: float, guard_gib: float, found_gib: float) -> None:
    profile = TranscriptionProfile(vram_budget_gib=own_gib).within_budget(guard_gib)
    assert profile.vram_budget_gib == found_gib
    assert profile.text_parameters() == TranscriptionProfile().text_parameters()
    assert room_within(profile, 80 * GIB, 80 * GIB) == found_gib * GIB
