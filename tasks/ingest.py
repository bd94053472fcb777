"""One video from listing to knowledge base: one wrapper task whose steps keep what they finished."""

from __future__ import annotations

from functools import partial

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.transactions import CommitMode, transaction

from channelscribe.asr.registry import expected_fingerprint
from tasks.alarms import telling
from tasks.patience import patiently
from tasks.scope import scope
from tasks.steps import download, transcribe, upload, value


@task(task_run_name="{title}", cache_policy=NO_CACHE, persist_result=True, result_serializer="json")
def ingest_video(video_id: str, title: str) -> str:
    """Runs the steps of one video in order; returns its transcript's fingerprint.

    The transaction is EAGER: without it the steps would join this task's lazy transaction, and a failing upload
    would roll a finished transcription back (research/prefect.md, trap 2). The claim keeps a second run on the same
    archive, on whichever machine, from doing the same video at the same time; it then finds everything done.
    """
    s = scope()
    s.control.check()
    call = partial(patiently, control=s.control, clock=s.clock)
    held = s.archive.claims.hold(f"video-{video_id}", s.control.check)
    with telling(s.run_id, video_id), held as claim, transaction(commit_mode=CommitMode.EAGER):
        sha256 = value(call(lambda: download(video_id, title)))
        fingerprint: str = expected_fingerprint(s.profile, sha256)
        claim.check()
        lost = not s.archive.has_transcript(fingerprint, video_id)
        step = transcribe.with_options(refresh_cache=lost)
        call(lambda: step(video_id, title, fingerprint))
        if s.odin is not None:
            claim.check()
            call(lambda: upload(video_id, title, fingerprint))
        return fingerprint
