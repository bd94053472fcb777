"""One measured run, in a process of its own: a channel's videos with Prefect around their steps, or without.

Under `orchestration`, which starts `python -m benchmarks.orchestrated JSON` and reads one JSON object.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from contextvars import copy_context
from dataclasses import dataclass
from datetime import UTC, datetime

from blocks.odin import OdinCredentials
from blocks.transcription import TranscriptionSettings
from blocks.youtube import YouTubeKeys
from channelscribe import discover, fetch, publish
from channelscribe import transcribe as transcription
from channelscribe.asr.registry import expected_fingerprint
from channelscribe.core.model import Media, Provenance, Segment, Stage, Transcript, Video
from channelscribe.core.names import file_stem
from channelscribe.core.settings import complete_network_environment
from channelscribe.store.root import DataRoot
from channelscribe.youtube.listing import Selection
from flows.sync_channel import sync_channel
from tasks.scope import RunScope, open_scope

SOUND = b"sound"
LINES = 3


@dataclass(frozen=True)
class Asked:
    """`plain`: the steps alone. `known`: media and transcripts stand in the archive, only the upload is work."""

    source: str
    data: str
    plain: bool
    known: bool


def main() -> None:
    asked = Asked(**json.loads(sys.argv[1]))
    complete_network_environment()
    run = with_steps_alone(asked) if asked.plain else with_prefect(asked)
    began_s, began_cpu_s = time.monotonic(), cpu_s()
    videos = run()
    found = {"videos": videos, "wall_s": time.monotonic() - began_s, "cpu_s": cpu_s() - began_cpu_s}
    sys.stdout.write(json.dumps(found) + "\n")


def with_prefect(asked: Asked) -> Callable[[], int]:
    """The flow as a notebook calls it, listing included."""
    if asked.known:
        with opened(asked) as s:
            prepare(s, asked.source)

    def run() -> int:
        state = sync_channel(asked.source, data=asked.data, return_state=True)
        assert state.is_completed(), state.message
        return int(str(state.message).split()[0].replace(",", ""))

    return run


def with_steps_alone(asked: Asked) -> Callable[[], int]:
    """Listing and the three steps of every video as library calls, as many videos at once as the flow takes."""
    if asked.known:
        with opened(asked) as s:
            prepare(s, asked.source)

    def run() -> int:
        with opened(asked) as s:
            videos = listed(s, asked.source)
            with ThreadPoolExecutor(s.profile.videos_in_flight) as pool:
                waiting = [pool.submit(copy_context().run, steps, s, video) for video in videos]
            return sum(future.result() for future in waiting)

    return run


def opened(asked: Asked) -> AbstractContextManager[RunScope]:
    return open_scope(
        run_id="plain",
        root=DataRoot.open(asked.data),
        youtube=YouTubeKeys.resolve().config(),
        profile=TranscriptionSettings.resolve().profile(),
        odin=OdinCredentials.resolve().client(),
    )


def listed(s: RunScope, source: str) -> tuple[Video, ...]:
    return discover.discover(s.lister, s.archive, source, Selection()).videos


def steps(s: RunScope, video: Video) -> int:
    with s.attempts.attempt(video, Stage.DOWNLOAD):
        media, _ = fetch.fetch(s.downloader, s.archive, video, s.audio_format)
    with s.attempts.attempt(video, Stage.TRANSCRIBE):
        fingerprint = expected_fingerprint(s.profile, media.sha256)
        made, _ = transcription.transcribe(s.engine, s.archive, video, media, fingerprint, run_id=s.run_id)
    with s.uploads, s.attempts.attempt(video, Stage.UPLOAD):
        assert s.odin is not None
        publish.publish(s.odin, s.archive, video, media, made)
    return 1


def prepare(s: RunScope, source: str) -> None:
    """Media and a transcript for every video, as an earlier run without upload would have left them."""
    for video in listed(s, source):
        stem = file_stem(video.published_at.date() if video.published_at else None, video.title, video.video_id)
        path, sha256 = f"archive/{video.channel_id}/{stem}.m4a", hashlib.sha256(video.video_id.encode()).hexdigest()
        media = Media(video.video_id, path, len(SOUND), sha256, "mp4", "aac", 44100, video.duration_s or 6.0, "140")
        s.archive.root.write_bytes(path, SOUND)
        s.archive.put_media(media)
        s.archive.put_transcript(transcript(s, video, media), "earlier")


def transcript(s: RunScope, video: Video, media: Media) -> Transcript:
    lines = tuple(Segment(i, 2.0 * i, 2.0 * i + 2, f"Line {i} of {video.title}.", -0.2, 0.1, 1.2) for i in range(LINES))
    return Transcript(
        video_id=video.video_id,
        fingerprint=expected_fingerprint(s.profile, media.sha256),
        media_sha256=media.sha256,
        language="en",
        duration_s=media.duration_s,
        speech_s=2.0 * LINES,
        segments=lines,
        provenance=Provenance("whisper", s.profile.model, ""),
        created_at=datetime(2026, 11, 1, tzinfo=UTC),
        window_count=1,
    )


def cpu_s() -> float:
    """Of this process and its ended children (decoders)."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(u.ru_utime + u.ru_stime for u in used)


if __name__ == "__main__":
    main()
