"""A transcription profile as a block."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from prefect.blocks.core import Block
from pydantic import Field

from blocks.resolving import Resolving
from channelscribe.core.profile import DEFAULT_MODEL, Preset, TranscriptionProfile
from channelscribe.core.settings import Settings


class TranscriptionSettings(Resolving, Block):
    """Model, language and speed of the transcription."""

    _block_type_name: ClassVar[str] = "Transcription Profile"
    _block_type_slug: ClassVar[str] = "transcription-profile"
    _description: ClassVar[str] = "Which Whisper model transcribes, in which language and with which preset."

    preset: Preset = Field(default=Preset.OPTIMIZED, title="Preset", description="stable, optimized, fast, max or auto")
    model: str = Field(default=DEFAULT_MODEL, title="Model", description="Hub name or folder of a Whisper model.")
    language: str = Field(default="auto", title="Language", description="Two-letter code, or auto.")
    words: bool = Field(default=False, title="Word times", description="Also say when each word is spoken.")
    device: str = Field(default="auto", title="Device", description="auto, cpu, mps, cuda or cuda:N")
    window_s: float = Field(default=0, ge=0, le=30, title="Window (s)", description="0: as the preset says.")
    batch_size: int = Field(default=0, ge=0, le=512, title="Batch size", description="0: as the preset says.")

    kv_bits: Literal[16, 8] = Field(
        default=16,
        title="Bits of the audio's keys and values",
        description="8: more windows fit and decode faster on a GPU; the text may differ a little.",
    )

    @classmethod
    def from_environment(cls) -> Self | None:
        settings = Settings()
        names = {"preset", "model", "language", "words", "device", "window_s", "batch_size", "kv_bits"}
        given = {name: getattr(settings, name) for name in names & settings.model_fields_set}
        given |= {"kv_bits": int(settings.kv_bits)} if "kv_bits" in given else {}
        return cls(**{k: v for k, v in given.items() if v is not None}) if given else None

    def profile(self, **changes: Any) -> TranscriptionProfile:
        """The library's profile; `changes` override single fields, and a changed preset replaces this one's."""
        preset = Preset(changes.pop("preset", self.preset))
        own: dict[str, Any] = {"model": self.model, "language": self.language, "device": self.device}
        own |= {k: v for k in ("words", "window_s", "batch_size") if (v := getattr(self, k))}
        own |= {"kv_bits": self.kv_bits} if self.kv_bits != 16 else {}
        return TranscriptionProfile.preset(preset, **{**own, **changes})
