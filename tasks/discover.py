"""Discovery as a task. Its list is frozen for the run, so that a Retry works on the videos that the run began with."""

from __future__ import annotations

from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import INPUTS, RUN_ID

from channelscribe import discover as library
from channelscribe.core.model import Stage, Video
from channelscribe.youtube.listing import Selection
from tasks.retrying import DELAYS_S, JITTER, RETRIES, worth_another_try
from tasks.scope import scope


@task(
    task_run_name="discover {source}",
    cache_policy=INPUTS + RUN_ID,
    persist_result=True,
    result_serializer="json",
    retries=RETRIES,
    retry_delay_seconds=DELAYS_S,
    retry_jitter_factor=JITTER,
    retry_condition_fn=worth_another_try,
    tags=["stage:discover"],
)
def discover(source: str, selection: Selection) -> dict[str, Any]:
    """Lists the source into `videos/` and returns ids, titles of the channel, notes and quota as small JSON."""
    s = scope()
    with s.attempts.attempt(Video("", source), Stage.DISCOVER):
        listing = library.discover(s.lister, s.archive, source, selection, clock=s.clock)
    get_run_logger().info("%d videos listed by %s", len(listing.videos), listing.listed_by)
    return {
        "channel_title": listing.channel_title,
        "video_ids": [v.video_id for v in listing.videos],
        "notes": list(listing.notes),
        "quota_units": listing.quota_units,
        "listed_by": listing.listed_by,
    }
