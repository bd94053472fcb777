"""Planning: what a sync of a source would take, before it runs: videos, hours, card, energy, money, disk, quota.

Between a listing and the ledger on one side and a person who decides on the other. Changes nothing. Every figure says
where it comes from; what was never measured is unknown and not guessed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from channelscribe.asr.model import resolve_model
from channelscribe.asr.registry import fingerprinter
from channelscribe.budget import quota_used
from channelscribe.core.clock import Clock
from channelscribe.core.errors import UsageError
from channelscribe.core.model import Availability, Video
from channelscribe.core.profile import TranscriptionProfile
from channelscribe.core.redact import redact
from channelscribe.discover import merge
from channelscribe.ledger import Plan, plan
from channelscribe.measured import Rate, bytes_per_second, joules, past_runs, speed
from channelscribe.store.archive import Archive
from channelscribe.youtube.config import YouTubeConfig
from channelscribe.youtube.listing import Listing, Selection, make_lister
from channelscribe.youtube.source import parse_source

DAILY_UNITS = 10_000  # what the YouTube Data API grants a project by default
ASSUMED_BYTES_PER_S = 16_000  # m4a of 128 kbit/s
_NO_RUN = ""
_SPEED = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)(?: ?- ?(\d{1,6}(?:\.\d{1,3})?))?", re.ASCII)
_NOT_NOW = {
    Availability.PRIVATE: "private",
    Availability.MEMBERS: "for members only",
    Availability.UPCOMING: "not yet published",
    Availability.LIVE_NOW: "live at the moment",
}


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure between two others, all None where nobody knows; `basis` says where it comes from or what is missing."""

    value: float | None
    low: float | None
    high: float | None
    basis: str

    def times(self, factor: float, basis: str = "") -> Estimate:
        low, value, high = (None if v is None else v * factor for v in (self.low, self.value, self.high))
        return Estimate(value, low, high, basis or self.basis)


@dataclass(frozen=True, slots=True)
class Skip:
    """A video that a sync would not finish, and why. `state`: parked (left alone) or doubtful (will probably fail)."""

    video_id: str
    title: str
    url: str
    state: str
    reason: str
    retry_after: datetime | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a sync of `source` would take. `audio_s` is of the videos to do whose length is known.

    `todo` leaves out the `skipped` ones; the hours of the card are of what must still be transcribed, the bytes of what
    must still be downloaded. `quota_used` is what runs of this archive recorded since midnight in Los Angeles.
    """

    source: str
    channel_title: str
    listed_by: str
    videos: int
    todo: int
    done: int
    audio_s: float
    unknown_length: int
    to_download: int
    to_transcribe: int
    card_h: Estimate
    energy_wh: Estimate
    cost: Estimate
    disk_bytes: Estimate
    free_bytes: int | None
    quota_listing: int
    quota_used: int
    quota_budget: int
    skipped: tuple[Skip, ...]
    notes: tuple[str, ...] = ()

    @property
    def fits(self) -> bool | None:
        """Whether the disk has room for the downloads; None where its free space has no meaning."""
        needed = self.disk_bytes.value
        return None if self.free_bytes is None or needed is None else needed <= self.free_bytes

    @property
    def sentence(self) -> str:
        parked = sum(skip.state == "parked" for skip in self.skipped)
        parts = [f"{self.videos} videos: {self.todo} to do", f"{self.done} already done", f"{parked} parked"]
        doubtful = len(self.skipped) - parked
        return ", ".join(parts + ([f"{doubtful} that will probably fail"] if doubtful else [])) + "."

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"sentence": self.sentence, "fits": self.fits}


@dataclass(frozen=True, slots=True)
class Odds:
    """What a person adds. `speed` (seconds of sound per second, "60" or "40-80") counts where no run was measured."""

    speed: str = ""
    price_per_kwh: float | None = None
    retry_parked: bool = False


def look_ahead(
    archive: Archive,
    youtube: YouTubeConfig,
    source: str,
    selection: Selection,
    profile: TranscriptionProfile,
    *,
    project_id: str | None,
    odds: Odds,
    clock: Clock,
) -> Forecast:
    """Lists the source as a sync would, without recording anything, and weighs it. Raises what a listing raises."""
    parsed = parse_source(source)
    parse_speed(odds.speed)
    listing = make_lister(youtube, clock).list(parsed, selection)
    return forecast(archive, listing, source, profile, project_id=project_id, now=clock.now(), odds=odds)


def forecast(
    archive: Archive,
    listing: Listing,
    source: str,
    profile: TranscriptionProfile,
    *,
    project_id: str | None,
    now: datetime,
    odds: Odds,
) -> Forecast:
    """Weighs the listing against the archive. `project_id` None: nothing would be uploaded.

    Raises UsageError for a speed that cannot be.
    """
    wished, known = parse_speed(odds.speed), archive.videos()
    videos = [merge(known.get(v.video_id), v) for v in listing.videos]
    work = plan(
        archive, videos, profile, project_id=project_id, run_id=_NO_RUN, now=now, retry_parked=odds.retry_parked
    )
    todo = [v for v in work.todo if v.availability not in _NOT_NOW]
    lengths, files, heard = _lengths(archive, todo), archive.media(), _heard(archive, todo, profile)
    download = [v for v in todo if v.video_id not in files or v.video_id in work.afresh]
    transcribe = [v for v in todo if v.video_id not in heard]
    runs = past_runs(archive, resolve_model(profile).name) if files else []
    energy_wh = _energy_wh(_sum(transcribe, lengths), joules(runs))
    return Forecast(
        source=redact(source),
        channel_title=listing.channel_title,
        listed_by=listing.listed_by,
        videos=len(videos),
        todo=len(todo),
        done=len(work.done),
        audio_s=_sum(todo, lengths),
        unknown_length=sum(v.video_id not in lengths for v in todo),
        to_download=len(download),
        to_transcribe=len(transcribe),
        card_h=_card_h(_sum(transcribe, lengths), speed(runs), wished),
        energy_wh=energy_wh,
        cost=_cost(energy_wh, odds.price_per_kwh),
        disk_bytes=_disk(_sum(download, lengths), bytes_per_second(archive)),
        free_bytes=archive.root.free_bytes(),
        quota_listing=listing.quota_units,
        quota_used=quota_used(archive.runs(), now),
        quota_budget=DAILY_UNITS if listing.quota_units else 0,
        skipped=_skipped(work),
        notes=listing.notes,
    )


def _skipped(work: Plan) -> tuple[Skip, ...]:
    parked = [_skip(p.video, "parked", p.outcome.reason, p.outcome.retry_after) for p in work.parked]
    doubtful = [v for v in work.todo if v.availability in _NOT_NOW]
    said = "It is {}, says the listing."
    return (*parked, *(_skip(v, "doubtful", said.format(_NOT_NOW[v.availability]), v.scheduled_at) for v in doubtful))


def parse_speed(text: str) -> tuple[float, float] | None:
    """ "60" or "40-80" as (slowest, fastest); None for an empty text."""
    if not text.strip():
        return None
    match = _SPEED.fullmatch(text.strip())
    low = float(match[1]) if match else 0.0
    high = float(match[2] or match[1]) if match else 0.0
    if not 0 < low <= high:
        raise UsageError(
            f"{text[:40]!r} is no speed; write seconds of sound per second, as 60 or 40-80.", code="bad_speed"
        )
    return low, high


def _lengths(archive: Archive, videos: Sequence[Video]) -> dict[str, float]:
    """Seconds by video id: of the file where there is one, else as listed."""
    files = archive.media()
    found = {v.video_id: files[v.video_id].duration_s if v.video_id in files else v.duration_s for v in videos}
    return {video_id: seconds for video_id, seconds in found.items() if seconds is not None}


def _heard(archive: Archive, videos: Sequence[Video], profile: TranscriptionProfile) -> set[str]:
    """Those whose transcript stands already."""
    files, whole = archive.media(), archive.transcribed()
    if not whole:
        return set()
    fingerprint_of = fingerprinter(profile)
    own = ((v.video_id, files[v.video_id].sha256) for v in videos if v.video_id in files)
    return {video_id for video_id, sha256 in own if (fingerprint_of(sha256), video_id) in whole}


def _sum(videos: Sequence[Video], lengths: dict[str, float]) -> float:
    return sum(lengths.get(v.video_id, 0.0) for v in videos)


def _card_h(audio_s: float, rate: Rate | None, wished: tuple[float, float] | None) -> Estimate:
    hours = audio_s / 3600
    if not audio_s:
        return Estimate(0.0, 0.0, 0.0, "nothing to transcribe, or no length is known")
    if rate is not None:
        return Estimate(hours / rate.typical, hours / rate.high, hours / rate.low, rate.basis)
    if wished is not None:
        low, high = wished
        return Estimate(hours / low if low == high else None, hours / high, hours / low, "from the speed that you gave")
    return Estimate(None, None, None, "no run of this model was measured here; give a speed for a range")


def _energy_wh(audio_s: float, rate: Rate | None) -> Estimate:
    if rate is None:
        return Estimate(None, None, None, "no run of this model on a card that tells its energy")
    return Estimate(rate.typical, rate.low, rate.high, rate.basis).times(audio_s / 3600)


def _cost(energy_wh: Estimate, price_per_kwh: float | None) -> Estimate:
    if price_per_kwh is None:
        return Estimate(None, None, None, "no price of a kWh is set")
    if energy_wh.value is None:
        return Estimate(None, None, None, "the energy is unknown")
    return energy_wh.times(price_per_kwh / 1000, f"at {price_per_kwh:g} a kWh, the card alone")


def _disk(audio_s: float, rate: Rate | None) -> Estimate:
    if rate is None:
        assumed = ASSUMED_BYTES_PER_S * audio_s
        return Estimate(assumed, assumed, assumed, "assumed: m4a of 128 kbit/s")
    return Estimate(rate.typical * audio_s, rate.low * audio_s, rate.high * audio_s, rate.basis)


def _skip(video: Video, state: str, reason: str, retry_after: datetime | None) -> Skip:
    return Skip(video.video_id, video.title, video.url, state, reason, retry_after)
