"""A flow for `test_in_hand`: it says that it has begun and ends when it is told to."""

from __future__ import annotations

import time
from pathlib import Path
from uuid import uuid4

from prefect import flow


@flow
def waiting(folder: str) -> None:
    """Leaves a file for every beginning; ends as soon as there is a file `go`."""
    (Path(folder) / f"begun-{uuid4().hex}").touch()
    while not (Path(folder) / "go").exists():
        time.sleep(0.1)
