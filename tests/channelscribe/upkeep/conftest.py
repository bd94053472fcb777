"""Data roots to keep up: a folder and an object store in memory, and places for backups on either."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from channelscribe.store.root import DataRoot

MakeRoot = Callable[[], DataRoot]


@pytest.fixture(params=["folder", "memory"])
def make_root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeRoot]:
    made: list[str] = []

    def make() -> DataRoot:
        name = uuid.uuid4().hex
        if request.param == "folder":
            return DataRoot.open(tmp_path / f"it's [a] 100%* ünïcode? {name}")
        made.append(f"bucket-{name}")
        return DataRoot.open(f"memory://bucket-{name}/deep")

    yield make
    for name in made:
        memory = fsspec.filesystem("memory")
        if memory.exists(f"/{name}"):
            memory.rm(f"/{name}", recursive=True)


@pytest.fixture
def folder(tmp_path: Path) -> DataRoot:
    return DataRoot.open(tmp_path / "data")
