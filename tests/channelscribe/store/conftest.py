"""Data roots to test on: a folder with a name that is hard on patterns and quotes, and an object store in memory."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot


@pytest.fixture(params=["folder", "memory"])
def root_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "folder":
        yield str(tmp_path / "it's [a] 100%* ünïcode?")
        return
    name = f"bucket-{uuid.uuid4().hex}"
    yield f"memory://{name}/deep"
    fsspec.filesystem("memory").rm(f"/{name}", recursive=True)


@pytest.fixture
def root(root_url: str) -> DataRoot:
    return DataRoot.open(root_url)


@pytest.fixture
def archive(root: DataRoot) -> Iterator[Archive]:
    with Archive(root) as opened:
        yield opened


@pytest.fixture
def local_archive(tmp_path: Path) -> Iterator[Archive]:
    with Archive(DataRoot.open(tmp_path / "data")) as opened:
        yield opened
