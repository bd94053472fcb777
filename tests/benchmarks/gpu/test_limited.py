"""A command under limits: however it ends, that is told, and nothing of it is left."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from benchmarks.gpu.limited import DIED, ENDED, FAILED, OVER_MEMORY, OVER_TIME, Ended, Limits, run_limited
from tests.benchmarks.gpu.processes import alive

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="limits are looked up in /proc")
ROOM = Limits(60.0, 1 << 30)
# A process of its own session that holds the standard output of the one that starts it.
LEAVE = """
import subprocess, sys
left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session={own})
print(left.pid, flush=True)
"""


def run(code: str, limits: Limits = ROOM) -> Ended:
    return run_limited([sys.executable, "-c", code], limits, os.environ, Path.cwd())


@pytest.mark.parametrize(
    ("code", "how", "why"),
    [
        ("print('said')", ENDED, ""),
        ("raise SystemExit(7)", FAILED, "exit status 7"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", DIED, "killed by SIGKILL"),
        ("import os; os.abort()", DIED, "killed by SIGABRT"),
        ("import os, signal; os.kill(os.getpid(), 40)", DIED, "killed by 40"),
    ],
)
def test_how_it_ended_is_told(code: str, how: str, why: str) -> None:
    found = run(code)
    assert (found.how, found.why) == (how, why)


def test_one_that_ignores_signals_is_stopped_with_all_that_it_started() -> None:
    ignoring = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    found = run(f"{ignoring}{LEAVE.format(own=False)}\ntime.sleep(60)", Limits(1.5, 1 << 30))
    assert found.how == OVER_TIME
    assert not alive(int(found.said))


def test_one_that_takes_too_much_memory_is_stopped() -> None:
    taking = "import time; held = []\nwhile True: held.append(bytearray(b'x') * (4 << 20)); time.sleep(0.01)"
    found = run(taking, Limits(60.0, 96 << 20))
    assert found.how == OVER_MEMORY
    assert "of 96 MiB" in found.why


@pytest.mark.parametrize("own", [False, True])
def test_what_it_leaves_behind_is_ended(own: bool) -> None:
    begun_s = time.monotonic()
    found = run(LEAVE.format(own=own))
    assert found.how == ENDED
    assert not alive(int(found.said))
    assert time.monotonic() - begun_s < 300  # it would sleep for ten minutes, and hold the pipe so long


def test_nothing_else_is_touched() -> None:
    import subprocess

    beside = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        run(LEAVE.format(own=True))
        assert beside.poll() is None
    finally:
        beside.kill()
        beside.wait()


def test_of_much_output_the_end_is_kept() -> None:
    found = run("print('x' * (1 << 20)); print('the end')")
    assert found.said.endswith("the end") and len(found.said) <= 4096


def test_what_cannot_be_started_raises() -> None:
    with pytest.raises(OSError):
        run_limited(["/no/such/program"], ROOM, os.environ, Path.cwd())
