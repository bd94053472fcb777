"""The twelve minutes rehearsed on a machine without Prefect, PyAV and DuckDB, with parts that break on purpose."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.results import MOST_FILES
from benchmarks.gpu.session import ROOT

# As on a borrowed machine: these are not there, for the parent and for all its children.
HIDDEN = """
import importlib.machinery
real = importlib.machinery.PathFinder.find_spec
def find_spec(name, path=None, target=None):
    return None if name.partition(".")[0] in ("prefect", "av", "duckdb") else real(name, path, target)
importlib.machinery.PathFinder.find_spec = find_spec
"""
PARTS = ("facts", "correctness as it is", "mini equal", "guard", "files", "the whole flow")


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory, mini: Path) -> tuple[int, str, Path]:
    folder = tmp_path_factory.mktemp("rehearsal")
    (folder / "sitecustomize.py").write_text(HIDDEN, encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.gpu", "--rehearse", "--break", "hang,crash,memory"]
    asked = ["--only", ",".join(PARTS), "--folder", str(mini.parent), "--out", str(folder / "out")]
    found = subprocess.run(
        [*command, *asked], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(folder)}, capture_output=True, text=True
    )
    return found.returncode, found.stdout + found.stderr, folder / "out"


@pytest.fixture(scope="module")
def states(rehearsed: tuple[int, str, Path]) -> dict[str, dict[str, Any]]:
    written = json.loads((rehearsed[2] / "results.json").read_text(encoding="utf-8"))
    return {one["name"]: one for one in written["parts"]}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="limits are looked up in /proc")
def test_it_passes_and_what_broke_is_told(rehearsed: tuple[int, str, Path], states: dict[str, dict[str, Any]]) -> None:
    status, said, _ = rehearsed
    assert status == 0, said
    assert {name: one["state"] for name, one in states.items()} == {
        "facts": "done",
        "correctness as it is": "right",
        "broken on purpose: hang": "over its time",
        "broken on purpose: crash": "died",
        "broken on purpose: memory": "over its memory",
        "mini equal": "right",
        "guard": "right",
        "files mini": "skipped",
        "the whole flow": "skipped",
    }
    assert "PyAV" in states["files mini"]["why"]
    assert "prefect" in states["the whole flow"]["why"] and "duckdb" in states["the whole flow"]["why"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="limits are looked up in /proc")
def test_the_results_are_few_small_and_name_no_folder(
    rehearsed: tuple[int, str, Path], states: dict[str, dict[str, Any]]
) -> None:
    out = rehearsed[2]
    names = {path.name: path.stat().st_size for path in out.iterdir()}
    assert set(names) == {"log.txt", "results.json", "table.md", "guard-trace.parquet"}
    assert len(names) <= MOST_FILES and sum(names.values()) < 1 << 20
    assert states["guard"]["found"]["pause"]["pauses"] >= 1
    words = states["correctness as it is"]["found"]
    assert words["float32"]["differing"] == [] and words["bfloat16"]["tokens"] > 0
    for name in ("log.txt", "results.json", "table.md"):
        assert str(out.parent) not in (out / name).read_text(encoding="utf-8")
