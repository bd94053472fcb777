"""One small shard of speech for the tests of this folder, spoken once."""

from __future__ import annotations

import ctypes.util
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.speech_model import clips
from tests.speech_model.clips import Recipe, Shard

SMALL = Recipe(seed=5, count=24, german=0.4)


@pytest.fixture(scope="session")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Shard:
    return clips.load(SMALL, 0, spoken_folder(tmp_path_factory))


def spoken_folder(factory: pytest.TempPathFactory) -> Path:
    if ctypes.util.find_library("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed: apt-get install espeak-ng")
    return factory.mktemp("clips")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
