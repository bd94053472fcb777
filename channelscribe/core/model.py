"""The frozen records that cross a border between two rooms of the house.

Every step of the flow takes one of these and gives the next: Video, Media, Transcript, Upload; an Outcome says how
an attempt of a step ended. Times inside a file are seconds from its start; moments are timezone-aware UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class VideoKind(StrEnum):
    UPLOAD = "upload"
    SHORT = "short"
    LIVE = "live"
    PREMIERE = "premiere"


class Availability(StrEnum):
    """What discovery could tell about access; `UNKNOWN` when a listing does not say."""

    PUBLIC = "public"
    UNLISTED = "unlisted"
    MEMBERS = "members"
    PRIVATE = "private"
    UPCOMING = "upcoming"
    LIVE_NOW = "live_now"
    UNKNOWN = "unknown"


class Stage(StrEnum):
    DISCOVER = "discover"
    DOWNLOAD = "download"
    TRANSCRIBE = "transcribe"
    UPLOAD = "upload"


class OutcomeState(StrEnum):
    """How an attempt ended. `RELEASED` is no attempt: a person let a video out of quarantine and counting restarts."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Video:
    """A video as discovered. `published_at`, `duration_s` and `language` are None where the listing does not say."""

    video_id: str
    title: str
    channel_id: str = ""
    channel_title: str = ""
    published_at: datetime | None = None
    duration_s: float | None = None
    kind: VideoKind = VideoKind.UPLOAD
    language: str | None = None
    availability: Availability = Availability.UNKNOWN
    description: str = ""
    thumbnail_url: str = ""
    scheduled_at: datetime | None = None
    discovered_at: datetime | None = None
    discovered_by: str = ""

    @property
    def url(self) -> str:
        return f"https://www.youtube.com/watch?v={self.video_id}"


@dataclass(frozen=True, slots=True)
class Media:
    """A downloaded file. `path` is relative to the data root, with forward slashes; `stem` is the shared name."""

    video_id: str
    path: str
    bytes: int
    sha256: str
    container: str
    codec: str
    sample_rate_hz: int
    duration_s: float
    source_format: str
    language: str | None = None
    downloaded_at: datetime | None = None
    downloaded_by: str = ""

    @property
    def stem(self) -> str:
        return self.path.rsplit("/", 1)[-1].rsplit(".", 1)[0]

    @property
    def folder(self) -> str:
        return self.path.rsplit("/", 1)[0]


@dataclass(frozen=True, slots=True)
class Word:
    word: str
    start_s: float
    end_s: float
    probability: float


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of speech with one text, in file time. The three scores are Whisper's (Radford et al. 2022, 4.5)."""

    index: int
    start_s: float
    end_s: float
    text: str
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    speaker: str | None = None
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a transcript was made. None of `device`, `dtype`, `batch_size` may change the text (DESIGN section 2)."""

    engine: str
    model: str
    model_revision: str
    parameters: dict[str, Any] = field(default_factory=dict)
    device: str = ""
    dtype: str = ""
    batch_size: int = 0
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Transcript:
    """The text of one media file. No segments means proven silence: the speech detector found `speech_s` == 0."""

    video_id: str
    fingerprint: str
    media_sha256: str
    language: str
    duration_s: float
    speech_s: float
    segments: tuple[Segment, ...]
    provenance: Provenance
    created_at: datetime | None = None
    window_count: int = 0
    wall_s: float = 0.0

    @property
    def text(self) -> str:
        return " ".join(s.text.strip() for s in self.segments if s.text.strip())


@dataclass(frozen=True, slots=True)
class Upload:
    """A document in the knowledge base. `key` is its file name there; `chunks` is None where unverifiable."""

    video_id: str
    project_id: str
    key: str
    content_sha256: str
    document_key: str
    status: str
    chunks: int | None
    fingerprint: str
    sent_at: datetime | None = None
    verified_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """One attempt of one stage on one video in one run.

    `paused_s`: of its `seconds`, those for which the guard held the card; `pause_cause`: the longest of the causes.
    """

    run_id: str
    video_id: str
    title: str
    stage: Stage
    state: OutcomeState
    attempt: int = 1
    failure_class: str = ""
    code: str = ""
    reason: str = ""
    seconds: float = 0.0
    audio_s: float = 0.0
    engine: str = ""
    cost_usd: float | None = None
    retry_after: datetime | None = None
    at: datetime | None = None
    paused_s: float = 0.0
    pause_cause: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One flow run, as accounted. GPU figures are None where no guard measured them.

    `guard` is the policy under which the run worked, with its ceilings; None where there was no guard.
    """

    run_id: str
    name: str
    source: str
    state: str
    parameters: dict[str, Any]
    versions: dict[str, str]
    started_at: datetime
    ended_at: datetime | None = None
    videos: int = 0
    skipped: int = 0
    done: int = 0
    failed: int = 0
    words: int = 0
    audio_s: float = 0.0
    wall_s: float = 0.0
    quota_units: int = 0
    gpu_busy_share: float | None = None
    energy_j: float | None = None
    cost_usd: float | None = None
    peak_memory_bytes: int | None = None
    throttled_s: float | None = None
    paused_s: float | None = None
    slowed_s: float | None = None
    pauses: int | None = None
    peak_temp_c: float | None = None
    audio_s_per_joule: float | None = None
    guard: dict[str, Any] | None = None
