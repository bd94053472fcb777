"""A disk that fills up while a run works: one sentence that names it, and with space the same command completes."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.channels import films
from tests.flows.conftest import MakeStation
from tests.flows.tables import table

pytestmark = [pytest.mark.prefect, pytest.mark.slow]

SMALL_BYTES = 12 << 20


def mount(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["mount", *arguments], capture_output=True, text=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if not sys.platform.startswith("linux") or not shutil.which("mount"):
        pytest.skip("a small disk is mounted as a tmpfs, which Linux has")
    disk = tmp_path / "disk"
    disk.mkdir()
    done = mount("-t", "tmpfs", "-o", f"size={SMALL_BYTES}", "tmpfs", str(disk))
    if done.returncode:
        pytest.skip(f"this user may not mount a tmpfs: {done.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path) -> None:
    """To the last byte, as another program would."""
    with contextlib.suppress(OSError), (disk / "filler").open("ab", buffering=0) as filler:
        while filler.write(b"\0" * 4096):
            pass


def test_a_disk_that_fills_up_is_one_sentence_and_space_is_all_it_takes(
    make_station: MakeStation, small_disk: Path
) -> None:
    station = make_station(films(3))
    station.data = small_disk / "data"
    slow = station.named("Film 0")
    station.youtube.faults.media(slow, "slow", bytes_per_s=40_000)
    running = station.start()
    work = station.data / ".work" / slow
    running.until(lambda: any(p.stat().st_size > 0 for p in work.rglob("*.part")))
    fill(small_disk)
    stopped = running.wait()
    assert stopped.code == 2, stopped.err
    assert "disk" in stopped.sentence or "space" in stopped.sentence
    assert str(station.data) in stopped.sentence
    assert stopped.json["error"]["class"] == "environment"

    still = station.sync()
    assert still.code == 2, still.err
    assert str(station.data) in still.sentence

    assert mount("-o", f"remount,size={8 * SMALL_BYTES}", str(small_disk)).returncode == 0
    done = station.sync()
    assert done.code == 0, done.err
    assert done.json["failed"] == 0
    assert len(set(table(station.data, "transcripts")["video_id"])) == 3
    assert set(station.odin.base.stored.values()) == {1} and len(station.odin.documents) == 3
