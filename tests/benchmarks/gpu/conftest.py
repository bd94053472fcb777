"""A rehearsal's stage around the session's small checkpoint, and notes that a part can write."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.notes import Notes
from benchmarks.gpu.stage import Stage, rehearsal


@pytest.fixture
def stage(mini: Path) -> Stage:
    return replace(rehearsal(str(mini.parent)), times=1)


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path / "result.json")


def written(notes: Notes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(notes.path.read_text(encoding="utf-8"))
    return found
