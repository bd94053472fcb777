"""The model in memory: modules of `transformers`, feature extractor and tokenizer, checked, and the ids for decoding.

The engine's thread loads it at the first window; nothing else in the house touches `transformers`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

import torch

from channelscribe.asr.accelerator import Accelerator, Unified, accelerator_for
from channelscribe.asr.device import DeviceChoice
from channelscribe.asr.model import ModelRef, broken, unreachable
from channelscribe.asr.packed import pack
from channelscribe.asr.single_query import TWIN, SingleQuery, choose
from channelscribe.asr.trouble import is_device_lost, is_out_of_memory
from channelscribe.core.errors import UsageError
from channelscribe.core.window import RATE_HZ

log = logging.getLogger(__name__)
# openai/whisper decodes at most n_text_ctx // 2 tokens a window.
_MOST_TOKENS = 224


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The special tokens of one checkpoint. `languages` maps codes to tokens; empty for an English-only model."""

    start: int
    end: int
    transcribe: int | None
    no_timestamps: int
    languages: dict[str, int] = field(default_factory=dict)

    @property
    def no_speech(self) -> int:
        return self.no_timestamps - 1

    @property
    def first_timestamp(self) -> int:
        return self.no_timestamps + 1

    @property
    def prompt_length(self) -> int:
        return len(self.prompt(next(iter(self.languages), "")))

    def prompt(self, language: str) -> tuple[int, ...]:
        """What stands before the text. An English-only model knows neither language nor task."""
        if not self.languages:
            return (self.start,)
        task = () if self.transcribe is None else (self.transcribe,)
        return (self.start, self.languages[language], *task)


@dataclass(frozen=True, slots=True)
class LoadedWhisper:
    model: Any
    feature_extractor: Any
    tokenizer: Any
    vocabulary: Vocabulary
    choice: DeviceChoice
    most_tokens: int
    longest_window_s: float
    seconds_per_timestamp: float
    accelerator: Accelerator = field(default_factory=lambda: Unified(torch.device("cpu")))
    single_query: SingleQuery = TWIN

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = getattr(torch, self.choice.dtype)
        return dtype

    def text(self, tokens: list[int]) -> str:
        decoded: str = self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return decoded


def load_whisper(ref: ModelRef, choice: DeviceChoice, accelerator: Accelerator | None = None) -> LoadedWhisper:
    """Onto the device chosen, or onto the accelerator that is given.

    Raises EnvironmentFailure with one sentence for a model that does not load whole, and what the device raises.
    """
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
    from safetensors import SafetensorError

    accelerator = accelerator or accelerator_for(torch.device(choice.device))
    try:
        model, extractor, tokenizer = _from_pretrained(ref, choice)
        with accelerator.current():
            model.to(accelerator.device)
    except (HfHubHTTPError, OfflineModeIsEnabled) as error:
        raise unreachable(ref.name, error) from error
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        if is_out_of_memory(error) or is_device_lost(error):
            raise
        first_line = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise broken(ref.name, first_line.strip().rstrip(".")) from error
    pack(model)
    _compute_float32_exactly()
    return _checked(ref, choice, accelerator, model, extractor, tokenizer)


def _compute_float32_exactly() -> None:
    """No TF32: its 10 bits of mantissa would be in every spectrum, and a check in float32 would compare roundings.

    What is heavy runs in 16 bits; of a window's work only the spectra and the logits are float32.
    """
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


def _from_pretrained(ref: ModelRef, choice: DeviceChoice) -> tuple[Any, Any, Any]:
    from transformers import AutoTokenizer, WhisperFeatureExtractor, WhisperForConditionalGeneration
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    source = str(ref.folder) if ref.folder else ref.name
    where: dict[str, Any] = {"local_files_only": True} if ref.folder else {"revision": ref.revision}
    tokenizer = AutoTokenizer.from_pretrained(source, **where)
    extractor = WhisperFeatureExtractor.from_pretrained(source, **where)
    options = {"dtype": getattr(torch, choice.dtype), "attn_implementation": "sdpa", "output_loading_info": True}
    loaded: Any = WhisperForConditionalGeneration.from_pretrained(source, **options, **where)
    model, report = loaded
    missing = sorted(set(report["missing_keys"]) - {"proj_out.weight"}) + sorted(map(str, report["mismatched_keys"]))
    if missing:
        raise ValueError(f"{len(missing)} weights are missing or of the wrong shape, the first is {missing[0]}")
    log.info("loaded %s (%s) on %s as %s", ref.name, ref.revision[:12], choice.device, choice.dtype)
    return model.eval().requires_grad_(False), extractor, tokenizer


def _checked(
    ref: ModelRef, choice: DeviceChoice, accelerator: Accelerator, model: Any, extractor: Any, tokenizer: Any
) -> LoadedWhisper:
    positions = model.config.max_source_positions
    if extractor.nb_max_frames != 2 * positions or extractor.feature_size != model.config.num_mel_bins:
        raise broken(ref.name, "its feature extractor does not fit its encoder")
    if extractor.sampling_rate != RATE_HZ:
        raise broken(ref.name, f"it hears {extractor.sampling_rate} Hz and not {RATE_HZ}")
    vocabulary = _vocabulary(ref, model.generation_config, tokenizer)
    longest_s = extractor.n_samples / RATE_HZ
    prompt = 3 if vocabulary.languages else 1
    return LoadedWhisper(
        model=model,
        feature_extractor=extractor,
        tokenizer=tokenizer,
        vocabulary=vocabulary,
        choice=choice,
        most_tokens=min(_MOST_TOKENS, model.config.max_target_positions - prompt),
        longest_window_s=longest_s,
        seconds_per_timestamp=longest_s / positions,
        accelerator=accelerator,
        single_query=single_query_for(model, accelerator),
    )


def single_query_for(model: Any, accelerator: Accelerator, *, eight_bits: bool = False) -> SingleQuery:
    """Who computes the decode step's attention on this device; see `single_query.choose`."""
    size = model.config.d_model // model.config.decoder_attention_heads
    with accelerator.current():
        return choose(
            accelerator.device, model.dtype, capability=accelerator.capability, size=size, eight_bits=eight_bits
        )


def _vocabulary(ref: ModelRef, config: Any, tokenizer: Any) -> Vocabulary:
    """From the generation config, as `generate` does; an old checkpoint without those entries asks its tokenizer."""
    no_timestamps = getattr(config, "no_timestamps_token_id", None) or _token(tokenizer, "<|notimestamps|>")
    start = config.decoder_start_token_id or _token(tokenizer, "<|startoftranscript|>")
    end = config.eos_token_id if isinstance(config.eos_token_id, int) else tokenizer.eos_token_id
    if no_timestamps is None or start is None or end is None:
        raise broken(ref.name, "its generation config does not name Whisper's special tokens")
    config.no_timestamps_token_id = no_timestamps  # the timestamp rules of transformers read it there
    languages = getattr(config, "lang_to_id", None) or {}
    multilingual = getattr(config, "is_multilingual", bool(languages))
    tasks = getattr(config, "task_to_id", None) or {}
    codes = {token.strip("<|>"): index for token, index in languages.items()} if multilingual else {}
    return Vocabulary(start, end, tasks.get("transcribe"), no_timestamps, codes)


def _token(tokenizer: Any, text: str) -> int | None:
    index = tokenizer.convert_tokens_to_ids(text)
    return index if isinstance(index, int) and index != tokenizer.unk_token_id else None


def known_language(vocabulary: Vocabulary, wanted: str) -> str | None:
    """The code to transcribe in, or None when it has to be heard. Raises UsageError for one the model lacks."""
    from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

    name = wanted.strip().lower()
    code = TO_LANGUAGE_CODE.get(name, name)
    codes = list(vocabulary.languages) or ["en"]
    if code == "auto":
        return codes[0] if len(codes) == 1 else None
    if code not in codes:
        some = ", ".join(sorted(codes)[:12])
        raise UsageError(f"The model does not know the language {wanted!r}; it knows {some}.", code="bad_language")
    return code
