"""A PostgreSQL server of our own: its data in a folder of ours, on a loopback port, as a user without rights."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ON_POSTGRES = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
COUNTED = ("events", "event_resources", "flow_run", "task_run", "task_run_state", "log", "artifact", "deployment")
_START_S = 60.0


def programs() -> Path | None:
    """The folder of initdb and postgres; Debian keeps it out of PATH. None where PostgreSQL is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """The address for PREFECT_SERVER_DATABASE_CONNECTION_URL; server and data are gone afterwards."""
    binaries = programs()
    assert binaries is not None, "PostgreSQL is not installed (Debian: apt-get install postgresql)"
    user = "postgres" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="fleet-pg-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        if user:
            shutil.chown(home, user)
        data, port = home / "data", _free_port()
        made = [str(binaries / "initdb"), "-D", str(data), "-U", "prefect", "-A", "trust", "-E", "UTF8", "--locale=C"]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL, user=user, cwd=home)
        command = [str(binaries / "postgres"), "-D", str(data), "-h", "127.0.0.1", "-p", str(port), "-k", str(home)]
        with (home / "log").open("wb") as log:
            server = subprocess.Popen(
                [*command, "-c", "max_connections=200"], stdout=log, stderr=log, user=user, cwd=home
            )
        try:
            _await(port, server)
            yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/postgres"
        finally:
            server.send_signal(signal.SIGINT)  # "fast": nobody is waited for
            server.wait(30)


def rows_of(database: str) -> dict[str, int]:
    """What a Prefect server keeps there, in rows by table and in bytes."""
    return asyncio.run(_rows_of(database.replace("+asyncpg", "")))


async def _rows_of(database: str) -> dict[str, int]:
    import asyncpg  # type: ignore[import-untyped]

    connection = await asyncpg.connect(database)
    try:
        counts = {name: await connection.fetchval(f"SELECT count(*) FROM {name}") for name in COUNTED}
        return counts | {"bytes": await connection.fetchval("SELECT pg_database_size(current_database())")}
    finally:
        await connection.close()


def _await(port: int, server: subprocess.Popen[bytes]) -> None:
    end_s = time.monotonic() + _START_S
    while time.monotonic() < end_s and server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.2)
    raise AssertionError("PostgreSQL did not start")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
