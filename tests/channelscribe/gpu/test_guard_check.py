"""The check for a real card, where there is none: it refuses in one sentence, and runs whole over the stand-ins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.gpu.guard_check import main
from tests.emulators.nvml import FakeDriver, installed


def test_without_a_card_it_is_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with installed(FakeDriver(broken="LIBRARY_NOT_FOUND")):
        assert main(["--trace", str(tmp_path / "trace.parquet")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "no NVIDIA card" in said.err
    assert list(tmp_path.iterdir()) == []


def test_over_the_stand_ins_it_runs_whole(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    trace = tmp_path / "trace.parquet"
    short = ["--stand-in", "--seconds", "90", "--rounds", "3", "--patience-s", "20", "--json"]
    assert main([*short, "--trace", str(trace)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "stand-in" in found["what"]
    assert found["sampling"]["samples"] == 90
    assert [name for name, value in found["fields"].items() if value is None] == [
        "torch_allocated_bytes", "torch_reserved_bytes",
    ]  # fmt: skip
    assert found["pause"]["pauses"] >= 1
    assert found["pause"]["resumed"] == "by itself"
    assert found["pause"]["steps_while_held"] == 0
    assert found["pause"]["steps"] > 0
    assert found["trace"]["points_read_back"] == found["pause"]["rows"] > 1
    assert trace.stat().st_size > 0
