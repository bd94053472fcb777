"""Verification: every kind of damage is found, recorded once, and mended by what the next sync does anyway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from channelscribe.asr.registry import expected_fingerprint
from channelscribe.core.model import Media, OutcomeState, Stage, Video
from channelscribe.core.profile import TranscriptionProfile
from channelscribe.ledger import DAMAGED, Plan, damage, histories, plan
from channelscribe.odin.client import OdinClient
from channelscribe.odin.config import OdinConfig
from channelscribe.publish import publish
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from channelscribe.store.status import video_status
from channelscribe.transcribe import write_files
from channelscribe.verification import Verification, verify
from tests.channelscribe.records import an_outcome
from tests.channelscribe.upkeep.conftest import MakeRoot
from tests.channelscribe.upkeep.finished import LATER, At, build, finish, snapshot, sound, video_id
from tests.emulators.odin import OdinEmulator
from tests.flows.station import CHECKPOINT


@pytest.fixture
def archive(folder: DataRoot) -> Iterator[Archive]:
    build(folder)
    with Archive(folder) as opened:
        yield opened


def look(archive: Archive, *, mend: bool = True) -> Verification:
    return verify(archive, "verify-1", mend=mend, clock=LATER)


def found(done: Verification) -> dict[str, str]:
    return {f.video_id: f.what for f in done.findings}


def base(number: int) -> str:
    return f"archive/UC/2026-11-01_Film_{video_id(number)}"


def test_a_sound_archive_is_sound_and_nothing_is_written(archive: Archive) -> None:
    before = snapshot(archive.root)
    done = look(archive)
    assert done.sound
    assert (done.media, done.transcripts, done.files, done.busy) == (4, 4, 12, 0)
    assert done.media_bytes == sum(len(sound(n)) for n in range(4))
    assert snapshot(archive.root) == before


def test_an_empty_archive_is_sound(make_root: MakeRoot) -> None:
    with Archive(make_root()) as empty:
        assert look(empty).sound


def test_lost_cut_and_changed_media_are_told_apart_from_sound_ones(archive: Archive) -> None:
    archive.root.delete(f"{base(0)}.m4a")
    archive.root.write_bytes(f"{base(1)}.m4a", sound(1)[:-1])
    flipped = bytearray(sound(2))
    flipped[100] ^= 1
    archive.root.write_bytes(f"{base(2)}.m4a", bytes(flipped))
    done = look(archive)
    assert found(done) == {
        video_id(0): "archive_media_missing",
        video_id(1): "archive_media_damaged",
        video_id(2): "archive_media_damaged",
    }
    failed = {v.video_id: v for v in video_status(archive, failed_only=True)}
    assert set(failed) == set(found(done))
    assert "next sync" in failed[video_id(0)].reason


def test_what_is_broken_is_said_once_and_again_only_after_it_was_mended(archive: Archive) -> None:
    archive.root.delete(f"{base(0)}.m4a")
    look(archive)
    rows = len(archive.outcomes())
    assert len(look(archive).findings) == 1
    assert len(archive.outcomes()) == rows
    archive.put_outcome(an_outcome(OutcomeState.DONE, stage=Stage.DOWNLOAD, minutes=10**6, video_id=video_id(0)))
    verify(archive, "v", clock=At(LATER.now() + timedelta(days=600)))
    assert len(archive.outcomes()) == rows + 2


def test_without_mending_nothing_is_written(archive: Archive) -> None:
    archive.root.delete(f"{base(0)}.m4a")
    archive.root.delete(f"{base(1)}.txt")
    before = snapshot(archive.root)
    assert not look(archive, mend=False).sound
    assert snapshot(archive.root) == before


def test_files_that_follow_from_the_tables_are_written_anew_and_a_correction_is_kept(archive: Archive) -> None:
    before = snapshot(archive.root)
    archive.root.delete(f"{base(0)}.txt")
    archive.root.write_bytes(f"{base(1)}.txt", b"[00:00 - 00:01] My own words.\n")
    archive.root.write_bytes(f"{base(2)}.json", b"{")
    archive.root.write_bytes(f"{base(3)}.transcript.json", b"\xff" * 10)
    assert {f.what for f in look(archive).findings} == {"file"}
    after = snapshot(archive.root)
    replaced = {name: after.pop(name) for name in list(after) if name.endswith(".replaced")}
    assert after == before
    assert replaced[f"{base(1)}.txt.replaced"] == b"[00:00 - 00:01] My own words.\n"
    assert look(archive).sound


def test_a_new_title_in_the_listing_is_no_damage(archive: Archive) -> None:
    video = archive.video(video_id(0))
    assert video is not None
    archive.put_videos([Video(video.video_id, "Quite another title", channel_title="Renamed")])
    assert look(archive).sound


def test_a_changed_word_in_the_json_is_found(archive: Archive) -> None:
    rel = f"{base(0)}.transcript.json"
    content = json.loads(archive.root.read_bytes(rel))
    content["segments"][1]["text"] = "The raven counts 7 stars."
    archive.root.write_bytes(rel, json.dumps(content).encode())
    assert [f.where for f in look(archive, mend=False).findings] == [rel]


def test_a_damaged_table_file_is_named_and_its_transcripts_are_made_again(tmp_path: Path) -> None:
    root = DataRoot.open(tmp_path / "data")
    build(root, 3)
    path = sorted((tmp_path / "data" / "transcripts").glob("*.parquet"))[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 4] ^= 0xFF
    path.write_bytes(bytes(data))
    with Archive(root) as archive:
        done = look(archive)
        assert [f.where for f in done.findings if f.what == "table"] == [f"transcripts/{path.name}"]
        lost = [f.video_id for f in done.findings if f.what == "archive_transcript_lost"]
        assert len(lost) == 1
        assert lost[0] not in {v for _, v in archive.transcribed()}


def test_a_video_that_a_run_has_in_hand_is_left_alone(archive: Archive) -> None:
    archive.root.delete(f"{base(0)}.m4a")
    with archive.root.lock(f"video-{video_id(0)}"):
        done = look(archive)
    assert (done.busy, done.findings) == (1, [])
    assert len(look(archive).findings) == 1


PROFILE = TranscriptionProfile(model=str(CHECKPOINT))


def test_the_next_sync_takes_up_what_is_broken_and_fetches_damaged_sound_afresh(archive: Archive) -> None:
    videos, media = list(archive.videos().values()), archive.media()
    for number in range(len(videos)):
        made = archive.transcript(f"fp-{number}", video_id(number))
        assert made is not None
        whole = replace(made, fingerprint=expected_fingerprint(PROFILE, media[video_id(number)].sha256))
        archive.put_transcript(whole, "run-1")
        write_files(archive, archive.videos()[video_id(number)], media[video_id(number)], whole, overwrite=True)

    def planned() -> Plan:
        return plan(archive, videos, PROFILE, project_id=None, run_id="run-2", now=LATER.now())

    assert planned().todo == ()
    archive.root.delete(f"{base(0)}.m4a")
    look(archive)
    assert {v.video_id for v in planned().todo} == {video_id(0)} == set(planned().afresh)
    assert damage(histories(archive.outcomes())[video_id(0)]) == {"archive_media_missing"}
    archive.put_outcome(an_outcome(OutcomeState.DONE, stage=Stage.DOWNLOAD, minutes=10**6, video_id=video_id(0)))
    assert planned().todo == ()


def test_codes_of_findings_and_of_the_ledger_are_the_same() -> None:
    from channelscribe import odin_check, verification

    source = Path(verification.__file__).read_text() + Path(odin_check.__file__).read_text()
    assert all(f'"{code}"' in source for code in DAMAGED)


def test_hostile_rows_break_nothing(archive: Archive) -> None:
    good = archive.media_of(video_id(0))
    assert good is not None
    for number, path in enumerate(("../../etc/passwd", "", "archive/UC/\x00.m4a", "x" * 5000)):
        own = f"hostile{number:04d}"
        archive.put_media(Media(own, path, 1, "0" * 64, "mp4", "aac", 1, 1.0, "1"))
    done = look(archive, mend=False)
    assert {v for v in found(done) if v.startswith("hostile")} == {f"hostile{n:04d}" for n in range(4)}
    assert done.media == 4


def test_documents_are_compared_with_odin_and_sent_again(tmp_path: Path) -> None:
    root = DataRoot.open(tmp_path / "data")
    with OdinEmulator(processing_s=0.0) as odin, Archive(root) as archive:
        config = OdinConfig(
            api_key=odin.credentials[0],
            api_secret=odin.credentials[1],
            project_id=odin.project_id,
            base_url=odin.base_url,
        )
        client = OdinClient(config)
        made = [finish(archive, number, uploaded=False) for number in range(3)]

        def send(number: int) -> bool:
            transcript = archive.transcript(f"fp-{number}", video_id(number))
            assert transcript is not None
            return publish(client, archive, *made[number], transcript)[1]

        assert all(send(n) for n in range(3))
        assert verify(archive, "v", odin=client).documents == 3
        key = next(u.key for u in archive.uploads().values() if u.video_id == video_id(1))
        document = client.find(key)
        assert document is not None
        client.delete(document)
        done = verify(archive, "v", odin=client, clock=LATER)
        assert found(done) == {video_id(1): "archive_document_missing"}
        assert {v.video_id for v in video_status(archive, failed_only=True)} == {video_id(1)}
        assert [send(n) for n in range(3)] == [False, True, False]
        assert len(odin.documents) == 3
        assert verify(archive, "v2", odin=client).sound
