"""Retention: only what is proven goes, a dry run touches nothing, and a kill in the middle loses nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from channelscribe.core.model import Media, OutcomeState, Stage, Video
from channelscribe.retention import Retention, RetentionRule, retain
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from channelscribe.verification import verify
from tests.channelscribe.cards import a_reading
from tests.channelscribe.records import NOON, an_outcome
from tests.channelscribe.upkeep.conftest import MakeRoot
from tests.channelscribe.upkeep.finished import LATER, build, finish, snapshot, sound, video_id

CHECKOUT = Path(__file__).resolve().parents[3]
MONTH = RetentionRule(media_days=30, metrics_days=0)


@pytest.fixture
def archive(folder: DataRoot) -> Iterator[Archive]:
    build(folder)
    with Archive(folder) as opened:
        yield opened


def apply(archive: Archive, rule: RetentionRule = MONTH, *, dry_run: bool = False) -> Retention:
    return retain(archive, rule, "retain-1", dry_run=dry_run, clock=LATER)


def gone(done: Retention) -> set[str]:
    return {item.video_id for item in done.media}


def sounds(archive: Archive) -> list[str]:
    return [rel for rel in archive.root.list("archive/UC") if rel.endswith(".m4a")]


def test_a_dry_run_is_the_default_and_says_what_would_be_freed(archive: Archive) -> None:
    before = snapshot(archive.root)
    would = retain(archive, MONTH, "r", clock=LATER)
    assert would.dry_run
    assert would.freed_bytes == sum(len(sound(n)) for n in range(4))
    assert snapshot(archive.root) == before
    done = apply(archive)
    assert (gone(done), done.freed_bytes) == (gone(would), would.freed_bytes)
    assert sounds(archive) == []


def test_the_usual_rule_keeps_sound_for_ever(archive: Archive) -> None:
    assert apply(archive, RetentionRule()).media == []
    assert len(sounds(archive)) == 4


def test_retired_sound_is_no_damage_and_nothing_is_done_again(archive: Archive) -> None:
    apply(archive)
    done = verify(archive, "v", clock=LATER)
    assert done.sound
    assert done.retired == 4
    rows = len(archive.outcomes())
    assert apply(archive).media == []
    assert len(archive.outcomes()) == rows


def test_sound_that_was_fetched_again_after_its_retirement_is_looked_at_again(archive: Archive) -> None:
    apply(archive)
    media = archive.media_of(video_id(0))
    assert media is not None
    archive.put_media(replace(media, downloaded_at=LATER.now() + timedelta(days=1)))
    assert [f.what for f in verify(archive, "v").findings] == ["archive_media_missing"]


def test_young_sound_stays(archive: Archive) -> None:
    finish(archive, 50, at=LATER.now() - timedelta(days=29))
    assert video_id(50) not in gone(apply(archive))


def spoil(archive: Archive, number: int, how: str) -> None:
    """Makes a video one whose sound must stay."""
    own, stem = video_id(number), f"archive/UC/2026-11-01_Film_{video_id(number)}"
    media = archive.media_of(own)
    upload = next(u for u in archive.uploads().values() if u.video_id == own)
    assert media is not None
    if how == "text gone":
        archive.root.delete(f"{stem}.txt")
    elif how == "text differs":
        archive.root.write_bytes(f"{stem}.txt", b"other")
    elif how == "document unverified":
        archive.put_upload(replace(upload, verified_at=None, status="syncing"))
    elif how == "document of another transcript":
        archive.put_upload(replace(upload, fingerprint="another"))
    elif how == "failed":
        archive.put_outcome(
            an_outcome(OutcomeState.FAILED, "transient", stage=Stage.UPLOAD, minutes=10**5, video_id=own)
        )
    elif how == "other sound":
        archive.put_media(replace(media, sha256="0" * 64))
    elif how == "other size":
        archive.root.write_bytes(media.path, b"short")
    elif how == "no media path":
        archive.put_media(replace(media, path=f"{stem}.txt"))


HARMS = (
    *("text gone", "text differs", "document unverified", "document of another transcript"),
    *("failed", "other sound", "other size", "no media path"),
)


def test_what_is_not_proven_stays_and_the_reason_is_told(folder: DataRoot) -> None:
    build(folder, len(HARMS) + 1)
    with Archive(folder) as archive:
        for number, how in enumerate(HARMS):
            spoil(archive, number, how)
        for dry_run in (True, False):
            done = apply(archive, dry_run=dry_run)
            assert gone(done) == {video_id(len(HARMS))}
            assert {item.video_id for item in done.kept} == {video_id(n) for n in range(len(HARMS))}
            assert len({item.kept for item in done.kept}) >= 6
            assert sum("stays" in row["then"] for row in done.rows) == len(HARMS)
        assert len(sounds(archive)) == len(HARMS)


def test_without_a_transcript_nothing_goes(archive: Archive) -> None:
    data = b"sound without words"
    archive.put_videos([Video("untold00001", "Untold")])
    archive.root.write_bytes("archive/UC/untold.m4a", data)
    archive.put_media(
        Media(
            "untold00001", "archive/UC/untold.m4a", len(data), "1" * 64, "mp4", "aac", 1, 1.0, "1", downloaded_at=NOON
        )
    )
    assert "untold00001" not in gone(apply(archive))
    assert archive.root.read_bytes("archive/UC/untold.m4a") == data


def test_a_hostile_path_deletes_nothing_elsewhere(folder: DataRoot, tmp_path: Path) -> None:
    build(folder, 5)
    outside = tmp_path / "outside.m4a"
    outside.write_bytes(b"mine")
    hostile = ("../outside.m4a", "videos/part.m4a", "archive/../../outside.m4a", str(outside), "")
    with Archive(folder) as archive:
        for number, path in enumerate(hostile):
            media = archive.media_of(video_id(number))
            assert media is not None
            archive.put_media(replace(media, path=path, bytes=4))
        done = apply(archive)
    assert done.media == []
    assert outside.read_bytes() == b"mine"


def test_an_archive_that_sends_nothing_needs_no_document(make_root: MakeRoot) -> None:
    root = make_root()
    build(root, 2, uploaded=False)
    with Archive(root) as archive:
        assert len(apply(archive).media) == 2


def test_a_video_in_the_hands_of_a_run_stays(archive: Archive) -> None:
    with archive.root.lock(f"video-{video_id(0)}"):
        done = apply(archive)
    assert gone(done) == {video_id(n) for n in (1, 2, 3)}
    assert [item.kept for item in done.kept] == ["a run works on it"]


def test_leftovers_of_finished_videos_go_and_those_of_others_stay(archive: Archive) -> None:
    for name in (f".work/{video_id(0)}/download/a.part", ".work/unfinished01/download/b.part", ".work/windows/fp-1",
                 ".work/windows/unfinished"):  # fmt: skip
        archive.root.local(name).write_bytes(b"12345")
    done = apply(archive, RetentionRule(metrics_days=0))
    work = archive.root.local(".work/any").parent
    assert done.freed_bytes == 10
    assert {p.name for p in work.iterdir()} == {"unfinished01", "windows"}
    assert {p.name for p in (work / "windows").iterdir()} == {"unfinished"}


def test_old_readings_are_thinned_to_one_a_minute_and_young_ones_stay(archive: Archive) -> None:
    archive.put_readings([a_reading(LATER.now().timestamp() - NOON.timestamp() + s, "run-2") for s in range(120)])
    archive.tidy()
    rule = RetentionRule(metrics_days=90, leftovers=False)
    would = apply(archive, rule, dry_run=True)
    assert len(archive.moments("run-1")) == 180
    done = apply(archive, rule)
    assert would.readings.rows == done.readings.rows == 177
    assert done.freed_bytes > 0
    assert [m.at.second for m in archive.moments("run-1")] == [0, 0, 0]
    assert len(archive.moments("run-2")) == 120
    assert apply(archive, rule).readings.rows == 0
    assert archive.damaged_parts() == []


@pytest.mark.parametrize("wrong", [{"media_days": -1}, {"media_days": 10**9}, {"media_days": "x"}, {"mediadays": 1}])
def test_a_wrong_rule_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RetentionRule.model_validate(wrong)


_WORK = """
import sys
from tests.channelscribe.upkeep.finished import LATER
from channelscribe import retention
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
retention._TOGETHER = 2
with Archive(DataRoot.open(sys.argv[1])) as archive:
    print("begun", flush=True)
    retention.retain(archive, retention.RetentionRule(media_days=30), "r", dry_run=False, clock=LATER)
"""


def test_kill_in_retention_loses_no_text_and_the_next_one_goes_on(tmp_path: Path) -> None:
    root = DataRoot.open(tmp_path / "data")
    build(root, 8)
    before = {rel: data for rel, data in snapshot(root).items() if not rel.endswith(".m4a") and rel != "outcomes"}
    before.pop("gpu_metrics")
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    process = subprocess.Popen([sys.executable, "-c", _WORK, str(tmp_path / "data")], env=environment)
    while process.poll() is None and len(list((tmp_path / "data/archive/UC").glob("*.m4a"))) > 4:
        time.sleep(0.001)
    process.kill()
    process.wait()
    with Archive(root) as archive:
        assert verify(archive, "v", clock=LATER).sound
        apply(archive)
        assert sounds(archive) == []
        assert verify(archive, "v", clock=LATER).sound
    after = snapshot(root)
    assert {rel: after[rel] for rel in before} == before
