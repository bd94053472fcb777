"""Nothing outlives us: not a child, not its children, however the parent ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from channelscribe.core.errors import EnvironmentFailure
from deployments.children import last_line, start_child

# Starts a grandchild, says both pids, and waits.
TREE = (
    "import os, subprocess, sys, time;"
    "g = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "open(sys.argv[1] + '.tmp', 'w').write(f'{os.getpid()} {g.pid}'); os.rename(sys.argv[1] + '.tmp', sys.argv[1]);"
    "time.sleep(600)"
)
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + TREE


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.05)


def runs(pid: int) -> bool:
    """A zombie that nobody has reaped yet does not run."""
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    stat = Path("/proc", str(pid), "stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def pids(file: Path) -> list[int]:
    until(file.exists)
    return [int(pid) for pid in file.read_text().split()]


def test_stop_ends_the_whole_tree(tmp_path: Path) -> None:
    said = tmp_path / "pids"
    child = start_child("tree", [sys.executable, "-c", TREE, str(said)], tmp_path / "logs" / "x.log", {}, tmp_path)
    tree = pids(said)
    assert child.alive and all(runs(pid) for pid in tree)
    child.stop()
    assert child.process.poll() is not None
    until(lambda: not any(runs(pid) for pid in tree))
    child.stop()


@pytest.mark.skipif(os.name == "nt", reason="kill -9 is POSIX")
def test_kill_9_of_the_parent_ends_the_tree(tmp_path: Path) -> None:
    said = tmp_path / "pids"
    program = (
        "import sys, time; from pathlib import Path; from deployments.children import start_child;"
        "start_child('tree', [sys.executable, '-c', sys.argv[1], sys.argv[2]], Path('x.log'), {}, Path('.'));"
        "time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, TREE, str(said)], cwd=tmp_path)
    tree = pids(said)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    until(lambda: not any(runs(pid) for pid in tree))


def test_a_child_that_died_is_named_with_its_last_words_and_log(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    program = "import sys; print('first'); sys.exit('port already taken')"
    child = start_child("worker", [sys.executable, "-c", program], log, {}, tmp_path)
    child.process.wait()
    with pytest.raises(EnvironmentFailure) as told:
        child.check()
    for part in ("worker", "port already taken", str(log), "exit code 1"):
        assert part in told.value.reason
    child.stop()


def test_environment_reaches_the_child(tmp_path: Path) -> None:
    program = "import os; print(os.environ['CHANNELSCRIBE_PROBE'], os.getcwd())"
    child = start_child(
        "x", [sys.executable, "-c", program], tmp_path / "x.log", {"CHANNELSCRIBE_PROBE": "ä"}, tmp_path
    )
    assert child.process.wait(60) == 0
    assert str(tmp_path.resolve()) in last_line(tmp_path / "x.log")


@pytest.mark.parametrize(
    ("content", "line"), [(b"", "no output"), (b"a\n\n---\n", "a"), (b"\xff\xfe x\n", "\ufffd\ufffd x")]
)
def test_last_line_of_any_log(tmp_path: Path, content: bytes, line: str) -> None:
    (tmp_path / "log").write_bytes(content)
    assert last_line(tmp_path / "log") == line


def test_last_line_of_no_log(tmp_path: Path) -> None:
    assert last_line(tmp_path / "none") == "no output"
