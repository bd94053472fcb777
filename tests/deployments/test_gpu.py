"""`channelscribe gpu` as a person meets it: live in a real terminal, in a pipe, as JSON, back in time, no card."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from rich.console import Console

from channelscribe.core.curve import NO_CEILINGS, Ceilings, moment
from channelscribe.core.gpu import Card, Decision, GpuSample, Load, Reading, Zone
from channelscribe.core.guard import GuardPolicy
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from deployments.gpu_view import View, draw
from tests.channelscribe.cards import BEGIN, a_reading, recorded
from tests.channelscribe.store.test_readings import a_run
from tests.deployments.conftest import CHECKOUT, Cli, clean_environment

RUN = "3f0f7f0e-0000-4000-8000-00000000000a"
LIMITS = Ceilings(75.0, 450.0, 22 << 30)


def printed(view: View, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(draw(view, width))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def watched(data: Path, seconds: int = 50) -> list[Reading]:
    readings = recorded("demo", seconds, RUN)
    with Archive(DataRoot.open(data)) as archive:
        archive.put_readings(readings)
        guard = GuardPolicy().model_dump(mode="json")
        archive.put_run(a_run(RUN, source="@Channel", audio_s=120.0, guard=guard))
    return readings


def test_without_a_card_one_sentence_and_exit_code_2(cli: Cli) -> None:
    for spec in ("auto", "off"):
        done = cli("gpu", CHANNELSCRIBE_GPU=spec)
        assert done.code == 2
        assert done.out == ""
        assert len(done.err.strip().splitlines()) == 1
        assert "no NVIDIA card" in done.err


def test_a_card_that_does_not_exist_is_named(cli: Cli) -> None:
    done = cli("gpu", "--json", CHANNELSCRIBE_GPU="sim:nowhere")
    assert done.code == 2
    assert done.json["error"]["code"] == "no_scenario"


def test_json_is_one_object_a_line(cli: Cli) -> None:
    done = cli("gpu", "--json", "--samples", "3", CHANNELSCRIBE_GPU="sim:demo")
    assert done.code == 0, done.err
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert len(lines) == 3
    assert lines[2]["at"] > lines[0]["at"]
    assert all(line["temp_c"] > 20 and line["decision"]["zone"] in set(Zone) for line in lines)
    held_to = {"temp_c": 75, "power_w": 450, "vram_budget_gib": 22, "collect_above_gib": 18}
    assert [line["ceilings"] for line in lines] == [held_to] * 3


def test_in_a_pipe_it_shows_once_and_ends(cli: Cli) -> None:
    done = cli("gpu", CHANNELSCRIBE_GPU="sim:demo")
    assert done.code == 0, done.err
    for word in ("temperature", "power", "memory", "at work", "Simulated card", "ceilings: 75 °C, 450 W, 22 GiB"):
        assert word in done.out
    assert "\x1b" not in done.out


@pytest.mark.skipif(os.name == "nt", reason="pseudo-terminals are POSIX")
def test_in_a_terminal_it_is_live_until_ctrl_c_and_leaves_the_screen_as_it_was(tmp_path: Path) -> None:
    import pty
    import signal

    child, terminal = pty.fork()
    if child == 0:
        os.chdir(tmp_path)
        environment = clean_environment(CHANNELSCRIBE_GPU="sim:demo", TERM="xterm-256color", COLUMNS="100", LINES="45")
        environment["PYTHONPATH"] = str(CHECKOUT)
        os.execve(sys.executable, [sys.executable, "-m", "deployments.cli", "gpu"], environment)
    shown, end_s = b"", time.monotonic() + 60
    try:
        while shown.count(b"temperature") < 4 and time.monotonic() < end_s:
            shown += os.read(terminal, 65536)
        os.kill(child, signal.SIGINT)
        while True:
            try:
                more = os.read(terminal, 65536)
            except OSError:  # the other side is gone
                break
            if not more:
                break
            shown += more
    finally:
        _, status = os.waitpid(child, 0)
        os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0
    assert shown.index(b"\x1b[?1049h") < shown.index(b"\x1b[?1049l"), "the other screen, and back"
    assert "⠤".encode() in shown or "⠒".encode() in shown, "a curve of braille dots"
    assert b"Traceback" not in shown


def test_what_a_run_on_the_card_does_is_shown_from_the_archive(cli: Cli, tmp_path: Path) -> None:
    from dataclasses import replace
    from datetime import UTC, datetime

    now = a_reading(0, RUN, at=datetime.now(UTC))
    held = replace(now, decision=Decision(Zone.PAUSE, reason="The temperature is 78 °C."), load=Load("encode", 5))
    data = tmp_path / "data"
    with Archive(DataRoot.open(data)) as archive:
        archive.put_run(a_run(RUN, state="Running"))
        archive.put_readings([held])
    done = cli("gpu", "--json", "--samples", "1", "--data", str(data), CHANNELSCRIBE_GPU="sim:cool")
    line = json.loads(done.out)
    assert (line["run_id"], line["stage"], line["decision"]["zone"]) == (RUN, "encode", "pause")


@pytest.mark.parametrize("how", [("--last",), ("--run", RUN)])
def test_looking_back_shows_curve_and_totals_and_writes_the_picture(cli: Cli, tmp_path: Path, how: tuple[str]) -> None:
    data, picture = tmp_path / "data", tmp_path / "card.svg"
    watched(data)
    done = cli("gpu", *how, "--picture", str(picture), "--data", str(data))
    assert done.code == 0, done.err
    assert "temperature, °C, highest" in done.out
    assert re.search(r"paused by the guard.*\d+ s in \d+ pause", done.out)
    words = " ".join(ET.fromstring(picture.read_text(encoding="utf-8")).itertext())
    assert "@Channel" in words
    assert "ceiling 75" in words


def test_looking_back_as_json(cli: Cli, tmp_path: Path) -> None:
    readings = watched(tmp_path / "data")
    said = cli("gpu", "--last", "--json", "--data", str(tmp_path / "data")).json
    assert said["run_id"] == RUN
    assert said["samples"] == len(readings)
    assert said["audio_s_per_joule"] == pytest.approx(120.0 / said["energy_j"])


def test_nothing_to_look_back_at_is_one_sentence(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for place, arguments in (("empty", ("--last",)), ("empty", ("--run", "x' OR 1=1 --")), ("nowhere", ("--last",))):
        done = cli("gpu", *arguments, "--data", str(tmp_path / place))
        assert (done.code, done.out) == (2, "")
        assert len(done.err.strip().splitlines()) == 1


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_card_that_says_nothing_can_be_shown(width: int) -> None:
    bare = Reading("", GpuSample("GPU-[b]", "A [red]card", BEGIN, 0.0), Load(), Decision(Zone.RUN))
    shown = printed(View(Card("GPU-[b]", "A [red]card"), bare, [], NO_CEILINGS, "nobody"), width)
    assert shown.count("not reported") >= 4
    assert "A [red]card" in shown
    assert all(len(line) <= width for line in shown.splitlines())


def test_a_lost_card_is_said_to_be_lost() -> None:
    lost = Reading("", GpuSample("GPU-b", "Card", BEGIN, 0.0, lost=True), Load(), Decision(Zone.STOP))
    assert "THE CARD IS LOST" in printed(View(Card("GPU-b", "Card"), lost, [moment(lost)], LIMITS, ""), 80)


def test_reasons_of_the_clock_are_words() -> None:
    hot = a_reading(0, throttle_mask=0x44, sm_clock_mhz=1200.0, sm_clock_max_mhz=2500.0)
    shown = printed(View(Card("GPU-a", "Card"), hot, [moment(hot)], LIMITS, ""), 140)
    assert "throttled: power cap, thermal (hardware)" in shown
    assert "häßlich" in shown
