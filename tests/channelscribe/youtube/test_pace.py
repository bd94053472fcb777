"""Several processes of one machine keep one pace towards YouTube, whatever becomes of any of them."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from channelscribe.core.errors import Throttled
from channelscribe.youtube.config import YouTubeConfig
from channelscribe.youtube.lane import Lane
from channelscribe.youtube.pace import SharedPace, pace_file

RESERVE = """
import sys
from pathlib import Path
from channelscribe.youtube.pace import SharedPace
print(SharedPace(Path(sys.argv[1])).reserve(1000.0))
"""


class Clock:
    """Time that passes by sleeping only."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def now(self) -> datetime:
        return datetime(2026, 11, 21, tzinfo=UTC) + timedelta(seconds=self.at_s)

    def monotonic(self) -> float:
        return self.at_s

    def sleep(self, seconds: float) -> None:
        self.at_s += seconds


def test_of_many_processes_one_may_begin_and_the_others_wait_for_their_turn(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RESERVE, str(tmp_path / "pace.json")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    waits = sorted(float(process.communicate(timeout=60)[0]) for process in running)
    assert waits[0] == 0.0
    assert all(900 < wait_s <= 1000 for wait_s in waits[1:])


def test_a_pause_of_one_is_a_pause_of_all(tmp_path: Path) -> None:
    clock, file = Clock(), tmp_path / "pace.json"
    here, there = (Lane(YouTubeConfig(spacing_s=0, pause_s=100), clock, pace=SharedPace(file, clock)) for _ in range(2))
    here.pause(reason="slow down")
    with there.enter():
        assert clock.at_s >= 100
    with here.enter():
        pass


def test_the_lane_itself_still_closes_when_pauses_do_not_help(tmp_path: Path) -> None:
    clock = Clock()
    config = YouTubeConfig(spacing_s=0, pause_s=10, max_pauses=1)
    lane = Lane(config, clock, pace=SharedPace(tmp_path / "pace.json", clock))
    lane.pause()
    with lane.enter():
        pass
    with pytest.raises(Throttled):
        lane.pause()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"next_start": "x"}', '{"next_start": 1e300}', "\x00" * 99]
)
def test_a_torn_or_foreign_file_stops_nobody(tmp_path: Path, content: str) -> None:
    file = tmp_path / "pace.json"
    file.write_text(content)
    pace = SharedPace(file, Clock())
    assert pace.reserve(5.0) == 0.0
    assert pace.reserve(5.0) == pytest.approx(5.0)


def test_a_place_that_cannot_be_written_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    pace = SharedPace(tmp_path / "file" / "below" / "pace.json", Clock())
    assert [pace.reserve(5.0), pace.reserve(5.0)] == [0.0, 0.0]
    pace.pause(5.0)
    assert len(caplog.records) == 1


def test_different_proxies_are_different_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://a:secret@host:1")
    first = pace_file()
    monkeypatch.setenv("HTTPS_PROXY", "http://b:secret@host:1")
    assert pace_file() != first
    assert "secret" not in str(first)
