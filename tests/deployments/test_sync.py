"""`channelscribe sync` as a user runs it, against another process's YouTube and ODIN: done, done again, interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from deployments.standins import StandIns, open_stand_ins
from tests.deployments.conftest import Cli, clean_environment
from tests.deployments.test_children import runs, until

pytestmark = [pytest.mark.prefect, pytest.mark.slow]


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[StandIns]:
    with open_stand_ins(tmp_path / "stand-ins", world="tiny") as stand_ins:
        yield stand_ins


def settings(stand_ins: StandIns) -> dict[str, str]:
    return stand_ins.environment | {"CHANNELSCRIBE_WINDOW_S": "8"}


def test_sync_then_status_then_nothing_left_to_do(cli: Cli, tiny: StandIns, tmp_path: Path) -> None:
    first = cli("sync", tiny.channel, "--json", **settings(tiny))
    assert first.code == 0, first.err
    assert (first.json["videos"], first.json["done"], first.json["failed"]) == (3, 3, 0)
    assert first.json["documents"] == 3
    assert first.json["words"] > 0
    assert first.json["run_url"] in first.err
    assert len(list((tmp_path / "data" / "archive").glob("*/*.txt"))) == 3

    status = cli("status", "--json")
    assert {v["state"] for v in status.json["videos"]} == {"done"}

    second = cli("sync", tiny.channel, "--json", **settings(tiny))
    assert (second.code, second.json["done"], second.json["skipped"], second.json["words"]) == (0, 0, 3, 0)
    assert not (Path.home() / ".prefect" / "server.json").exists()


def test_some_failed_is_exit_code_1_unless_tolerated(cli: Cli, tmp_path: Path) -> None:
    with open_stand_ins(tmp_path / "stand-ins", world="demo") as stand_ins:
        private = next(e for e in _ids(stand_ins, "private"))
        short = next(e for e in _ids(stand_ins, "short"))
        both = f"{private},{short}"
        failed = cli("sync", both, "--json", "--no-upload", **settings(stand_ins))
        assert (failed.code, failed.json["done"], failed.json["failed"]) == (1, 1, 1), failed.err
        assert [v["video_id"] for v in failed.json["not_done"]] == [private]
        again = ("sync", both, "--no-upload", "--retry-parked")
        tolerated = cli(*again, "--tolerate-failures", **settings(stand_ins))
        assert tolerated.code == 0, tolerated.err
        assert "Not done, and why" in tolerated.out


def _ids(stand_ins: StandIns, kind: str) -> list[str]:
    from deployments.score import read_truth

    return [e.video_id for e in read_truth(stand_ins.truth) if e.expected == kind]


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX here")
def test_ctrl_c_is_130_leaves_nothing_running_and_loses_nothing(cli: Cli, tiny: StandIns, tmp_path: Path) -> None:
    messages = tmp_path / "messages.txt"
    with messages.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "deployments.cli", "sync", tiny.channel],
            cwd=tmp_path,
            env=clean_environment(**settings(tiny)),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    archive = tmp_path / "data" / "archive"
    until(lambda: any(archive.glob("*/*.json")) or process.poll() is not None, 180)
    assert process.poll() is None, messages.read_text()
    tree = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130, messages.read_text()
    until(lambda: not any(runs(pid) for pid in tree))
    assert "Interrupted; run the same command again" in messages.read_text()
    assert "Traceback" not in messages.read_text()

    resumed = cli("sync", tiny.channel, "--json", **settings(tiny))
    assert resumed.code == 0, resumed.err
    assert (resumed.json["videos"], resumed.json["failed"]) == (3, 0)
    status = cli("status", "--json")
    assert [v["state"] for v in status.json["videos"]] == ["done"] * 3
    assert status.json["totals"]["documents"] == 3
