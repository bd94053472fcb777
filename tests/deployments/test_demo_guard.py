"""`make demo-guard` as a visitor meets it: a run heats a simulated card, pauses visibly, cools and finishes."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from channelscribe.core.gpu import Reading, Zone
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from tests.deployments.conftest import clean_environment

pytestmark = [pytest.mark.prefect, pytest.mark.slow]


@pytest.mark.skipif(os.name == "nt", reason="the stand-ins serve POSIX tests")
def test_the_card_gets_too_hot_and_nothing_is_lost(tmp_path: Path) -> None:
    data = tmp_path / "demo"
    done = subprocess.run(
        [sys.executable, "-m", "deployments.cli", "demo", "--guard", "--json", "--data", str(data)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
        env=clean_environment(),
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    said = json.loads(done.stdout)
    assert said["cooling_down_shown"]
    assert "run:  Cooling down." in done.stderr
    assert "your ceiling of 75 °C; goes on at 67 °C" in done.stderr
    assert (said["done"], said["failed"], said["verified"], said["missing"]) == (6, 0, 6, [])
    with Archive(DataRoot.open(data)) as archive:
        (run,) = archive.runs()
        readings = archive.readings(run.run_id)
    assert run.state == "Completed"
    assert run.pauses
    assert run.paused_s
    assert run.energy_j
    assert run.gpu_busy_share
    assert run.guard is not None
    assert run.guard["temp_c"] == 75
    assert run.audio_s_per_joule == pytest.approx(run.audio_s / run.energy_j)
    assert run.peak_temp_c == max(r.sample.temp_c or 0 for r in readings)
    assert {Zone.RUN, Zone.PAUSE} <= {r.decision.zone for r in readings}
    assert_held_within_one_step(readings, run.guard["temp_c"])
    assert {"decode", "encode"} & {r.load.stage for r in readings}
    picture = ET.fromstring((data / "gpu.svg").read_text(encoding="utf-8"))
    assert "temperature" in " ".join(picture.itertext())


def assert_held_within_one_step(readings: list[Reading], ceiling_c: float) -> None:
    """What is over the ceiling is held already, and is no hotter than the step in flight and one sample made it."""
    temps = [r.sample.temp_c or 0.0 for r in readings]
    assert all(r.decision.zone is Zone.PAUSE for r, temp_c in zip(readings, temps, strict=True) if temp_c >= ceiling_c)
    gaps_s = [b.sample.monotonic_s - a.sample.monotonic_s for a, b in itertools.pairwise(readings)]
    fastest = max((b - a) / gap_s for (a, b), gap_s in zip(itertools.pairwise(temps), gaps_s, strict=True))
    longest_s = max(gaps_s) + max(r.load.longest_step_s for r in readings)
    assert max(temps) - ceiling_c <= fastest * longest_s
