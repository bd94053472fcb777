"""Runs the command line as a user does: a process of its own, a clean environment, an empty folder."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.flows.environment import clean

CHECKOUT = Path(__file__).resolve().parents[2]
CHECKPOINT = CHECKOUT / "tests" / "speech_model" / "checkpoint"


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def clean_environment(**more: str) -> dict[str, str]:
    return clean(**{"CHANNELSCRIBE_MODEL": str(CHECKPOINT), "HF_HUB_OFFLINE": "1", **more})


Cli = Callable[..., Finished]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """`cli("status", "--json", ODIN_API_KEY="...")` runs it in `tmp_path`."""

    def run(*arguments: str, **environment: str) -> Finished:
        done = subprocess.run(
            [sys.executable, "-m", "deployments.cli", *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=clean_environment(**environment),
            stdin=subprocess.DEVNULL,
            timeout=300,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    return run
