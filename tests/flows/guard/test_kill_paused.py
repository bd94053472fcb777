"""kill -9 while the card is held and some windows are finished: the next run decodes the others and no more."""

from __future__ import annotations

import dataclasses
import os
import socket
import urllib.request
from pathlib import Path

import pytest

from channelscribe.store.root import DataRoot
from channelscribe.store.windows import FOLDER, WindowFiles
from tests.flows.conftest import MakeStation
from tests.flows.guard.conftest import Reference
from tests.flows.guard.hotroom import COOL_C, COOLING, HOT_C, Watcher, hot, watch, world
from tests.flows.station import Station
from tests.flows.tables import table

pytestmark = [
    pytest.mark.prefect,
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.skipif(os.name == "nt", reason="signals are POSIX here"),
]
MARK = " (kept)"
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def test_finished_windows_outlive_a_kill_while_paused(
    make_station: MakeStation, tmp_path: Path, unguarded: Reference
) -> None:
    plant, station, port = hot(tmp_path / "plant.json"), make_station(world()), free_port()
    station.settings |= plant.settings(CHANNELSCRIBE_GUARD_OVERRIDE_S="0.5", CHANNELSCRIBE_METRICS_PORT=str(port))
    seen = watch(station, station.start())
    seen.until_cooling()
    while not kept(station):
        work_a_little(seen)
    assert_scraped(port, seen)
    seen.running.kill()

    assert table(station.data, "transcripts").empty
    marked = mark(station)
    plant.turn(forced_temp_c=COOL_C, start_temp_c=COOL_C)
    ended = station.sync()
    assert ended.code == 0, ended.err
    texts = table(station.data, "transcripts")
    assert texts["text"].str.endswith(MARK).sum() == marked, "a finished window was decoded again"
    bare = texts.assign(text=texts["text"].str.removesuffix(MARK))
    wanted = unguarded.contents["transcripts"]
    assert bare["text"].tolist() == wanted["text"].tolist()
    assert marked < len(wanted), "some windows were left to decode"
    assert station.media_requests() == dict.fromkeys(station.world.videos, 1)
    assert not kept(station), "windows of finished transcripts are forgotten"


def work_a_little(seen: Watcher) -> None:
    """Resume by hand, and the next pause. A busy server may take it and say 503; asked again it then says no."""
    pauses = lambda: [s["name"] for s in seen.states()].count(COOLING)  # noqa: E731
    seen.until_cooling()
    before = pauses()
    seen.server.ask(f"/flow_runs/{seen.run_id}/resume", {})
    seen.until(lambda _: pauses() > before, "the next pause")


def kept(station: Station) -> list[str]:
    """Fingerprints of which a window with speech is kept."""
    files = WindowFiles(DataRoot.open(station.data))
    names = [path.name for path in (station.data / FOLDER).glob("*")]
    return [name for name in names if any(text.segments for text in files.kept(name).texts)]


def mark(station: Station) -> int:
    """Puts a mark behind each kept text, as only reading it back can bring that into a transcript; says how many."""
    files, marked = WindowFiles(DataRoot.open(station.data)), 0
    for name in kept(station):
        had = files.kept(name)
        assert had.language is not None
        for text in had.texts:
            segments = tuple(dataclasses.replace(s, text=s.text + MARK) for s in text.segments)
            files.keep(name, had.language, dataclasses.replace(text, segments=segments))
            marked += len(segments)
    return marked


def assert_scraped(port: int, seen: Watcher) -> None:
    """The endpoint of the run, as Prometheus meets it, tells of the card that is held."""
    with _direct.open(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        said = answer.read().decode()
    assert seen.state()["name"] == COOLING
    values = {line.split("{")[0]: float(line.rsplit(" ", 1)[1]) for line in said.splitlines() if "{" in line}
    assert values["channelscribe_gpu_temperature_celsius"] == HOT_C


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
