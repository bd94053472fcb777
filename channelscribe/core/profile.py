"""What a transcription is asked for: the parameters that decide the text, and those that only decide the speed."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

DEFAULT_MODEL = "openai/whisper-large-v3-turbo"
# openai/whisper transcribe(): compression_ratio_threshold, logprob_threshold, no_speech_threshold and temperature.
WHISPER_TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


class Preset(StrEnum):
    """Named speeds: the four of the systems this one succeeds (STABIL, OPTIMIERT, SCHNELL, MAX), and `auto`.

    Those read a video in chunks, one batch per video. Here a batch is a number of places in which windows of all
    videos are decoded at once; a place is filled again as soon as its window ends. So a preset means:

    stable      8 places, windows of 20 s, 4 videos at once      (was: batch 8, 20 s, 1 worker)
    optimized  16 places, windows of 30 s, 8 videos at once      (was: batch 16, 30 s, 2 workers); the default
    fast       32 places, windows of 30 s, 16 videos, more sound kept ready   (was: batch 32, 45 s, 4 workers)
    max        56 places, windows of 30 s, 24 videos, still more kept ready   (was: batch 56, 60 s, 6 workers)
    auto       as many places as the card's memory budget has room for (asr/planner.py), 24 videos; without a card as
               `optimized`

    Whisper hears 30 s at once, so the chunks of 45 s and 60 s became windows of 30 s with more places. No preset takes
    more places than the memory budget has room for. Only `stable` writes other text, because its windows are shorter.
    """

    STABLE = "stable"
    OPTIMIZED = "optimized"
    FAST = "fast"
    MAX = "max"
    AUTO = "auto"


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
    kv_bits: Literal[16, 8] = Field(
        16,
        title="Bits of the audio's keys and values",
        description="8: more windows fit and decode faster; the text may differ a little.",
    )
    words: bool = Field(False, title="Word times", description="Also say when each word is spoken; never changes text.")
    batch_size: int = Field(16, ge=1, le=512, title="Batch size", description="Windows a GPU step; never changes text.")
    batch_from_card: bool = Field(
        False, title="Batch size from the card", description="As many windows as the memory budget has room for."
    )
    vram_budget_gib: float = Field(
        0.0, ge=0, le=1024, title="Memory budget (GiB)", description="Of the whole GPU; 0: 22 of every 24 GiB it has."
    )
    device: str = Field("auto", title="Device", description="'auto', 'cpu', 'mps', 'cuda' or 'cuda:N'.")
    dtype: str = Field("auto", title="Number format", description="'auto', 'float32', 'float16' or 'bfloat16'.")
    pool_mib: int = Field(256, ge=16, title="Decoded audio kept ready (MiB)", description="Bounds memory, not text.")
    videos_in_flight: int = Field(8, ge=1, le=64, title="Videos in flight", description="Videos that share batches.")

    def text_parameters(self) -> dict[str, Any]:
        """Exactly the parameters that may change what is stored (model and revision stand beside them).

        `words` and `kv_bits` are there only when asked for, so that transcripts made without stay valid.
        """
        return {
            **({"words": True} if self.words else {}),
            **({"kv_bits": self.kv_bits} if self.kv_bits != 16 else {}),
            "language": self.language,
            "window_s": self.window_s,
            "speech_threshold": self.speech_threshold,
            "temperatures": list(self.temperatures),
            "compression_ratio_threshold": self.compression_ratio_threshold,
            "logprob_threshold": self.logprob_threshold,
            "no_speech_threshold": self.no_speech_threshold,
        }

    def within_budget(self, gib: float) -> TranscriptionProfile:
        """The same with at most so much of the GPU's memory, 0 being no bound of its own; the text is the same."""
        if not gib or 0 < self.vram_budget_gib <= gib:
            return self
        return self.model_copy(update={"vram_budget_gib": gib})

    @classmethod
    def preset(cls, name: Preset, **changes: Any) -> TranscriptionProfile:
        """A profile by preset name; `changes` override single fields, and a batch size that is given is kept."""
        given = {"batch_from_card": False} if "batch_size" in changes else {}
        return cls(**{**_PRESETS[name], **given, **changes})


_PRESETS: dict[Preset, dict[str, Any]] = {
    Preset.STABLE: {"batch_size": 8, "window_s": 20.0, "videos_in_flight": 4},
    Preset.OPTIMIZED: {"batch_size": 16, "window_s": 30.0, "videos_in_flight": 8},
    Preset.FAST: {"batch_size": 32, "window_s": 30.0, "videos_in_flight": 16, "pool_mib": 512},
    Preset.MAX: {"batch_size": 56, "window_s": 30.0, "videos_in_flight": 24, "pool_mib": 1024},
    Preset.AUTO: {"batch_from_card": True, "window_s": 30.0, "videos_in_flight": 24, "pool_mib": 1024},
}
