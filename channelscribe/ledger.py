"""Ledger: which videos of a listing still need work, from Parquet alone. What is done is what the store says.

Every run plans by it; the same rules say which failures `failed` leaves alone and what letting go of one means.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile

from channelscribe.asr.registry import fingerprinter
from channelscribe.core.errors import FailureClass
from channelscribe.core.model import Media, Outcome, OutcomeState, Stage, Video
from channelscribe.core.profile import TranscriptionProfile
from channelscribe.odin.publish import document_key
from channelscribe.store.archive import Archive

QUARANTINE_AFTER = 2
NEVER_BY_ITSELF = frozenset({FailureClass.PERMANENT, FailureClass.NEEDS_ACCESS, FailureClass.GEO})
# What a verification of the archive says of a video that was finished; its steps run again, the first one afresh.
DAMAGED_MEDIA = frozenset({"archive_media_missing", "archive_media_damaged"})
DAMAGED = DAMAGED_MEDIA | {"archive_transcript_lost", "archive_document_missing", "archive_document_differs"}


@dataclass(frozen=True)
class Parked:
    """A video that is left alone, with the outcome that says why."""

    video: Video
    outcome: Outcome


@dataclass(frozen=True)
class Plan:
    """What a run will do. `afresh` are videos whose media could not be decoded and must be downloaded again, with the
    time at which the bad media were; other media, which somebody may have fetched since, are taken as they are."""

    todo: tuple[Video, ...]
    done: tuple[Video, ...]
    parked: tuple[Parked, ...]
    afresh: Mapping[str, datetime | None]


def plan(
    archive: Archive,
    videos: Iterable[Video],
    profile: TranscriptionProfile,
    *,
    project_id: str | None,
    run_id: str,
    now: datetime,
    retry_parked: bool = False,
) -> Plan:
    """Splits `videos` into what is to do, done and parked. `project_id` None means that nothing is uploaded.

    A failure that this same run recorded never parks: pressing Retry asks for exactly those videos again.
    """
    media = archive.media()  # first: what another run mends from here on is no longer what failed
    finished = _finished(archive, media, profile, project_id)
    history = histories(archive.outcomes())
    todo, done, parked, afresh = [], [], [], {}
    for video in videos:
        past = history.get(video.video_id, [])
        harm = damage(past)
        if video.video_id in finished and not harm:
            done.append(video)
        elif not retry_parked and (reason := parks(past, run_id, now)):
            parked.append(Parked(video, reason))
        else:
            todo.append(video)
            tries = attempts(past)
            if harm & DAMAGED_MEDIA or (tries and tries[-1].failure_class == FailureClass.POISONED):
                bad = media.get(video.video_id)
                if bad is None or not _is_newer(bad, tries[-1]):
                    afresh[video.video_id] = bad.downloaded_at if bad else None
    return Plan(tuple(todo), tuple(done), tuple(parked), afresh)


def _is_newer(media: Media, failure: Outcome) -> bool:
    """Whether they were fetched after the failure, by a run whose own outcomes may not stand in the table yet."""
    return media.downloaded_at is not None and failure.at is not None and media.downloaded_at > failure.at


def _finished(
    archive: Archive, media: Mapping[str, Media], profile: TranscriptionProfile, project_id: str | None
) -> set[str]:
    if not media:
        return set()
    transcribed = archive.transcribed()
    uploads = archive.uploads() if project_id is not None else {}
    finished, fingerprint_of = set(), fingerprinter(profile)
    for video_id, item in media.items():
        fingerprint = fingerprint_of(item.sha256)
        sent = uploads.get((project_id, document_key(item.stem))) if project_id is not None else None
        uploaded = project_id is None or (sent and sent.fingerprint == fingerprint)
        if uploaded and (fingerprint, video_id) in transcribed:
            finished.add(video_id)
    return finished


def release(archive: Archive, failures: Iterable[Outcome], run_id: str, now: datetime) -> int:
    """Lets videos out of quarantine for good: what was counted before is forgotten. Returns how many.

    Recorded in `outcomes/` under the step that had failed, so that everybody can see when it was and in which run.
    """
    released = 0
    for failure in failures:
        archive.put_outcome(
            Outcome(
                run_id,
                failure.video_id,
                failure.title,
                failure.stage,
                OutcomeState.RELEASED,
                attempt=0,
                reason="Let out of quarantine.",
                at=now,
            )
        )
        released += 1
    archive.flush()
    return released


def histories(outcomes: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    """The attempts and releases of every video, in the order in which they happened."""
    history: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.stage is not Stage.DISCOVER and outcome.at is not None:
            history[outcome.video_id].append(outcome)
    for past in history.values():
        past.sort(key=lambda o: (o.at, o.attempt))
    return history


def attempts(past: Sequence[Outcome]) -> list[Outcome]:
    """What was tried, without the releases in between."""
    return [o for o in past if o.state is not OutcomeState.RELEASED]


def damage(past: Sequence[Outcome]) -> set[str]:
    """What a verification found and nothing has mended since."""
    standing = takewhile(lambda o: o.state is OutcomeState.FAILED and o.code in DAMAGED, reversed(past))
    return {outcome.code for outcome in standing}


def counted(past: Sequence[Outcome]) -> list[Outcome]:
    """The attempts since the last release."""
    released = [i for i, o in enumerate(past) if o.state is OutcomeState.RELEASED]
    return list(past[released[-1] + 1 :] if released else past)


def parks(past: Sequence[Outcome], run_id: str, now: datetime) -> Outcome | None:
    """The outcome for which a run leaves the video alone, if there is one."""
    past = counted(past)
    last = past[-1] if past else None
    if last is None or last.state is not OutcomeState.FAILED or last.run_id == run_id:
        return None
    if last.failure_class == FailureClass.POISONED:
        poisoned = sum(o.failure_class == FailureClass.POISONED for o in past)
        return last if poisoned >= QUARANTINE_AFTER else None
    if last.failure_class in NEVER_BY_ITSELF:
        return last
    waiting = last.failure_class == FailureClass.NOT_READY and last.retry_after is not None and last.retry_after > now
    return last if waiting else None
