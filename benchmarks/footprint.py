"""What an archive of N finished videos weighs and how long a run takes to see that nothing is to do.

`python -m benchmarks.footprint --videos 1000,10000` writes the tables of a channel of 20-minute videos as a compacted
archive has them (rows in few files, made-up text) and plans a sync over them. Nothing of it stays.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import multiprocessing
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from channelscribe.asr.registry import fingerprinter
from channelscribe.core.clock import SystemClock
from channelscribe.core.model import (
    Media,
    Outcome,
    OutcomeState,
    Provenance,
    Segment,
    Stage,
    Transcript,
    Upload,
    Video,
)
from channelscribe.core.profile import TranscriptionProfile
from channelscribe.ledger import plan
from channelscribe.odin.publish import document_key
from channelscribe.store import rows
from channelscribe.store.archive import Archive
from channelscribe.store.parts import Stamps, TableFolder
from channelscribe.store.root import DataRoot
from channelscribe.store.schema import TABLES
from tests.flows.station import CHECKPOINT

MINUTES, LINE_S, WORDS_A_LINE = 20.0, 6.0, 15
PROJECT, RUN = "project", "0" * 36
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
FLUSH = 1000  # videos in one file
WORDS = 3000
LOOKS = 20


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.footprint")
    parser.add_argument("--videos", default="1000,10000", help="sizes, separated by commas")
    for size in parser.parse_args().videos.split(","):
        with tempfile.TemporaryDirectory(prefix="footprint-", ignore_cleanup_errors=True) as folder:
            sys.stdout.write(json.dumps(measure(Path(folder), int(size))) + "\n")
            sys.stdout.flush()


def measure(folder: Path, videos: int) -> dict[str, Any]:
    """Bytes of each table for one video, and seconds and memory of a plan over all."""
    profile = TranscriptionProfile(model=str(CHECKPOINT))
    root = DataRoot.open(str(folder))
    writer = multiprocessing.get_context("spawn").Process(target=fill, args=(str(folder), profile, videos))
    writer.start()
    writer.join()  # its memory is not ours
    sizes = {name: sum(f.stat().st_size for f in folder.glob(f"{name}/*.parquet")) / videos for name in TABLES}
    before_mib, began_cpu_s = peak_mib(), time.process_time()
    with Archive(root) as archive:
        began_s = time.monotonic()
        known = archive.videos()
        listed_s = time.monotonic() - began_s
        work = plan(archive, known.values(), profile, project_id=PROJECT, run_id="now", now=datetime.now(UTC))
        planned_s = time.monotonic() - began_s - listed_s
        looked_s = look_up(archive, list(known)[:: max(1, videos // LOOKS)], profile)
    assert len(work.done) == videos and not work.todo, "the archive is not what it should be"
    return {
        "videos": videos,
        "bytes a video": {name: round(size) for name, size in sizes.items() if size},
        "listed s": round(listed_s, 2),
        "planned s": round(planned_s, 2),
        "cpu s": round(time.process_time() - began_cpu_s, 2),
        "look up s a video": round(looked_s, 3),
        "memory MiB": round(peak_mib() - before_mib),
    }


def look_up(archive: Archive, video_ids: list[str], profile: TranscriptionProfile) -> float:
    """Seconds for what a step reads about its video: its rows and its transcript."""
    fingerprint_of, began_s = fingerprinter(profile), time.monotonic()
    for video_id in video_ids:
        media = archive.media_of(video_id)
        assert archive.video(video_id) is not None and media is not None
        assert archive.transcript(fingerprint_of(media.sha256), video_id) is not None
    return (time.monotonic() - began_s) / len(video_ids)


def fill(data: str, profile: TranscriptionProfile, videos: int) -> None:
    root, clock = DataRoot.open(data), SystemClock()
    stamps, chance, fingerprint_of = Stamps(clock), random.Random(7), fingerprinter(profile)
    words = ["".join(chance.choices("etaoinshrdlucmfw", k=chance.randint(2, 9))) for _ in range(WORDS)]
    folders = {name: TableFolder(root, table, stamps) for name, table in TABLES.items()}
    for start in range(0, videos, FLUSH):
        made: dict[str, list[dict[str, Any]]] = {name: [] for name in folders}
        for number in range(start, min(start + FLUSH, videos)):
            for name, row in one(fingerprint_of, number, words, chance, stamps):
                made[name].append(row)
        for name, found in made.items():
            table = folders[name].table
            if found:
                found.sort(key=lambda row: [row[column] for column in table.key])  # as a compaction leaves them
                folders[name].write(rows.arrow_rows(table, found), None, "tidy")


def one(
    fingerprint_of: Callable[[str], str], number: int, words: list[str], chance: random.Random, stamps: Stamps
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows that one finished video has in all tables."""
    sha256 = hashlib.sha256(f"{number}".encode()).hexdigest()
    video_id, at = sha256[:11], BEGIN + timedelta(minutes=number)
    stem = f"2026-01-01_Lecture {number} on the winter_{video_id}"
    video = Video(video_id, f"Lecture {number} on the winter", "UC" + "c" * 22, "A channel", at, MINUTES * 60)
    video = dataclasses.replace(video, description=" ".join(chance.choices(words, k=60)), discovered_at=at)
    media = Media(
        video_id, f"archive/{video.channel_id}/{stem}.m4a", 19_000_000, sha256, "mp4", "aac", 44100, 1200.0, "140"
    )
    text = transcript(video, media, fingerprint_of, words, chance)
    key = document_key(stem)
    upload = Upload(video_id, PROJECT, key, sha256, sha256[:24], "ready", 40, text.fingerprint, at, at)
    stamp = stamps.next()
    yield "videos", rows.record_row(video, stamp)
    yield "media", rows.record_row(dataclasses.replace(media, downloaded_at=at), stamp)
    yield "uploads", rows.record_row(upload, stamp)
    for row in rows.transcript_rows(text, RUN, stamp):
        yield "transcripts", row
    for stage in (Stage.DOWNLOAD, Stage.TRANSCRIBE, Stage.UPLOAD):
        done = Outcome(RUN, video_id, video.title, stage, OutcomeState.DONE, seconds=chance.random(), at=at)
        yield "outcomes", rows.record_row(done, stamps.next())


def transcript(
    video: Video, media: Media, fingerprint_of: Callable[[str], str], words: list[str], chance: random.Random
) -> Transcript:
    count = int(MINUTES * 60 / LINE_S)
    lines = tuple(
        Segment(i, LINE_S * i, LINE_S * (i + 1), " ".join(chance.choices(words, k=WORDS_A_LINE)), *scores(chance))
        for i in range(count)
    )
    return Transcript(
        video_id=video.video_id,
        fingerprint=fingerprint_of(media.sha256),
        media_sha256=media.sha256,
        language="en",
        duration_s=media.duration_s,
        speech_s=media.duration_s,
        segments=lines,
        provenance=Provenance("whisper", "turbo", "", {"window_s": 30.0}, "cuda", "float16", 32),
        created_at=video.published_at,
        window_count=40,
    )


def scores(chance: random.Random) -> tuple[float, float, float]:
    return -chance.random(), chance.random(), 1 + chance.random()


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
