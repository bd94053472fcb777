"""Failed: which of the archive's failed videos a person wants tried again, and which are left alone and why.

Before `retry_failed`, from Parquet alone: nothing is asked of YouTube, nothing is written. "Failed" is what
`channelscribe status --failed` shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum

from channelscribe.core.errors import FailureClass, UsageError
from channelscribe.core.model import Outcome, OutcomeState, Run, Stage, Video
from channelscribe.ledger import NEVER_BY_ITSELF, counted, histories, parks
from channelscribe.store.archive import Archive
from channelscribe.store.status import video_status
from channelscribe.youtube.source import parse_source

_NO_RUN = ""  # as if by a run that has not begun
_SHOWN_CHANNELS = 8


class Which(StrEnum):
    """How far to go; each goes further than the one before."""

    SYNC = "what a sync would try again"
    ACCESS = "also what needed other access"
    ALL = "everything that failed"


@dataclass(frozen=True, slots=True)
class Wish:
    """Which failed videos; an empty field is no restriction.

    `failure_classes` and `videos` also ask for what is given up, quarantined or waiting; `release` asks for what is in
    quarantine. `since_days` and `since` are about the last failure, `most_attempts` about the failed attempts of its
    step since the last release.
    """

    which: Which = Which.SYNC
    stage: Stage | None = None
    failure_classes: tuple[FailureClass, ...] = ()
    since_days: int | None = None
    since: date | None = None
    channels: tuple[str, ...] = ()
    videos: tuple[str, ...] = ()
    most_attempts: int = 0
    release: bool = False

    def begin(self, now: datetime) -> datetime | None:
        """The first moment of failure that counts."""
        if self.since is not None:
            return datetime.combine(self.since, time(), UTC)
        return None if self.since_days is None else now - timedelta(days=self.since_days)


@dataclass(frozen=True, slots=True)
class FailedVideo:
    """A video whose last failure stands. `parked`: a sync leaves it alone because of it."""

    video: Video
    outcome: Outcome
    attempts: int
    parked: bool

    @property
    def failure_class(self) -> FailureClass:
        known = self.outcome.failure_class in set(FailureClass)
        return FailureClass(self.outcome.failure_class) if known else FailureClass.BUG

    @property
    def quarantined(self) -> bool:
        return self.parked and self.failure_class is FailureClass.POISONED

    @property
    def standing(self) -> str:
        """Why a sync would leave it alone, in two words; "" when it would not."""
        if not self.parked:
            return ""
        if self.failure_class in NEVER_BY_ITSELF:
            return "given up"
        return "in quarantine" if self.quarantined else "not yet due"


@dataclass(frozen=True, slots=True)
class Choice:
    """`chosen` are tried again; `held` fit the wish and are left alone until somebody asks; `others` fit it not."""

    chosen: tuple[FailedVideo, ...]
    held: tuple[FailedVideo, ...] = ()
    others: int = 0

    @property
    def sentence(self) -> str:
        failed = len(self.chosen) + len(self.held) + self.others
        if not failed:
            return "No video of this archive stands as failed."
        kinds = Counter(f.outcome.failure_class for f in self.chosen)
        named = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
        said = f"{len(self.chosen)} of {failed} failed videos chosen" + (f": {named}." if named else ".")
        held = Counter(f.standing for f in self.held)
        left = ", ".join(f"{n} {standing}" for standing, n in sorted(held.items()))
        return f"{said} Left alone: {left}; ask for them by their kind of failure, or for everything." if left else said


def choose(archive: Archive, wish: Wish, now: datetime) -> Choice:
    """Splits what failed by the wish, newest failure first. Raises UsageError for a channel the archive knows not."""
    failed = sorted(_failed(archive, now), key=lambda f: f.outcome.at or now, reverse=True)
    own = _of_channels(archive, wish.channels)
    fits = [f for f in failed if _fits(f, wish, now) and (own is None or f.video.video_id in own)]
    chosen = tuple(f for f in fits if _asked(f, wish))
    held = tuple(f for f in fits if not _asked(f, wish))
    return Choice(chosen, held, len(failed) - len(fits))


def rows(choice: Choice) -> list[dict[str, str]]:
    """A row for every video that fits the wish, the chosen ones first, as tables show them."""
    return [_row(f, "try again") for f in choice.chosen] + [_row(f, f"leave alone: {f.standing}") for f in choice.held]


def _row(f: FailedVideo, what: str) -> dict[str, str]:
    o = f.outcome
    return {
        "video": f.video.title,
        "reason": o.reason,
        "then": what,
        "step": str(o.stage),
        "class": o.failure_class,
        "attempts": str(f.attempts),
        "failed at": o.at.isoformat(sep=" ", timespec="minutes") if o.at else "",
        "channel": f.video.channel_title,
        "link": f.video.url,
    }


def _failed(archive: Archive, now: datetime) -> Iterable[FailedVideo]:
    known, past = archive.videos(), histories(archive.outcomes())
    for status in video_status(archive, failed_only=True):
        own = past.get(status.video_id, [])
        last = next((o for o in reversed(own) if o.state is OutcomeState.FAILED), None)
        if last is None:
            continue
        tries = [o for o in counted(own) if o.state is OutcomeState.FAILED and o.stage is last.stage]
        video = known.get(status.video_id) or Video(status.video_id, status.title or status.video_id)
        yield FailedVideo(video, last, len(tries), parks(own, _NO_RUN, now) is not None)


def _fits(f: FailedVideo, wish: Wish, now: datetime) -> bool:
    begin = wish.begin(now)
    return (
        (wish.stage is None or f.outcome.stage is wish.stage)
        and (not wish.failure_classes or f.failure_class in wish.failure_classes)
        and (begin is None or (f.outcome.at is not None and f.outcome.at >= begin))
        and (not wish.videos or f.video.video_id in wish.videos)
        and (not wish.most_attempts or f.attempts <= wish.most_attempts)
    )


def _asked(f: FailedVideo, wish: Wish) -> bool:
    """What a sync leaves alone has to be asked for."""
    if not f.parked or wish.failure_classes or wish.videos or wish.which is Which.ALL:
        return True
    if wish.which is Which.ACCESS and f.failure_class in (FailureClass.NEEDS_ACCESS, FailureClass.GEO):
        return True
    return wish.release and f.quarantined


def _of_channels(archive: Archive, wanted: Sequence[str]) -> set[str] | None:
    """Ids of the videos of these channels, by id, by title, or by what an earlier run was given as its source."""
    if not wanted:
        return None
    videos, runs, outcomes = list(archive.videos().values()), archive.runs(), archive.outcomes()
    tried: dict[str, set[str]] = {}
    for outcome in outcomes:
        tried.setdefault(outcome.run_id, set()).add(outcome.video_id)
    found: set[str] = set()
    for text in wanted:
        own = _by_name(text, videos) or _by_source(text, runs, tried)
        if not own:
            raise UsageError(_no_such_channel(text, videos), code="no_such_channel")
        found |= own
    return found


def _by_name(text: str, videos: Sequence[Video]) -> set[str]:
    name = text.strip().casefold()
    value = _source(text)
    return {
        v.video_id for v in videos if (value and v.channel_id == value) or (name and v.channel_title.casefold() == name)
    }


def _by_source(text: str, runs: Sequence[Run], tried: Mapping[str, set[str]]) -> set[str]:
    wanted = _source(text)
    own = [run.run_id for run in runs if wanted and _source(run.source) == wanted]
    return set().union(*(tried.get(run_id, set()) for run_id in own)) - {""}


def _source(text: str) -> str:
    try:
        return parse_source(text).value
    except UsageError:
        return ""


def _no_such_channel(text: str, videos: Sequence[Video]) -> str:
    names = sorted({v.channel_title for v in videos if v.channel_title})
    known = ", ".join(names[:_SHOWN_CHANNELS]) + (" and others" if len(names) > _SHOWN_CHANNELS else "")
    there = f"it has {known}" if known else "it has none yet"
    return (
        f"This archive knows no channel {text[:100]!r}; {there}. Give a title, an id (UC...) or what a sync was given."
    )
