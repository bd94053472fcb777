"""Two videos with the very same sound share a fingerprint; each is heard, listed and found as itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from channelscribe.asr.registry import expected_fingerprint
from channelscribe.core.clock import SystemClock
from channelscribe.ledger import plan
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from channelscribe.store.status import video_status
from channelscribe.transcribe import transcribe
from tests.channelscribe.records import NOON, a_media, a_transcript, a_video
from tests.channelscribe.test_ledger import PROFILE

TWIN_ID = "Twin_-00001"


class NoEngine:
    """The twin must not be heard again."""

    name = "none"

    def transcribe(self, path: Path, **_: object) -> None:
        raise AssertionError("the same sound was transcribed twice")


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with Archive(DataRoot.open(tmp_path)) as opened:
        opened.put_videos([a_video(), a_video(TWIN_ID)])
        for media in (a_media(), a_media(TWIN_ID)):
            opened.put_media(media)
            opened.root.write_bytes(media.path, b"the same sound")
        yield opened


def hear(archive: Archive) -> str:
    fingerprint = expected_fingerprint(PROFILE, a_media().sha256)
    archive.put_transcript(a_transcript(fingerprint), "run-1")
    return fingerprint


def todo(archive: Archive) -> list[str]:
    videos = archive.videos().values()
    return [v.video_id for v in plan(archive, videos, PROFILE, project_id=None, run_id="run-2", now=NOON).todo]


def test_the_twin_of_a_transcribed_video_is_still_to_do(archive: Archive) -> None:
    hear(archive)
    assert todo(archive) == [TWIN_ID]


@pytest.mark.parametrize("compacted", [False, True])
def test_the_twin_takes_over_what_was_heard_and_both_stand(archive: Archive, compacted: bool) -> None:
    fingerprint = hear(archive)
    twin, made = transcribe(
        NoEngine(),  # type: ignore[arg-type]
        archive,
        a_video(TWIN_ID),
        a_media(TWIN_ID),
        fingerprint,
        run_id="run-2",
        clock=SystemClock(),
    )
    if compacted:
        archive.tidy()
    assert (twin.video_id, made) == (TWIN_ID, False)
    assert archive.root.exists(f"{a_media(TWIN_ID).folder}/{a_media(TWIN_ID).stem}.txt")
    for video_id in (a_video().video_id, TWIN_ID):
        own = archive.transcript(fingerprint, video_id)
        assert own and (own.video_id, own.text) == (video_id, a_transcript("f").text)
    assert len(archive.query("SELECT * FROM transcripts")) == 2
    assert len(archive.query("SELECT * FROM segments")) == 2 * len(a_transcript("f").segments)
    assert {s.stage for s in video_status(archive)} == {"transcribed"}
    assert todo(archive) == []
