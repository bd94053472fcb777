"""The forms of the flows in the Prefect UI. Every field has a value that means "nothing special"."""

from __future__ import annotations

from datetime import date
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from channelscribe.core.errors import UsageError
from channelscribe.youtube.listing import Selection

_DATE = r"^$|^\d{4}-\d{2}-\d{2}$"


class SelectionForm(BaseModel):
    """Which videos of the source. Without any restriction: all of them."""

    model_config = ConfigDict(extra="forbid")

    since: str = Field(default="", pattern=_DATE, title="Published since", description="YYYY-MM-DD; empty: no limit.")
    until: str = Field(default="", pattern=_DATE, title="Published until", description="YYYY-MM-DD; empty: no limit.")
    latest: int = Field(default=0, ge=0, title="Latest N videos", description="0: all.")

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
    """How the card is guarded. 0 and "as configured" take the block or the environment of the worker."""

    model_config = ConfigDict(extra="forbid")

    guard: Literal["as configured", "on", "off"] = Field(default="as configured", title="Guard")
    temp_c: float = Field(default=0, ge=0, le=110, title="Temperature ceiling (°C)", description="0: as configured.")
    power_w: float = Field(
        default=0, ge=0, le=2000, title="Power ceiling (W)", description="Moving average; 0: as configured."
    )
    vram_budget_gib: float = Field(
        default=0, ge=0, le=1024, title="Memory budget (GiB)", description="0: as configured."
    )
    max_pause_s: float = Field(
        default=0, ge=0, le=86_400, title="Longest pause (s)", description="Then the run ends; 0: as configured."
    )

    def changes(self) -> dict[str, Any]:
        """Only what was asked for, as fields of a GuardPolicy."""
        names = ("temp_c", "power_w", "vram_budget_gib", "max_pause_s")
        given: dict[str, Any] = {name: value for name in names if (value := getattr(self, name))}
        return given if self.guard == "as configured" else given | {"enabled": self.guard == "on"}


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as error:
        raise UsageError(f"{text!r} is not a day of the calendar; write it as YYYY-MM-DD.", code="bad_date") from error
