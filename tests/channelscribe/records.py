"""Records that tests of several rooms need: one video with everything that follows from it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from channelscribe.core.model import Media, Outcome, OutcomeState, Provenance, Segment, Stage, Transcript, Upload, Video

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
VIDEO_ID = "aB3_-xYz019"


def a_video(video_id: str = VIDEO_ID, title: str = "The raven | and [the] moon", **changes: object) -> Video:
    values: dict[str, object] = {"channel_id": "UC" + "x" * 22, "channel_title": "Old Songs", "duration_s": 60.0}
    return Video(video_id, title, **{**values, **changes})  # type: ignore[arg-type]


def a_media(video_id: str = VIDEO_ID, sha256: str = "ab" * 32) -> Media:
    path = f"archive/UC/2026-11-01_The_raven_{video_id}.m4a"
    return Media(video_id, path, 1000, sha256, "mp4", "aac", 44100, 60.0, "140", "en", NOON, "yt-dlp")


def a_transcript(fingerprint: str, video_id: str = VIDEO_ID, segments: int = 3) -> Transcript:
    made = tuple(
        Segment(i, i * 2.0, i * 2.0 + 1.5, f"The raven counts {i} stars.", -0.2, 0.01, 1.1) for i in range(segments)
    )
    how = Provenance("whisper", "model", "rev", {"window_s": 30.0}, "cpu", "float32", 16, {"torch": "2"})
    return Transcript(video_id, fingerprint, "ab" * 32, "en", 60.0, segments * 1.5, made, how, NOON, 1, 2.0)


def an_upload(fingerprint: str, key: str, project_id: str = "p", video_id: str = VIDEO_ID) -> Upload:
    return Upload(video_id, project_id, key, "cd" * 32, "doc", "synced", 3, fingerprint, NOON, NOON)


def an_outcome(
    state: OutcomeState,
    failure_class: str = "",
    *,
    run_id: str = "run-1",
    stage: Stage = Stage.DOWNLOAD,
    minutes: float = 0,
    video_id: str = VIDEO_ID,
    retry_after: datetime | None = None,
) -> Outcome:
    reason = f"It is {failure_class}." if failure_class else ""
    at = NOON + timedelta(minutes=minutes)
    return Outcome(
        run_id,
        video_id,
        "The raven",
        stage,
        state,
        1,
        failure_class,
        failure_class,
        reason,
        1.0,
        0.0,
        "",
        None,
        retry_after,
        at,
    )
