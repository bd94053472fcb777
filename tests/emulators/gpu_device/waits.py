"""The waits of the host for the device, each with the line of the product that caused it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

_OURS = __name__.rpartition(".")[0]


class HostWait(NamedTuple):
    """`where` is "file:line" in `channelscribe`, or of whoever called when nothing of it is under way."""

    what: str
    where: str


def host_wait(what: str) -> HostWait:
    frame, caller = sys._getframe(1), ""
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith("channelscribe."):
            return HostWait(what, f"{module.replace('.', '/')}.py:{frame.f_lineno}")
        if not caller and not module.startswith(("torch", _OURS, "contextlib")):
            caller = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return HostWait(what, caller)
