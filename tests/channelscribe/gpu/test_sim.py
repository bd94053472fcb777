"""The simulated card: physics that holds together, knobs that turn it, files that are wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from channelscribe.core.clock import SystemClock
from channelscribe.core.errors import UsageError
from channelscribe.core.gpu import GpuSample, Reader
from channelscribe.gpu.closed import VirtualClock
from channelscribe.gpu.plant import Build, Plant
from channelscribe.gpu.scenarios import SCENARIOS
from channelscribe.gpu.sim import LoadedReader, SimReader, open_sim


def live(reader: SimReader, clock: VirtualClock, seconds: int, busy: float = 1.0) -> list[GpuSample]:
    samples = []
    for _ in range(seconds):
        clock.sleep(1.0)
        reader.load(busy)
        samples.append(reader.sample())
    return samples


def plant_file(path: Path, **knobs: Any) -> Path:
    """Written whole and then put in place, with a new time of change."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(knobs), encoding="utf-8")
    fresh.replace(path)
    stamp = path.stat().st_mtime_ns + len(knobs) + 1
    os.utime(path, ns=(stamp, stamp))
    return path


def test_load_heats_and_rest_cools_towards_the_air() -> None:
    clock = VirtualClock()
    reader: Reader = open_sim("hot", clock)
    assert isinstance(reader, SimReader)
    assert isinstance(reader, LoadedReader)
    hot = live(reader, clock, 300)[-1]
    cold = live(reader, clock, 900, busy=0.0)[-1]
    assert (hot.temp_c or 0) > 80 > 45 > (cold.temp_c or 99) > 35
    assert (hot.power_w or 0) > 300 > 40 > (cold.power_w or 99)
    assert (cold.throttle_mask or 0) & 1
    assert (cold.energy_j or 0) > (hot.energy_j or 0) > 300 * 250


def test_the_card_protects_itself_and_says_so() -> None:
    clock = VirtualClock()
    samples = live(open_sim("hot", clock), clock, 1200)
    hottest = max(samples, key=lambda s: s.temp_c or 0)
    assert (hottest.temp_c or 0) <= SCENARIOS["hot"].build.shutdown_c
    assert any((s.throttle_mask or 0) & 0x20 for s in samples)
    assert (samples[-1].thermal_violation_s or 0) > 0


def test_the_steady_duty_is_the_duty_that_settles_at_the_ceiling() -> None:
    plant = Plant(Build(), 40.0)
    plant.around.ambient_c = 33.0
    duty = plant.steady_duty(75.0)
    assert 0.3 < duty < 1
    for _ in range(4000):
        plant.advance(1.0, duty)
    assert plant.temp_c == pytest.approx(75.0, abs=0.5)


def test_one_seed_one_story() -> None:
    def story() -> list[GpuSample]:
        clock = VirtualClock()
        return live(open_sim("demo", clock), clock, 40)

    assert story() == story()


def test_demo_gets_too_hot_within_seconds_and_cool_again_within_seconds() -> None:
    clock = VirtualClock()
    reader = open_sim("demo", clock)
    assert (live(reader, clock, 12)[-1].temp_c or 0) > 75
    assert (live(reader, clock, 25, busy=0.0)[-1].temp_c or 99) < 60


@pytest.mark.parametrize(
    ("knobs", "expected"),
    [
        ({"sensor": "missing"}, {"temp_c": None, "headroom_c": None}),
        ({"sensor": "impossible"}, {"temp_c": 0.0}),
        ({"lost": True}, {"lost": True, "temp_c": None}),
        ({"uuid": "GPU-mine"}, {"uuid": "GPU-mine"}),
        ({"xids": [79]}, {"xids": (79,)}),
        ({"throttle_mask": 64}, {"throttle_mask": 65}),
    ],
)
def test_knobs_are_taken_from_the_file_while_it_runs(
    tmp_path: Path, knobs: dict[str, Any], expected: dict[str, Any]
) -> None:
    clock = VirtualClock()
    path = plant_file(tmp_path / "plant.json", ambient_c=25.0)
    reader = open_sim(str(path), clock)
    live(reader, clock, 2, busy=0.0)
    plant_file(path, **knobs)
    (sample,) = live(reader, clock, 1, busy=0.0)
    assert {name: getattr(sample, name) for name in expected} == expected


def test_a_forced_temperature_comes_believably_and_goes_when_it_is_let_go(tmp_path: Path) -> None:
    clock = VirtualClock()
    path = plant_file(tmp_path / "plant.json", start_temp_c=40.0)
    reader = open_sim(str(path), clock)
    plant_file(path, forced_temp_c=82.0)
    forced = [s.temp_c or 0 for s in live(reader, clock, 5)]
    assert forced[-1] == 82
    assert all(b - a <= 30 for a, b in zip([40.0, *forced], forced, strict=False))
    plant_file(path)
    assert (live(reader, clock, 6, busy=0.0)[-1].temp_c or 99) < 60


def test_a_frozen_thermometer_keeps_its_word_while_the_card_heats(tmp_path: Path) -> None:
    clock = VirtualClock()
    path = plant_file(tmp_path / "plant.json", sensor="frozen", start_temp_c=45.0)
    samples = live(open_sim(str(path), clock), clock, 120)
    assert {s.temp_c for s in samples} == {45.0}


def test_a_second_tenant_shows_and_takes_memory(tmp_path: Path) -> None:
    clock = VirtualClock()
    path = plant_file(tmp_path / "plant.json", foreign_bytes=6 << 30)
    sample = live(open_sim(str(path), clock), clock, 2)[-1]
    assert [p.used_bytes for p in sample.processes or () if not p.ours] == [6 << 30]
    assert (sample.mem_used_bytes or 0) > 6 << 30


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"ambient": 3}', '{"ambient_c": "warm"}', '{"speed": 0}', "null"])
def test_a_file_that_is_wrong_is_refused_in_one_sentence(tmp_path: Path, content: str) -> None:
    path = tmp_path / "plant.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match="plant file") as refused:
        open_sim(str(path), SystemClock())
    assert refused.value.code == "bad_plant"


def test_a_file_that_goes_wrong_later_leaves_the_knobs_and_complains(tmp_path: Path) -> None:
    clock = VirtualClock()
    path = plant_file(tmp_path / "plant.json", sensor="missing")
    reader = open_sim(str(path), clock)
    path.write_text('{"sensor": "o', encoding="utf-8")
    sample = live(reader, clock, 1)[0]
    assert sample.temp_c is None
    assert sample.errors
    path.unlink()
    assert live(reader, clock, 1)[0].errors


def test_names_that_do_not_exist_are_told_with_those_that_do() -> None:
    with pytest.raises(UsageError, match="night"):
        open_sim("nowhere", SystemClock())
    with pytest.raises(UsageError, match="cannot be read"):
        open_sim("/nowhere/plant.json", SystemClock())
