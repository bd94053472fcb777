"""`python -m tests.emulators`: one line of JSON, a control endpoint, a clean end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

ROOT = Path(__file__).parents[2]


@contextmanager
def serving(temporary: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    temporary.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "tests.emulators", *arguments]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes)
    try:
        assert process.stdout
        line = process.stdout.readline()
        yield process, json.loads(line) if line else {}
    finally:
        process.kill()
        process.communicate(timeout=30)


def finished(process: subprocess.Popen[str], temporary: Path) -> tuple[int, str, str, list[str]]:
    output, errors = process.communicate(timeout=30)
    return process.returncode, output, errors, [p.name for p in temporary.iterdir()]


@pytest.mark.parametrize("ending", ["stdin", "sigterm", "sigint"])
def test_it_ends_cleanly_and_leaves_nothing(tmp_path: Path, ending: str) -> None:
    temporary = tmp_path / "tmp"
    with serving(temporary, "--world", "tiny") as (process, line):
        assert set(line) == {"environment", "sources", "truth", "control", "pid"}
        assert Path(line["truth"]).exists()
        if ending != "stdin":
            process.send_signal(signal.SIGTERM if ending == "sigterm" else signal.SIGINT)
        assert finished(process, temporary) == (0, "", "", [])


def test_another_process_can_look_and_order(tmp_path: Path) -> None:
    with serving(tmp_path / "tmp", "--world", "demo", "--state", str(tmp_path / "state")) as (_, line):
        url, environment = line["control"], line["environment"]
        assert environment["ODIN_BASE_URL"].startswith("http://127.0.0.1:")
        truth = json.loads((tmp_path / "state" / "truth.json").read_text())
        expected = [v["expected"] for v in truth.values()]
        counts = {word: expected.count(word) for word in set(expected)}
        assert counts == {"ok": 8, "short": 1, "private": 1, "silent": 1, "live": 1}
        private = next(i for i, v in truth.items() if v["expected"] == "private")

        def order(path: str, /, **body: Any) -> requests.Response:
            return requests.post(url + path, json=body, timeout=20)

        assert order("/youtube/world", video_id=private, availability="ok").json()["expected"] == "ok"
        assert json.loads(Path(line["truth"]).read_text())[private]["expected"] == "ok"
        new = {"title": "Brand new", "duration_s": 5.0, "published": "2026-11-21T08:00:00+00:00"}
        added = order("/youtube/world", **new).json()["video_id"]
        assert requests.get(url + "/truth", timeout=20).json()[added]["title"] == "Brand new"
        assert order("/youtube/faults", video_id=added, do="status", status=403).json()["rules"][0]["status"] == 403
        assert order("/youtube/faults", clear=True).json()["rules"] == []
        assert order("/youtube/switches", bot_wall=True).status_code == 200
        assert order("/odin/faults", status=503, path="/project").status_code == 200
        state = requests.get(url + "/state", timeout=20).json()
        assert state["videos"][private]["expected"] == "ok"
        assert state["youtube"]["requests"] == 0
        assert state["odin"]["documents"] == {}


def test_nonsense_orders_are_refused_and_nothing_breaks(tmp_path: Path) -> None:
    with serving(tmp_path / "tmp", "--world", "tiny") as (_, line):
        url = line["control"]
        for path in ("/youtube/faults", "/youtube/world", "/odin/faults", "/youtube/switches"):
            for body in (b"", b"[]", b"{", b'{"video_id": "nobody", "do": 1}', b'{"what": 1}', b"\xff"):
                assert requests.post(url + path, data=body, timeout=20).status_code == 400, (path, body)
        assert requests.post(url + "/nowhere", data=b"{}", timeout=20).status_code == 404
        assert requests.get(url + "/nowhere", timeout=20).status_code == 404
        assert requests.get(url + "/state", timeout=20).status_code == 200


def test_an_unknown_world_is_refused_in_words(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.emulators", "--world", "atlantis"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "atlantis" in done.stderr
    assert done.stdout == ""
