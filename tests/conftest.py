"""Spreads the tests over processes (`make test` runs `-n 3`): a file stays together, the slow rooms begin.

Whatever shares an expensive part of a session, a server with its worker or the one undisturbed run, is one group.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_HERE = Path(__file__).parent
# Longest first, so that no process is left alone with a slow file at the end.
_SLOW = (
    "deployments/worker",
    "browser",
    "flows",
    "deployments",
    "notebooks",
    "speech_model",
    "channelscribe/youtube",
    "benchmarks/gpu",
    "channelscribe/asr",
)
_TOGETHER = {
    "flows/test_whole_run.py": "whole run",
    "flows/test_again.py": "whole run",
    "flows/test_kill.py": "whole run",
    "flows/test_upkeep_page.py": "whole run",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", action="store_true", help="tests/browser renews the pictures in docs/screenshots")


@pytest.fixture(autouse=True)
def _environment_as_before() -> Iterator[None]:
    """Flows complete the network environment of their process; no other test sees that."""
    before = dict(os.environ)
    yield
    if os.environ != before:
        os.environ.clear()
        os.environ.update(before)


def _place(item: pytest.Item) -> str:
    path = item.path
    return path.relative_to(_HERE).as_posix() if path.is_relative_to(_HERE) else path.as_posix()


def _group(place: str) -> str:
    if place.startswith("deployments/worker/"):
        return "worker"
    if place.startswith("browser/"):
        return "browser"
    return _TOGETHER.get(place, place)


def _rank(place: str) -> int:
    return next((rank for rank, room in enumerate(_SLOW) if place.startswith(f"{room}/")), len(_SLOW))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _rank(_place(item)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A group goes to one process, as a whole.

    xdist's own groups are not used: 3.8 marks them in an attribute that pytest 9.2 does not read any more, and the
    groups then have no effect.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid.split("::", 1)[0].removeprefix("tests/"))

    return Groups(config, log)
