"""What every command shares: where the data are, where messages go, and the environment made complete.

Made by `cli` from the common options before a command starts.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from channelscribe.core.redact import redact
from channelscribe.core.settings import Settings, complete_network_environment
from deployments.place import absolute_data

_PIPE_WIDTH = 160


@dataclass(frozen=True)
class Session:
    """`messages` is standard error, so that standard output holds only results."""

    data: str
    as_json: bool = False
    messages: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))
    results: Console = field(default_factory=lambda: results_console())

    @property
    def shown_data(self) -> str:
        return redact(self.data)

    def say(self, text: str) -> None:
        self.messages.print(redact(text), markup=False, soft_wrap=True)

    def emit(self, value: dict[str, Any]) -> None:
        """The one JSON object of a command with --json."""
        sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n")
        sys.stdout.flush()


def results_console() -> Console:
    """A file or a pipe has no width; there, tables take what sentences need."""
    return Console(highlight=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPE_WIDTH)


def open_session(data: str | None, as_json: bool = False) -> Session:
    """Settles the data root (option, CHANNELSCRIBE_DATA, .env, "data") for this process and its children."""
    complete_network_environment()
    chosen = absolute_data(data or Settings().data)
    os.environ["CHANNELSCRIBE_DATA"] = chosen
    return Session(chosen, as_json)
