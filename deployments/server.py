"""Prefect's server through Prefect's own command line, without its stalls on SQLite.

`stack` starts it: `python -m deployments.server start ...`. A statement of SQLite that is thrown away waits for its
connection, and the connection for whoever writes. Python's garbage collector throws statements away in whichever
thread it happens to run; in that of the server's event loop, while one of its own transactions holds the write lock and
another connection waits for it, the whole server stands still until the wait is given up after 60 seconds (Prefect
3.8.8, SQLAlchemy 2.0, aiosqlite 0.22). Collected in a thread of its own, the same wait costs that thread alone.
"""

from __future__ import annotations

import gc
import sys
import threading
import time

EVERY_S = 1.0
ALL_EVERY = 60
"""Every so many collections the oldest generation too: 0.2 s in a server that has just started."""


def collect_elsewhere(every_s: float = EVERY_S) -> threading.Thread:
    """Garbage of this process is collected in a thread of its own from now on, and in no other."""

    def collect() -> None:
        count = 0
        while True:
            time.sleep(every_s)
            count += 1
            gc.collect(2 if count % ALL_EVERY == 0 else 1)

    gc.disable()
    thread = threading.Thread(target=collect, name="garbage collector", daemon=True)
    thread.start()
    return thread


if __name__ == "__main__":
    from prefect.cli import app

    collect_elsewhere()
    sys.argv.insert(1, "server")
    app()
