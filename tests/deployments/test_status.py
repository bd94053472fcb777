"""`status` on a real archive, from Parquet alone."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from channelscribe.core.model import Outcome, OutcomeState, Stage, Video
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from tests.deployments.conftest import Cli, clean_environment

AT = datetime(2026, 11, 1, tzinfo=UTC)
TITLES = {"aaaaaaaaaaa": "Grüße [bold]aus[/] Köln 🎬", "bbbbbbbbbb_": "Private", "ccccccccc-c": "Not yet"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "archive root"
    with Archive(DataRoot.open(folder)) as archive:
        archive.put_videos(
            [
                Video(video_id, title, channel_title="A channel", published_at=AT - timedelta(days=i), duration_s=90.0)
                for i, (video_id, title) in enumerate(TITLES.items())
            ]
        )
        archive.put_outcome(
            Outcome(
                run_id="run-1",
                video_id="bbbbbbbbbb_",
                title="Private",
                stage=Stage.DOWNLOAD,
                state=OutcomeState.FAILED,
                failure_class="permanent",
                code="private",
                reason="The video is private.",
                at=AT,
            )
        )
    return folder


def test_json_has_every_video_and_the_totals(cli: Cli, data: Path) -> None:
    done = cli("status", "--json", "--data", str(data))
    assert done.code == 0, done.err
    assert {v["video_id"]: v["title"] for v in done.json["videos"]} == TITLES
    assert done.json["totals"]["videos"] == 3
    assert done.json["totals"]["failed"] == 1
    assert done.err == ""


def test_failed_shows_only_those_and_why(cli: Cli, data: Path) -> None:
    done = cli("status", "--failed", "--json", CHANNELSCRIBE_DATA=str(data))
    assert [(v["video_id"], v["code"]) for v in done.json["videos"]] == [("bbbbbbbbbb_", "private")]


def test_the_table_shows_titles_as_they_are(cli: Cli, data: Path) -> None:
    done = cli("status", "--data", str(data), COLUMNS="200", PYTHONIOENCODING="utf-8")
    assert done.code == 0, done.err
    for title in TITLES.values():
        assert title in done.out
    assert "3 videos" in done.err


def test_no_archive_is_said_and_none_is_made(cli: Cli, tmp_path: Path) -> None:
    done = cli("status", "--data", "nowhere")
    assert done.code == 2
    assert "no archive" in done.err
    assert not (tmp_path / "nowhere").exists()


def test_an_empty_folder_is_an_empty_archive(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = cli("status", "--json", "--data", "empty")
    assert (done.code, done.json["videos"], done.json["totals"]["videos"]) == (0, [], 0)


def test_it_imports_neither_prefect_nor_torch(data: Path) -> None:
    program = (
        "import sys; from deployments.cli import run; code = run(['status', '--json', '--data', sys.argv[1]]);"
        "heavy = {'prefect', 'torch', 'transformers', 'yt_dlp', 'googleapiclient', 'av'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(data)], capture_output=True, text=True, env=clean_environment()
    )
    assert done.returncode == 0, done.stderr
