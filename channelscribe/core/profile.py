"""What a transcription is asked for: the parameters that decide the text, and those that only decide the speed."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

DEFAULT_MODEL = "openai/whisper-large-v3-turbo"
# openai/whisper transcribe(): compression_ratio_threshold, logprob_threshold, no_speech_threshold and temperature.
WHISPER_TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


class Preset(StrEnum):
    """The four named speeds of the systems this one succeeds (STABIL, OPTIMIERT, SCHNELL, MAX)."""

    STABLE = "stable"
    OPTIMIZED = "optimized"
    FAST = "fast"
    MAX = "max"


class TranscriptionProfile(BaseModel):
    """One transcription setting. Fields of `text_parameters` are part of the fingerprint; the others are not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(DEFAULT_MODEL, min_length=1, title="Model", description="Hub name or folder of a Whisper model.")
    revision: str = Field("main", title="Revision", description="Branch, tag or commit of a hub model.")
    language: str = Field("auto", title="Language", description="Two-letter code, or 'auto' to hear it from the file.")
    window_s: float = Field(
        30.0, ge=1.0, le=30.0, title="Window (s)", description="Longest stretch of speech given to the model at once."
    )
    speech_threshold: float = Field(
        0.35, gt=0.0, lt=1.0, title="Speech threshold", description="Speech probability above which sound counts."
    )
    temperatures: tuple[float, ...] = Field(
        WHISPER_TEMPERATURES, min_length=1, title="Temperatures", description="Tried in turn until a text is plausible."
    )
    compression_ratio_threshold: float = Field(2.4, gt=0, title="Compression ratio above which text counts as a loop")
    logprob_threshold: float = Field(-1.0, le=0, title="Average log probability below which text counts as a guess")
    no_speech_threshold: float = Field(0.6, ge=0, le=1, title="No-speech probability above which a guess is dropped")
    batch_size: int = Field(16, ge=1, le=512, title="Batch size", description="Windows a GPU step; never changes text.")
    device: str = Field("auto", title="Device", description="'auto', 'cpu', 'mps', 'cuda' or 'cuda:N'.")
    dtype: str = Field("auto", title="Number format", description="'auto', 'float32', 'float16' or 'bfloat16'.")
    pool_mib: int = Field(256, ge=16, title="Decoded audio kept ready (MiB)", description="Bounds memory, not text.")
    videos_in_flight: int = Field(8, ge=1, le=64, title="Videos in flight", description="Videos that share batches.")

    def text_parameters(self) -> dict[str, Any]:
        """Exactly the parameters that may change the text (model and revision stand beside them in the fingerprint)."""
        return {
            "language": self.language,
            "window_s": self.window_s,
            "speech_threshold": self.speech_threshold,
            "temperatures": list(self.temperatures),
            "compression_ratio_threshold": self.compression_ratio_threshold,
            "logprob_threshold": self.logprob_threshold,
            "no_speech_threshold": self.no_speech_threshold,
        }

    @classmethod
    def preset(cls, name: Preset, **changes: Any) -> TranscriptionProfile:
        """A profile by preset name; `changes` override single fields.

        The seeds' 45 s and 60 s chunks of SCHNELL and MAX exceed what Whisper hears at once (30 s), so they become
        30 s windows with deeper batches.
        """
        return cls(**{**_PRESETS[name], **changes})


_PRESETS: dict[Preset, dict[str, Any]] = {
    Preset.STABLE: {"batch_size": 8, "window_s": 20.0, "videos_in_flight": 4},
    Preset.OPTIMIZED: {"batch_size": 16, "window_s": 30.0, "videos_in_flight": 8},
    Preset.FAST: {"batch_size": 32, "window_s": 30.0, "videos_in_flight": 16, "pool_mib": 512},
    Preset.MAX: {"batch_size": 56, "window_s": 30.0, "videos_in_flight": 24, "pool_mib": 1024},
}
