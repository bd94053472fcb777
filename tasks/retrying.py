"""Which failures a task tries again by itself, and what a finished transcription is cached under."""

from __future__ import annotations

from typing import Any

from prefect import Task
from prefect.cache_policies import CacheKeyFnPolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext

from channelscribe.core.errors import ChannelscribeError, Decision
from tasks.scope import scope

# The downloader and the ODIN client already try a few times within seconds; these are the patient tries above them.
RETRIES = 2
DELAYS_S = [5.0, 30.0]
JITTER = 0.5
_AGAIN = {Decision.NOW, Decision.PAUSE_LANE}  # a paused lane makes the next try wait at its door


def worth_another_try(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """True for failures whose class says so, while the run itself goes on."""
    failure = state.result(raise_on_failure=False)
    again = isinstance(failure, ChannelscribeError) and failure.decision in _AGAIN
    return again and not scope().control.stopped()


def _by_fingerprint(_context: TaskRunContext, parameters: dict[str, Any]) -> str:
    return f"transcript-{parameters['fingerprint']}-{parameters['video_id']}"  # each video has files of its own


BY_FINGERPRINT = CacheKeyFnPolicy(cache_key_fn=_by_fingerprint)
