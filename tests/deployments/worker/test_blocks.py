"""Blocks on a real server: saved from the environment, masked, and asked in the order that fits the run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deployments.worker.api import Row
from tests.deployments.worker.channels import CONFIGURED
from tests.deployments.worker.installation import Installation
from tests.flows.environment import clean
from tests.flows.tables import table

pytestmark = [pytest.mark.prefect, pytest.mark.slow]

RESOLVE = """
import json
from blocks.odin import OdinCredentials
from blocks.storage import ArchiveRoot
from blocks.transcription import TranscriptionSettings
from blocks.youtube import YouTubeKeys
profile = TranscriptionSettings.resolve().profile()
print(json.dumps({
    "data": ArchiveRoot.resolve().url, "window_s": profile.window_s, "project": OdinCredentials.resolve().project_id,
    "keys": len(YouTubeKeys.resolve().config().api_keys),
}))
"""


SAVE = """
import json, os
from prefect.blocks.core import Block
from blocks.register import save_from_environment
from blocks.transcription import TranscriptionSettings
def saved():
    return save_from_environment("probe")
first, second = saved(), saved()
TranscriptionSettings(window_s=3).save("probe", overwrite=True)
kept = (saved(), TranscriptionSettings.saved("probe").window_s)
os.environ["CHANNELSCRIBE_WINDOW_S"] = "5"
renewed = (saved(), TranscriptionSettings.saved("probe").window_s)
for slug in first:
    Block.delete(slug)
print(json.dumps([first, second, kept, renewed]))
"""


def resolved(folder: Path, **environment: str) -> dict[str, object]:
    """What a notebook's process gets from `resolve()`."""
    done = subprocess.run(
        [sys.executable, "-c", RESOLVE],
        capture_output=True,
        text=True,
        cwd=folder,
        env=clean(PREFECT_HOME=str(folder / "prefect"), PREFECT_SERVER_ALLOW_EPHEMERAL_MODE="false", **environment),
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return said


def test_all_four_are_saved_and_their_secrets_masked(site: Installation) -> None:
    blocks = site.api.blocks()
    ours = {"youtube-keys", "odin-credentials", "channelscribe-data-root", "transcription-profile"}
    assert ours <= set(blocks)
    assert all(blocks[slug]["name"] == "default" for slug in ours)
    plain = json.dumps(blocks)
    secrets = [site.environment[name] for name in ("ODIN_API_KEY", "ODIN_API_SECRET", "YOUTUBE_API_KEYS")]
    assert all(secret and secret not in plain for secret in secrets)
    assert blocks["odin-credentials"]["data"]["project_id"] == site.environment["ODIN_PROJECT_ID"]
    assert blocks["channelscribe-data-root"]["data"]["url"] == str(site.data)


def test_no_secret_lies_in_plain_sight_of_the_server(site: Installation) -> None:
    secrets = [site.environment[name].encode() for name in ("ODIN_API_KEY", "ODIN_API_SECRET", "YOUTUBE_API_KEYS")]
    files = [p for p in site.prefect_home.rglob("*") if p.is_file()]
    assert any(p.name == "prefect.db" for p in files)
    leaking = [p.name for p in files for secret in secrets if secret in p.read_bytes()]
    assert leaking == []


def test_an_edited_block_stays_until_the_environment_says_something_new(site: Installation, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SAVE],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=clean(PREFECT_HOME=str(tmp_path / "prefect"), PREFECT_API_URL=site.api.url, CHANNELSCRIBE_WINDOW_S="4"),
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    first, second, kept, renewed = json.loads(done.stdout.splitlines()[-1])
    assert "transcription-profile/probe" in first
    assert second == []
    assert kept == [[], 3]
    assert renewed == [["transcription-profile/probe"], 5]


def test_a_deployment_run_takes_the_block_as_it_was_edited(site: Installation, tmp_path: Path) -> None:
    edited: dict[str, Row] = {
        "channelscribe-data-root": {"url": str(tmp_path / "elsewhere")},
        "transcription-profile": {"window_s": 6},
    }
    before = {slug: site.api.blocks()[slug]["data"] for slug in edited}
    try:
        for slug, data in edited.items():
            site.api.edit_block(slug, **data)
        run = site.api.ended(site.api.start(source=f"@{CONFIGURED}"))
        assert run["state_type"] == "COMPLETED", run["state"]
        adhoc = resolved(tmp_path, PREFECT_API_URL=site.api.url, CHANNELSCRIBE_WINDOW_S="7", CHANNELSCRIBE_DATA="mine")
        saved = resolved(tmp_path, PREFECT_API_URL=site.api.url)
    finally:
        for slug, data in before.items():
            site.api.edit_block(slug, **data)
    transcripts = table(tmp_path / "elsewhere", "transcripts")
    assert set(transcripts["video_id"]) == {v.id for v in site.films(CONFIGURED)}
    assert {json.loads(p)["window_s"] for p in transcripts["parameters"]} == {6}
    assert not set(table(site.data, "videos")["video_id"]) & set(transcripts["video_id"])
    assert (adhoc["data"], adhoc["window_s"]) == ("mine", 7)
    assert (saved["data"], saved["window_s"], saved["keys"]) == (str(tmp_path / "elsewhere"), 6, 1)
    assert saved["project"] == site.environment["ODIN_PROJECT_ID"]


def test_blocks_need_no_server(tmp_path: Path) -> None:
    given = {"ODIN_API_KEY": "k", "ODIN_API_SECRET": "s", "ODIN_PROJECT_ID": "p"}
    keys = f"{'A' * 39},{'B' * 39}"
    said = resolved(
        tmp_path, CHANNELSCRIBE_DATA="s3://bucket/x", CHANNELSCRIBE_WINDOW_S="12", YOUTUBE_API_KEYS=keys, **given
    )
    assert said == {"data": "s3://bucket/x", "window_s": 12, "project": "p", "keys": 2}


def test_without_server_and_without_environment_the_defaults_stand(tmp_path: Path) -> None:
    assert resolved(tmp_path) == {"data": "data", "window_s": 30, "project": "", "keys": 0}
