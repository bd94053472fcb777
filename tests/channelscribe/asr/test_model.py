"""Which model is meant, and the sentence for every way in which it can be missing or broken."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from channelscribe.asr.loading import load_whisper
from channelscribe.asr.model import resolve_model
from channelscribe.asr.registry import expected_fingerprint
from channelscribe.core.errors import EnvironmentFailure
from channelscribe.core.profile import TranscriptionProfile
from tests.channelscribe.asr.models import CPU, SHIPPED


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(SHIPPED, tmp_path / "model")
    return tmp_path / "model"


def profile(folder: Path | str) -> TranscriptionProfile:
    return TranscriptionProfile(model=str(folder))


def test_the_revision_is_the_content_wherever_the_folder_lies(copy: Path) -> None:
    here, there = resolve_model(profile(copy)), resolve_model(profile(SHIPPED))
    assert here.revision == there.revision
    assert len(here.revision) == 64
    assert (here.name, here.folder) == ("model", copy.resolve())
    (copy / "README.md").write_text("notes do not change what a model hears")
    assert resolve_model(profile(copy)).revision == here.revision


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "generation_config.json", "tokenizer.json"])
def test_every_file_that_counts_is_in_the_revision(copy: Path, name: str) -> None:
    before = resolve_model(profile(copy)).revision
    data = bytearray((copy / name).read_bytes())
    if name.endswith(".json"):
        data += b"\n"
    else:
        data[-1] ^= 1
    (copy / name).write_bytes(data)
    os.utime(copy / name, ns=(1, 1))
    assert resolve_model(profile(copy)).revision != before
    assert expected_fingerprint(profile(copy), "0" * 64) != expected_fingerprint(profile(SHIPPED), "0" * 64)


def _edit(name: str, **changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        config = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**config, **changes}))

    return edit


def _cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def _write(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(data) and None


def _remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (_remove("config.json"), "config.json"),
        (_remove("tokenizer.json"), "tokenizer"),
        (_remove("model.safetensors"), "weights"),
        (_cut, "cut short"),
        (_write("model.safetensors", b""), "damaged"),
        (_write("model.safetensors", b"\xff" * 500), "damaged"),
        (_write("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n"), "damaged"),
        (_write("config.json", b"{"), "config.json"),
        (_write("config.json", b"[]"), "config.json"),
        (_edit("config.json", model_type="bert"), "bert"),
        (_write("generation_config.json", b"{]"), "generation_config.json"),
        (_write("tokenizer.json", b"\xff\xfe"), "tokenizer.json"),
    ],
)
def test_a_broken_folder_is_told_before_any_work(copy: Path, damage: Callable[[Path], None], word: str) -> None:
    damage(copy)
    with pytest.raises(EnvironmentFailure) as caught:
        resolve_model(profile(copy))
    assert word in caught.value.reason
    assert "CHANNELSCRIBE_MODEL" in caught.value.reason


@pytest.mark.parametrize(
    "damage",
    [
        _edit("config.json", d_model=80, encoder_attention_heads=4, decoder_attention_heads=4),
        _edit("config.json", encoder_layers=9),
        _edit("config.json", num_mel_bins=128),
        _write("tokenizer.json", b"{}"),
    ],
)
def test_what_only_shows_when_loading_is_told_too(copy: Path, damage: Callable[[Path], None]) -> None:
    damage(copy)
    ref = resolve_model(profile(copy))
    with pytest.raises(EnvironmentFailure) as caught:
        load_whisper(ref, CPU)
    assert "CHANNELSCRIBE_MODEL" in caught.value.reason


@pytest.mark.parametrize("name", ["/no/such/folder", "./gone", "a/b/c", "C:\\models\\whisper", "x y", "../up"])
def test_a_folder_that_is_not_there(name: str) -> None:
    with pytest.raises(EnvironmentFailure) as caught:
        resolve_model(profile(name))
    assert caught.value.code == "no_model"


def _in_a_fresh_process(code: str, home: Path, **environment: str) -> str:
    """The hub's settings are read once per process."""
    env = {**os.environ, "HF_HOME": str(home), **environment}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    return done.stdout + done.stderr[-2000:]


RESOLVE = """
from channelscribe.asr.model import resolve_model
from channelscribe.core.profile import TranscriptionProfile
from channelscribe.core.errors import EnvironmentFailure
import sys
try:
    print(resolve_model(TranscriptionProfile()).revision)
except EnvironmentFailure as error:
    print(error.code, error.reason)
print("heavy" if {"torch", "transformers"} & set(sys.modules) else "light")
"""


def test_a_hub_model_offline_is_one_sentence(tmp_path: Path) -> None:
    said = _in_a_fresh_process(RESOLVE, tmp_path, HF_HUB_OFFLINE="1")
    assert said.startswith("model_unreachable")
    assert "CHANNELSCRIBE_MODEL" in said
    assert said.endswith("light\n")


def test_a_hub_that_cannot_be_reached_is_the_same_sentence(tmp_path: Path) -> None:
    dead = "http://127.0.0.1:9"
    said = _in_a_fresh_process(RESOLVE, tmp_path, HF_ENDPOINT=dead, HTTPS_PROXY=dead, HTTP_PROXY=dead)
    assert said.startswith("model_unreachable")


def test_a_cached_hub_model_needs_no_network(tmp_path: Path) -> None:
    commit = "a" * 40
    repo = tmp_path / "hub" / "models--openai--whisper-large-v3-turbo"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    shutil.copytree(SHIPPED, repo / "snapshots" / commit)
    assert _in_a_fresh_process(RESOLVE, tmp_path, HF_HUB_OFFLINE="1").split() == [commit, "light"]
