"""The guard on a real GPU, and the whole flow under Prefect where everything for it is there."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from benchmarks.gpu.guard_check import main as guard_main
from benchmarks.gpu.notes import Notes, Skip
from benchmarks.gpu.stage import Stage

ROOT = Path(__file__).resolve().parents[2]
TRACE = "guard-trace.parquet"
NEEDED = (
    *("prefect", "fastapi", "sqlalchemy", "yt_dlp", "googleapiclient", "av", "duckdb"),
    *("pydantic_settings", "silero_vad", "jiwer", "uniplot", "rich"),
)


def guard(stage: Stage, notes: Notes) -> None:
    """Every field that the driver answers, what a sample and the gate cost, a forced pause; its trace is kept."""
    os.environ.setdefault("XDG_CACHE_HOME", str(notes.folder / "cache"))
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        status = guard_main([*stage.guard, "--json", "--trace", str(notes.folder / TRACE)])
    if status:
        raise RuntimeError(f"the guard check ended with {status}: {said.getvalue()[-400:]}")
    found = json.loads(said.getvalue())
    notes.put(**found)
    pause = found["pause"]
    notes.judge(pause["pauses"] >= 1 and pause["steps_while_held"] == 0)


def flow(stage: Stage, notes: Notes) -> None:
    """`channelscribe demo`: server, worker, stand-ins and the shipped model, on this GPU. Raises Skip if it cannot."""
    absent = [name for name in NEEDED if find_spec(name) is None]
    notes.put(missing=absent)
    if absent:
        raise Skip(f"the flow needs {', '.join(absent)}, which this machine does not have")
    if not stage.on_gpu:
        raise Skip("everything that the flow needs is here; the gate runs it without a GPU as `channelscribe demo`")
    command = [sys.executable, "-m", "deployments.cli", "demo", "--json", "--data", str(notes.folder / "demo")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    notes.put(status=ended.returncode, said=ended.stdout[-4000:], errors=ended.stderr[-1000:])
    notes.judge(ended.returncode == 0)
