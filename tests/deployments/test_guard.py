"""`channelscribe guard backtest` as a person calls it."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from deployments.cli import run

TRACE = Path(__file__).resolve().parents[1] / "channelscribe/gpu/traces/simulated-hot-unguarded.parquet"


def test_the_table_names_every_policy(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["guard", "backtest", "demo", str(TRACE)]) == 0
    shown = capsys.readouterr().out
    for name in ("no guard", "pause 75 / resume 60", "TThrottle", "PI power cap", "nsight", "ours, with power cap"):
        assert shown.count(name) == 2
    assert "A trace does not answer back" in shown


def test_json_holds_what_the_table_shows_and_a_lower_ceiling_counts(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    svg = tmp_path / "curves.svg"
    assert run(["guard", "backtest", "demo", "--temp-c", "65", "--json", "--svg", str(svg)]) == 0
    said = json.loads(capsys.readouterr().out)
    (found,) = said["backtests"]
    ours = next(row for row in found["rows"] if row["name"] == "ours")
    assert found["ceiling_c"] == 65
    assert ours["above_c"] <= ours["step_heating_c"]
    assert ours["of_allowed"] > 0
    lines = ET.parse(svg).getroot().findall(".//{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == len(found["rows"])


def test_a_ceiling_of_power_that_nothing_runs_under_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["guard", "backtest", "demo", "--power-w", "5"]) == 2
    assert "at least 10 W" in capsys.readouterr().err


@pytest.mark.parametrize("subject", ["nowhere", "nowhere.parquet", "README.md", "."])
def test_what_is_no_trace_ends_in_one_sentence(
    subject: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("README.md").write_text("no trace", encoding="utf-8")
    assert run(["guard", "backtest", subject]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("channelscribe: ")
    assert "Traceback" not in said


def test_a_picture_that_cannot_be_written_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["guard", "backtest", "demo", "--svg", "/nowhere/curves.svg"]) == 2
    assert "cannot be written" in capsys.readouterr().err
