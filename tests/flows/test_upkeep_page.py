"""Every command of docs/upkeep.md, as it stands there and in its order, on the archive of a real run."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from tests.flows.conftest import WholeRun
from tests.flows.environment import clean
from tests.flows.station import CHECKOUT
from tests.flows.tables import assert_same, contents
from tests.object_store import object_store

pytestmark = [pytest.mark.prefect, pytest.mark.slow]
PAGE = (CHECKOUT / "docs" / "upkeep.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```console\n(.*?)```", PAGE, re.S) for line in block.splitlines()]
RUN = """
import contextlib, io, json, shlex, sys
from deployments.cli import run
for line in sys.stdin:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = run(shlex.split(line))
    print(json.dumps([line.strip(), code, said.getvalue()]))
"""
FLOWS = """
import json, sys
from flows import upkeep as u
from channelscribe.retention import RetentionRule
data, backups, new = sys.argv[1:]
for name, call in {
    "verify": lambda: u.verify_archive(odin=True, data=data, return_state=True),
    "compact": lambda: u.compact_archive(data=data, return_state=True),
    "retain": lambda: u.retain_archive(rule=RetentionRule(media_days=1), data=data, return_state=True),
    "backup": lambda: u.back_up_archive(backups, media=True, data=data, return_state=True),
    "restore": lambda: u.restore_archive(backups, new, return_state=True),
    "verify restored": lambda: u.verify_archive(data=new, return_state=True),
    "restore again": lambda: u.restore_archive(backups, new, return_state=True),
}.items():
    state = call()
    print(json.dumps([name, state.name, state.message, str(state.state_details.flow_run_id)]))
"""
Said = dict[str, tuple[int, str]]


def type_in(commands: list[str], folder: Path, environment: dict[str, str]) -> Said:
    """What each command, typed one after the other, ended with and said."""
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input="\n".join(shlex.join(shlex.split(c)[1:]) for c in commands),
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment | {"PYTHONPATH": str(CHECKOUT), "COLUMNS": "400"},
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    answers: list[Any] = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(commands), done.stderr
    assert "Traceback" not in done.stderr
    return {command: (code, said) for command, (_, code, said) in zip(commands, answers, strict=True)}


def test_every_command_of_the_page_does_what_the_page_says(whole_run: WholeRun, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(whole_run.station.data, data)
    before = contents(data)
    said = type_in(COMMANDS, tmp_path, whole_run.station.environment(CHANNELSCRIBE_DATA=str(data)))

    assert {command.split()[1] for command in COMMANDS} == {
        "automations", "backup", "compact", "restore", "retain", "verify",
    }  # fmt: skip
    assert {command: code for command, (code, _) in said.items() if code} == {}
    for command in ("channelscribe verify", "channelscribe verify --look --data REHEARSAL"):
        assert "5 media files" in said[command][1] and "all of it is sound" in said[command][1]
    assert "5 documents looked at" in said["channelscribe verify --odin"][1]
    assert "Would free" in said["channelscribe retain --media-days 180 --metrics-days 90"][1]
    assert len(list((tmp_path / "BACKUPS").glob("*.manifest.json"))) == 3
    assert "not made" in said["channelscribe automations list"][1], "the server of the tests has no block"
    for place in ("data", "REHEARSAL", "NEW"):
        assert_same(contents(tmp_path / place), before)
    sounds = {place: len(list((tmp_path / place).rglob("*.m4a"))) for place in ("data", "REHEARSAL", "NEW")}
    assert sounds == {"data": 5, "REHEARSAL": 5, "NEW": 5}, "the newest backup has the sound"


def test_old_sound_goes_once_it_is_proven_and_the_archive_stays_sound(whole_run: WholeRun, tmp_path: Path) -> None:
    """Downloads are made two days old, and one text is changed: its sound waits until a verification has mended it."""
    data = tmp_path / "data"
    shutil.copytree(whole_run.station.data, data)
    _make_older(data)
    next((data / "archive").rglob("*.txt")).write_text("not what was said")
    verify, retain = "channelscribe verify", "channelscribe retain --media-days 1 --yes"
    typed = [retain, verify, f"{retain} --json", f"{verify} --json", f"{retain} --no-leftovers --json"]
    said = type_in(typed, tmp_path, whole_run.station.environment(CHANNELSCRIBE_DATA=str(data)))
    assert [code for code, _ in said.values()] == [0, 1, 0, 0, 0], said
    assert "4 media files" in said[retain][1] and "`channelscribe verify --mend`" in said[retain][1]
    assert "1 thing is broken" in said[verify][1]
    assert list(data.rglob("*.m4a")) == []
    after, twice = (json.loads(said[command][1]) for command in typed[3:])
    assert (after["sound"], after["retired"], after["media"], twice["freed_bytes"]) == (True, 5, 0, 0)


def test_a_backup_in_an_object_store_comes_back_whole(whole_run: WholeRun, tmp_path: Path) -> None:
    with object_store() as store:
        environment = clean(**store.environment(tmp_path / "machine"), CHANNELSCRIBE_DATA=str(whole_run.station.data))
        there, new = "s3://bucket/backups", "--data NEW"
        typed = [
            f"channelscribe backup {there} --media --json",
            f"channelscribe restore {there} {new}",
            f"channelscribe restore {there} {new} --json",
            f"channelscribe verify --look {new}",
        ]
        said = type_in(typed, tmp_path, environment)
    assert [code for code, _ in said.values()] == [0, 0, 2, 0], said
    assert json.loads(said[typed[2]][1])["error"]["code"] == "not_empty"
    assert "5 media files" in said[typed[3]][1] and "all of it is sound" in said[typed[3]][1]
    assert_same(contents(tmp_path / "NEW"), contents(whole_run.station.data))


def test_the_same_as_flows_says_it_in_state_and_artifact(whole_run: WholeRun, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(whole_run.station.data, data)
    _make_older(data)
    done = subprocess.run(
        [sys.executable, "-c", FLOWS, str(data), str(tmp_path / "backups"), str(tmp_path / "new")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=whole_run.station.environment(PYTHONPATH=str(CHECKOUT)),
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    said = {name: rest for name, *rest in map(json.loads, done.stdout.splitlines())}
    assert {name: state for name, (state, _, _) in said.items()} == dict.fromkeys(said, "Completed") | {
        "restore again": "Failed"
    }
    assert said["verify"][1].endswith("and 5 documents looked at: all of it is sound.")
    assert said["verify restored"][1].endswith("all of it is sound.")
    assert said["retain"][1].startswith("Would free") and len(list(data.rglob("*.m4a"))) == 5, (
        "a dry run is the default"
    )
    assert "is not empty" in said["restore again"][1]
    for name, key in {"verify": "verification", "compact": "compaction", "backup": "backup"}.items():
        assert whole_run.station.server.artifacts(said[name][2])[key]["data"] == said[name][1]
    table = whole_run.station.server.artifacts(said["retain"][2])["retention-table"]["data"]
    assert len(json.loads(table)) >= 5


def _make_older(data: Path) -> None:
    with Archive(DataRoot.open(data)) as archive:
        for media in archive.media().values():
            assert media.downloaded_at is not None
            archive.put_media(replace(media, downloaded_at=media.downloaded_at - timedelta(days=2)))
