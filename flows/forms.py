"""The forms of the flows in the Prefect UI. Every field has a value that means "nothing special"."""

from __future__ import annotations

import re
from datetime import date
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from channelscribe.core.errors import FailureClass, UsageError
from channelscribe.core.model import Stage
from channelscribe.failed import Which, Wish
from channelscribe.planning import parse_speed
from channelscribe.youtube.listing import Selection
from channelscribe.youtube.source import SourceKind, parse_source

_DATE = r"^$|^\d{4}-\d{2}-\d{2}$"
_DAYS = re.compile(r"(\d{1,5}) ?(?:d|days?)?", re.ASCII | re.IGNORECASE)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class SelectionForm(BaseModel):
    """Which videos of the source. Without any restriction: all of them."""

    model_config = ConfigDict(extra="forbid")

    since: str = Field(
        default="",
        title="Published since",
        description="Day as YYYY-MM-DD (UTC); empty: no limit.",
        json_schema_extra={"pattern": _DATE},  # for the dashboard, which refuses before the run is made
    )
    until: str = Field(
        default="",
        title="Published until",
        description="Day as YYYY-MM-DD (UTC), itself included; empty: no limit.",
        json_schema_extra={"pattern": _DATE},
    )
    latest: int = Field(default=0, ge=0, title="Latest N videos", description="Only the newest N; 0: all.")

    @field_validator("since", "until")
    @classmethod
    def _written_as_a_day(cls, text: str) -> str:
        if text and not _DAY.fullmatch(text):
            raise ValueError(f"Write a day as YYYY-MM-DD (2026-01-31) or nothing, not {text[:40]!r}.")
        return text

    def selection(self) -> Selection:
        """Raises UsageError for dates that do not exist or are the wrong way round."""
        return Selection(since=_day(self.since), until=_day(self.until), latest=self.latest or None)


class TranscriptionForm(BaseModel):
    """How to transcribe. "as configured" takes the block or the environment of the worker."""

    model_config = ConfigDict(extra="forbid")

    preset: Literal["as configured", "stable", "optimized", "fast", "max", "auto"] = Field(
        default="as configured", title="Preset", description="Speed against memory; batch sizes never change the text."
    )
    model: str = Field(default="", title="Model", description="Hub name or folder; empty: as configured.")
    language: str = Field(default="", title="Language", description="Two-letter code or auto; empty: as configured.")
    window_s: float = Field(
        default=0, ge=0, le=30, title="Window (s)", description="Longest piece heard at once; 0: as configured."
    )
    words: bool = Field(
        default=False, title="Word times", description="Also say when each word is spoken; off: as configured."
    )
    batch_size: int = Field(
        default=0, ge=0, le=512, title="Batch size", description="Windows computed together; 0: as configured."
    )

    def changes(self) -> dict[str, Any]:
        """Only what was asked for, as arguments of a profile."""
        given = {"model": self.model, "language": self.language, "window_s": self.window_s}
        given |= {"words": self.words}
        given |= {"batch_size": self.batch_size, "preset": "" if self.preset == "as configured" else self.preset}
        return {name: value for name, value in given.items() if value}


class GuardForm(BaseModel):
    """How the GPU is guarded. 0 and "as configured" take the block or the environment of the worker; where those name
    nothing either, the ceiling is the one for the GPU at hand."""

    model_config = ConfigDict(extra="forbid")

    guard: Literal["as configured", "on", "off"] = Field(
        default="as configured", title="Guard", description="Off: nothing slows or pauses the card but the card itself."
    )
    temp_c: float = Field(
        default=0, ge=0, le=110, title="Temperature ceiling (°C)", description="Of the chip; 0: as configured."
    )
    power_w: float = Field(
        default=0,
        ge=0,
        le=2000,
        title="Power ceiling (W)",
        description="Moving average; 0: as configured, or the GPU's own limit.",
    )
    vram_budget_gib: float = Field(
        default=0,
        ge=0,
        le=1024,
        title="Memory budget (GiB)",
        description="Of the GPU, for all that runs on it; 0: as configured, or 22 of every 24 GiB.",
    )
    max_pause_s: float = Field(
        default=0, ge=0, le=86_400, title="Longest pause (s)", description="Then the run ends; 0: as configured."
    )

    def changes(self) -> dict[str, Any]:
        """Only what was asked for, as fields of a GuardPolicy."""
        names = ("temp_c", "power_w", "vram_budget_gib", "max_pause_s")
        given: dict[str, Any] = {name: value for name in names if (value := getattr(self, name))}
        return given if self.guard == "as configured" else given | {"enabled": self.guard == "on"}


class FailedForm(BaseModel):
    """Which failed videos of the archive are tried again. Without any restriction: what a sync would try again."""

    model_config = ConfigDict(extra="forbid")

    which: Which = Field(
        default=Which.SYNC,
        title="Which failures",
        description="A sync leaves alone what is private or deleted, needs other access, or is in quarantine.",
    )
    release_quarantine: bool = Field(
        default=False,
        title="Release from quarantine",
        description="Also take media that failed twice as broken, and forget for good how often they failed.",
    )
    channels: list[str] = Field(
        default=[],
        title="Channels",
        description="Title, id (UC...), or the source of an earlier sync (@handle, playlist); none: all channels.",
    )
    since: str = Field(
        default="",
        title="Failed since",
        description="A number of days (7) or a day (2026-01-31, UTC); empty: no limit.",
    )
    stage: Literal["any step", "download", "transcribe", "upload"] = Field(
        default="any step", title="Failed step", description="The step at which the last try failed."
    )
    failure_classes: list[FailureClass] = Field(
        default=[],
        title="Kinds of failure",
        description="Only these, also where a sync leaves them alone; none: as chosen at the top.",
    )
    videos: list[str] = Field(
        default=[],
        title="Videos",
        description="Only these, by id or link, also several in one field; a sync's reasons do not hold them back.",
    )
    most_attempts: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        title="Most attempts so far",
        description="Leave alone what has failed more often at its step; 0: no limit.",
    )

    @field_validator("since")
    @classmethod
    def _when(cls, text: str) -> str:
        _since(text)
        return text

    @field_validator("videos")
    @classmethod
    def _ids(cls, texts: list[str]) -> list[str]:
        return [video_id for text in texts for video_id in _video_ids(text)]

    @field_validator("channels")
    @classmethod
    def _named(cls, texts: list[str]) -> list[str]:
        if not all(text.strip() for text in texts):
            raise ValueError("A channel is empty; name it, or take the field away to mean all channels.")
        return [text.strip() for text in texts]

    @property
    def title(self) -> str:
        """The form in a few words, for the name of a run."""
        said = [str(self.which) if not self.failure_classes else ", ".join(self.failure_classes)]
        said += [self.stage] if self.stage != "any step" else []
        said += self.channels[:3]
        said += [f"{len(self.videos)} videos"] if self.videos else []
        return "; ".join(said)

    def wish(self) -> Wish:
        days, day = _since(self.since)
        return Wish(
            which=self.which,
            stage=None if self.stage == "any step" else Stage(self.stage),
            failure_classes=tuple(self.failure_classes),
            since_days=days,
            since=day,
            channels=tuple(self.channels),
            videos=tuple(self.videos),
            most_attempts=self.most_attempts,
            release=self.release_quarantine,
        )


class PlanForm(BaseModel):
    """What a plan cannot know by itself."""

    model_config = ConfigDict(extra="forbid")

    speed: str = Field(
        default="",
        title="Speed, where none was measured",
        description="Seconds of sound transcribed per second, as 60 or 40-80; empty: unknown until a run was measured.",
    )
    price_per_kwh: float = Field(
        default=0, ge=0, le=1000, title="Price of a kWh", description="In your currency; 0: as configured."
    )

    @field_validator("speed")
    @classmethod
    def _possible(cls, text: str) -> str:
        try:
            parse_speed(text)
        except UsageError as error:
            raise ValueError(error.reason) from error
        return text


def _since(text: str) -> tuple[int | None, date | None]:
    """Days back, or a day. Raises ValueError with what to write instead."""
    plain = text.strip()
    if not plain:
        return None, None
    if match := _DAYS.fullmatch(plain):
        return int(match[1]), None
    try:
        if _DAY.fullmatch(plain):
            return None, date.fromisoformat(plain)
    except ValueError:
        pass
    raise ValueError(f"Write a number of days (7) or a day (2026-01-31), not {plain[:40]!r}.")


def _video_ids(text: str) -> tuple[str, ...]:
    try:
        source = parse_source(text)
    except UsageError as error:
        raise ValueError(error.reason) from error
    if source.kind is not SourceKind.VIDEOS:
        raise ValueError(f"{text[:80]!r} is no video; give ids or links of videos, and channels in their own field.")
    return source.video_ids


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as error:
        raise UsageError(f"{text!r} is not a day of the calendar; write it as YYYY-MM-DD.", code="bad_date") from error
