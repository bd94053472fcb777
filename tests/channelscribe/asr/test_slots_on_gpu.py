"""The slots on a GPU's manners: what an admission and a chunk launch, when the host looks, and what all this holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from channelscribe.asr import loading
from channelscribe.asr.cache import positions_of
from channelscribe.asr.loading import LoadedWhisper, load_whisper
from channelscribe.asr.model import resolve_model
from channelscribe.asr.planner import Shapes
from channelscribe.asr.single_query import SingleQuery, attend_one
from channelscribe.asr.slots import Slots, Start
from channelscribe.core.profile import TranscriptionProfile
from tests.channelscribe.asr.models import CPU, Tiny
from tests.emulators.gpu_device import GpuStandIn
from tests.emulators.gpu_device.events import Mark


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Tiny(seconds=2, languages=("en",), positions=448).save(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def gpu() -> Iterator[GpuStandIn]:
    made = GpuStandIn()
    with made.current():
        yield made
    assert not made.hazards


@pytest.fixture
def whisper(folder: Path, gpu: GpuStandIn) -> LoadedWhisper:
    return load_whisper(resolve_model(TranscriptionProfile(model=str(folder))), CPU, gpu)


def starts(whisper: LoadedWhisper, count: int, first: int = 0) -> list[Start]:
    config, chance = whisper.model.config, torch.Generator().manual_seed(first)
    encoded = torch.randn(count, config.max_source_positions, config.d_model, generator=chance)
    rows: Tensor = whisper.accelerator.upload(encoded)
    return [Start(first + at, rows[at].clone(), whisper.vocabulary.prompt("en")) for at in range(count)]


def launched(gpu: GpuStandIn, work: Callable[[], object]) -> int:
    before = gpu.launches.total()
    work()
    return gpu.launches.total() - before


def test_an_admission_launches_as_much_for_one_window_as_for_sixteen_and_waits_for_nothing(
    gpu: GpuStandIn, whisper: LoadedWhisper
) -> None:
    slots = Slots(whisper, 32)
    slots.admit(starts(whisper, 1))
    one, many = starts(whisper, 1, 1), starts(whisper, 16, 2)
    waited = len(gpu.waits)
    layers = whisper.model.config.decoder_layers
    for_one, for_many = launched(gpu, lambda: slots.admit(one)), launched(gpu, lambda: slots.admit(many))
    assert for_one == for_many <= 40 + 9 * layers
    assert len(gpu.waits) == waited


def test_a_chunk_is_looked_at_when_the_next_has_been_launched(gpu: GpuStandIn, whisper: LoadedWhisper) -> None:
    slots = Slots(whisper, 4)
    slots.admit(starts(whisper, 4))
    slots.launch(4)
    waited = len(gpu.waits)
    assert slots.collect() == []
    assert len(gpu.waits) == waited, "the only chunk is still under way"
    slots.launch(4)
    slots.collect()
    assert [wait.what for wait in gpu.waits[waited:]] == ["event"]


def test_the_chunk_that_was_launched_last_is_not_awaited(
    gpu: GpuStandIn, whisper: LoadedWhisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each chunk has host memory and a mark of its own: of one for both the host would wait for the later."""
    marks, awaited = list[Mark](), list[Mark]()
    record, synchronize = gpu.record, Mark.synchronize

    def recorded() -> Mark:
        marks.append(record())
        return marks[-1]

    def waited(mark: Mark) -> None:
        awaited.append(mark)
        synchronize(mark)

    slots = Slots(whisper, 4)
    slots.admit(starts(whisper, 4))
    monkeypatch.setattr(gpu, "record", recorded)
    monkeypatch.setattr(Mark, "synchronize", waited)
    for _ in range(3):
        slots.launch(2)
        slots.collect()
    assert len(marks) == 3
    assert awaited == marks[:2]


def test_a_step_that_was_captured_is_one_launch(gpu: GpuStandIn, whisper: LoadedWhisper) -> None:
    slots = Slots(whisper, 4)
    slots.admit(starts(whisper, 4))
    slots.advance(4)
    assert launched(gpu, lambda: slots.launch(8)) == 8 + 3, "eight graphs, and three copies for the host"
    assert slots.graphs == 1


def test_slots_of_a_window_that_ended_are_not_read_again(gpu: GpuStandIn, whisper: LoadedWhisper) -> None:
    """A window that comes into a slot while the last chunk with its predecessor is under way keeps its own tokens."""
    alone = {}
    for start in starts(whisper, 6):
        slots = Slots(whisper, 1)
        slots.admit([start])
        while slots.live:
            alone.update(slots.advance(4))
    slots, waiting, found = Slots(whisper, 2), starts(whisper, 6), {}
    while waiting or slots.live:
        some, waiting = waiting[: slots.free], waiting[slots.free :]
        slots.admit(some)
        found.update(slots.advance(3))
    assert {key: made.tokens for key, made in found.items()} == {key: made.tokens for key, made in alone.items()}
    assert len({made.tokens for made in found.values()}) > 2


def test_ranks_are_closed_without_a_wait(gpu: GpuStandIn, whisper: LoadedWhisper) -> None:
    slots = Slots(whisper, 8)
    slots.admit(starts(whisper, 8))
    slots.launch(1)
    slots.drop(range(6))
    waited = len(gpu.waits)
    slots.launch(1)
    assert slots.graphs == 2, "the last two windows are the first two rows now"
    assert len(gpu.waits) == waited


def test_dropped_windows_are_not_heard_of_again(gpu: GpuStandIn, whisper: LoadedWhisper) -> None:
    """The chunk in which they ended is still under way when they go."""
    slots = Slots(whisper, 2, most_tokens=3)
    slots.admit(starts(whisper, 2))
    slots.launch(8)
    slots.drop([0])
    slots.launch(8)
    assert [key for key, _ in slots.collect()] == [1]


def test_what_ended_before_the_slots_were_cleared_is_not_told_after(folder: Path) -> None:
    whisper = load_whisper(resolve_model(TranscriptionProfile(model=str(folder))), CPU)
    slots = Slots(whisper, 2, most_tokens=1)
    slots.admit(starts(whisper, 2))
    slots.launch(8)
    slots.clear()
    assert (slots.collect(), slots.free) == ([], 2)


def test_who_attends_is_chosen_while_the_device_is_current(
    gpu: GpuStandIn, whisper: LoadedWhisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel is compiled and tried there; what it says on another device means nothing."""
    second, seen = GpuStandIn(1, machine=gpu.machine), list[tuple[torch.device, bool]]()

    def chosen(device: torch.device, *_: object, **__: object) -> SingleQuery:
        seen.append((device, second.is_current()))
        return whisper.single_query

    monkeypatch.setattr(loading, "choose", chosen)
    loading.single_query_for(whisper.model, second)
    assert seen == [(second.device, True)]


def tokens_of(whisper: LoadedWhisper, count: int, **more: bool) -> dict[int, tuple[int, ...]]:
    slots, waiting, found = Slots(whisper, 3, **more), starts(whisper, count), dict[int, tuple[int, ...]]()
    while waiting or slots.live:
        some, waiting = waiting[: slots.free], waiting[slots.free :]
        slots.admit(some)
        found |= {key: made.tokens for key, made in slots.advance(4)}
    return found


def test_attention_that_reads_as_far_as_each_row_has_come_needs_one_shape(whisper: LoadedWhisper) -> None:
    """As with the kernel; here its twin computes, with the same lengths."""
    bounded = replace(whisper, single_query=SingleQuery("kernel", attend_one))
    assert tokens_of(bounded, 5) == tokens_of(whisper, 5)
    slots = Slots(bounded, 2)
    slots.admit(starts(bounded, 2))
    while slots.live:
        slots.advance(8)
    assert slots.graphs <= 2, "one for each number of rows, and none for each length"


def test_positions_are_those_of_a_window_and_not_the_decoders(whisper: LoadedWhisper) -> None:
    assert whisper.model.config.max_target_positions == 448
    assert positions_of(whisper) == 232
    assert Shapes.of(whisper).positions == 232


@pytest.mark.parametrize("eight_bits", [False, True])
def test_slots_hold_what_the_planner_says(gpu: GpuStandIn, whisper: LoadedWhisper, eight_bits: bool) -> None:
    before = gpu.memory().allocated
    slots = Slots(whisper, 64, eight_bits=eight_bits)
    held, planned = gpu.memory().allocated - before, 64 * Shapes.of(whisper, eight_bits=eight_bits).slot_bytes
    state = 64 * (233 * 8 + 225 * 20 + 200)  # prompts, tokens, log probabilities and draws, far below a real cache
    assert planned <= held <= planned + 1.2 * state
    assert slots.free == 64


def test_keys_and_values_in_8_bits_hold_half(whisper: LoadedWhisper) -> None:
    whole, half = Shapes.of(whisper), Shapes.of(whisper, eight_bits=True)
    own = 2 * whole.decoder_layers * whole.width * whole.positions * whole.element_bytes
    assert (half.slot_bytes - own) < (whole.slot_bytes - own) / 3.5, "float32 here; with 16 bits it is half"
