"""The three steps of one video as tasks. Results are small texts; the work and its proof are in the archive."""

from __future__ import annotations

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from channelscribe import fetch, publish
from channelscribe import transcribe as transcription
from channelscribe.core.model import Media, OutcomeState, Stage, Transcript, Video
from tasks.retrying import BY_FINGERPRINT, DELAYS_S, JITTER, RETRIES, worth_another_try
from tasks.scope import RunScope, scope

_RETRYING: dict[str, Any] = {
    "retries": RETRIES,
    "retry_delay_seconds": DELAYS_S,
    "retry_jitter_factor": JITTER,
    "retry_condition_fn": worth_another_try,
    "persist_result": True,
    "result_serializer": "json",
}


def _result(data: str, fresh: bool) -> str:
    """`data` as the task's result; its state is named "Skipped" when there was nothing to do."""
    skipped: Any = Completed(name="Skipped", message="The archive already holds it.", data=data)
    return data if fresh else skipped


def value(result: str | State[str]) -> str:
    """The text of a step, which comes as a state when the step was skipped."""
    return str(result.result()) if isinstance(result, State) else result


@task(task_run_name="download: {title}", cache_policy=NO_CACHE, tags=["stage:download"], **_RETRYING)
def download(video_id: str, title: str) -> str:
    """Makes sure that the media file stands in the archive; returns its sha256."""
    s = scope()
    video = known_video(s, video_id, title)
    with s.attempts.attempt(video, Stage.DOWNLOAD) as note:
        media, fresh = fetch.fetch(
            s.downloader,
            s.archive,
            video,
            s.audio_format,
            again=_still_bad(s, video_id),
            clock=s.clock,
            cancelled=s.control.stopped,
        )
        s.afresh.pop(video_id, None)
        note.state = OutcomeState.DONE if fresh else OutcomeState.SKIPPED
    return _result(media.sha256, fresh)


@task(task_run_name="transcribe: {title}", cache_policy=BY_FINGERPRINT, tags=["stage:transcribe"], **_RETRYING)
def transcribe(video_id: str, title: str, fingerprint: str) -> str:
    """Makes sure that the transcript with this fingerprint stands in the archive; returns the fingerprint."""
    s = scope()
    video = known_video(s, video_id, title)
    with s.attempts.attempt(video, Stage.TRANSCRIBE) as note:
        media = known_media(s, video_id)
        made, fresh = transcription.transcribe(
            s.engine, s.archive, video, media, fingerprint, run_id=s.run_id, clock=s.clock, cancelled=s.control.stopped
        )
        note.state = OutcomeState.DONE if fresh else OutcomeState.SKIPPED
        note.engine, note.audio_s = made.provenance.engine, media.duration_s if fresh else 0.0
    return _result(fingerprint, fresh)


@task(task_run_name="upload: {title}", cache_policy=NO_CACHE, tags=["stage:upload"], **_RETRYING)
def upload(video_id: str, title: str, fingerprint: str) -> str:
    """Makes sure that the knowledge base holds the transcript, verified; returns the key of the document."""
    s = scope()
    assert s.odin is not None, "a run without a knowledge base has no upload step"
    video = known_video(s, video_id, title)
    with s.uploads, s.attempts.attempt(video, Stage.UPLOAD) as note:
        media, transcript = known_media(s, video_id), known_transcript(s, fingerprint, video_id)
        document, sent = publish.publish(s.odin, s.archive, video, media, transcript, clock=s.clock)
        note.state = OutcomeState.DONE if sent else OutcomeState.SKIPPED
    return _result(document.key, sent)


def _still_bad(s: RunScope, video_id: str) -> bool:
    """True while the media that could not be decoded stands; another run may have fetched other media meanwhile."""
    media = s.archive.media_of(video_id) if video_id in s.afresh else None
    return media is not None and media.downloaded_at == s.afresh[video_id]


def known_video(s: RunScope, video_id: str, title: str) -> Video:
    """The video as the archive knows it."""
    return s.archive.video(video_id) or Video(video_id, title)


def known_media(s: RunScope, video_id: str) -> Media:
    media = s.archive.media_of(video_id)
    assert media is not None, f"{video_id} has no row in media/ although its download succeeded"
    return media


def known_transcript(s: RunScope, fingerprint: str, video_id: str) -> Transcript:
    transcript = s.archive.transcript(fingerprint, video_id)
    assert transcript is not None, f"transcript {fingerprint[:12]} is not whole although its step succeeded"
    return transcript
