"""A statement that the garbage collector throws away may not hold the thread of the event loop."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.deployments.conftest import CHECKOUT

BUSY_S = 3.0
# One connection waits for the lock that this thread's transaction holds, as the server's do; a statement of the waiting
# one is garbage. Prints for how long this thread stood still while it made objects.
SCRIPT = f"""
import gc, sqlite3, sys, threading, time, weakref
if sys.argv[2] == "elsewhere":
    from deployments import server
    server.ALL_EVERY = 1
    server.collect_elsewhere(0.2)
writer = sqlite3.connect(sys.argv[1], isolation_level=None)
writer.execute("PRAGMA journal_mode = WAL")
writer.execute("CREATE TABLE number (value)")
waiting = sqlite3.connect(sys.argv[1], isolation_level=None, check_same_thread=False)
waiting.execute("PRAGMA busy_timeout = {BUSY_S * 1000:.0f}")
class Garbage: pass
garbage = Garbage()
garbage.itself, garbage.cursor = garbage, waiting.execute("SELECT 1 UNION SELECT 2")
garbage.cursor.fetchone()
writer.execute("BEGIN IMMEDIATE")
def wait():
    try:
        waiting.execute("INSERT INTO number VALUES (1)")
    except sqlite3.OperationalError:
        pass
waits = threading.Thread(target=wait)
waits.start()
time.sleep(0.5)
gone = weakref.ref(garbage)
del garbage
stood_s, end_s, made = 0.0, time.monotonic() + {BUSY_S}, []
while time.monotonic() < end_s:
    begun_s = time.monotonic()
    made = [[] for _ in range(1000)] + [made[:1]]
    stood_s = max(stood_s, time.monotonic() - begun_s)
writer.execute("ROLLBACK")
waits.join()
assert gone() is None, "nobody collected it"
print(stood_s)
"""


@pytest.mark.parametrize(("collected", "stands_still"), [("here", True), ("elsewhere", False)])
def test_the_thread_that_holds_the_lock_does_not_wait_for_itself(
    tmp_path: Path, collected: str, stands_still: bool
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "numbers.db"), collected],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=CHECKOUT,
    )
    assert done.returncode == 0, done.stderr
    assert (float(done.stdout) > BUSY_S / 2) is stands_still


def test_garbage_is_still_collected() -> None:
    script = """
import gc, time, weakref
from deployments.server import collect_elsewhere
collect_elsewhere(0.05)
class Garbage: pass
garbage = Garbage()
garbage.itself, gone = garbage, weakref.ref(garbage)
del garbage
assert gone() is not None and not gc.isenabled()
end_s = time.monotonic() + 30
while gone() is not None and time.monotonic() < end_s:
    time.sleep(0.05)
assert gone() is None
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, cwd=CHECKOUT)
    assert done.returncode == 0, done.stderr
