"""One small clocked checkpoint for the session."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.clocked import checkpoint


@pytest.fixture(scope="session")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint("mini", tmp_path_factory.mktemp("clocked"))
