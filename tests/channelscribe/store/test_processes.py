"""Several processes write at once and lose nothing; a process killed at any moment leaves only whole rows."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from tests.channelscribe.store import children

WRITER = """
    import sys
    from channelscribe.core.model import OutcomeState
    from channelscribe.store.archive import Archive
    from channelscribe.store.root import DataRoot
    from tests.channelscribe.records import a_transcript, a_video, an_outcome
    place, worker, count, tidies = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "True"
    with Archive(DataRoot.open(place), flush_s=0.05) as archive:
        for n in range(count):
            key = f"{worker}-{n}"
            archive.put_videos([a_video(key), a_video("shared", title=f"{n:06d} by {worker}")])
            archive.put_transcript(a_transcript(key, key, segments=7), "run")
            archive.put_outcome(an_outcome(OutcomeState.DONE, video_id=key))
            if tidies and n % 10 == 9:
                archive.tidy()
            print(n, flush=True)
"""


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    count = 40
    writers = [children.start(WRITER, tmp_path, worker, count, worker == "a") for worker in "abc"]
    reader = Archive(DataRoot.open(tmp_path))
    seen = 0
    while any(writer.poll() is None for writer in writers):
        now = len(reader.transcript_fingerprints())
        assert now >= seen, "a reader beside writers and a compaction never sees a row disappear"
        seen = now
    for writer in writers:
        out, err = writer.communicate(timeout=120)
        assert writer.returncode == 0, err
        assert "WARNING" not in err + out
        assert "Traceback" not in err
    keys = {f"{worker}-{n}" for worker in "abc" for n in range(count)}
    archive = Archive(DataRoot.open(tmp_path))
    assert set(archive.transcript_fingerprints()) == keys
    assert set(archive.videos()) == keys | {"shared"}
    assert archive.videos()["shared"].title.startswith(f"{count - 1:06d} by ")
    assert {o.video_id for o in archive.outcomes()} == keys


@pytest.mark.parametrize("tidies", [False, True])
def test_a_killed_writer_leaves_all_it_finished_and_nothing_half(
    tmp_path: Path, tidies: bool, caplog: pytest.LogCaptureFixture
) -> None:
    rng = random.Random(20260101)
    done: set[str] = set()
    for attempt in range(4):
        worker = f"w{attempt}"
        writer = children.start(WRITER, tmp_path, worker, 10_000, tidies)
        assert writer.stdout is not None
        first = writer.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.4))
        writer.kill()
        rest, _ = writer.communicate()
        done |= {f"{worker}-{line}" for line in (first + rest).split()}
    archive = Archive(DataRoot.open(tmp_path))
    assert len(done) >= 4
    assert done <= set(archive.transcript_fingerprints())
    assert done <= set(archive.videos())
    for key in done:
        found = archive.transcript(key)
        assert found is not None
        assert [s.index for s in found.segments] == list(range(7))
    archive.tidy()
    assert done <= set(archive.transcript_fingerprints())
    assert done <= set(archive.videos())
    assert not caplog.records, "half files have names that no reader looks at"
    assert all(o.video_id for o in archive.outcomes())


def test_a_killed_process_loses_at_most_one_flush_of_outcomes(tmp_path: Path) -> None:
    writer = children.start(WRITER, tmp_path, "w", 10_000, False)
    assert writer.stdout is not None
    try:
        for _ in range(30):
            last = int(writer.stdout.readline())
    finally:
        writer.kill()
        rest, _ = writer.communicate()
    last = max([last, *(int(line) for line in rest.split())])
    kept = {int(o.video_id.split("-")[1]) for o in Archive(DataRoot.open(tmp_path)).outcomes()}
    assert kept == set(range(len(kept))), "what is lost is the end, never the middle"
    assert kept or last < 60
