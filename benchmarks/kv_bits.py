"""What 8 bits of keys and values cost in words: a real checkpoint hears real speech, greedily, on the CPU.

    python -m benchmarks.kv_bits --model FOLDER --list FILE --audio FOLDER --language en --minutes 8

FILE holds a line `NAME: text` for each clip (gzipped or not), FOLDER the clip as NAME.g722 or NAME.wav; so do Debian's
asterisk-core-sounds-en and asterisk-core-sounds-en-g722, studio prompts with their texts. Clips are joined to windows
with half a second between. The same encoder output is decoded by `generate` with the attention of one query over
float32, over bfloat16, over 8 bits for the audio, and over 8 bits for audio and tokens. Speech of Whisper base takes
about 40 CPU seconds a minute.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import jiwer
import numpy as np
import torch
from torch import Tensor

from channelscribe.asr.single_query import Cached, Quantised, attend_one, quantise

RATE_HZ, PAUSE_S, LONGEST_S = 16_000, 0.5, 28.0
LEAST_WORDS, TOGETHER = 4, 8
NAME = "channelscribe_kv_bits"
Store = Callable[[Tensor], Cached]


@dataclass(frozen=True, slots=True)
class Window:
    audio: np.ndarray[Any, np.dtype[np.float32]]
    text: str


def as_it_is(vectors: Tensor) -> Cached:
    return vectors


def in_bfloat16(vectors: Tensor) -> Cached:
    return vectors.bfloat16().to(vectors.dtype)


def in_four_bits(vectors: Tensor) -> Cached:
    numbers, scales = quantise(vectors)
    return Quantised((numbers.float() / 16).round().clamp(-7, 7).mul(16).to(torch.int8), scales)


# How audio and how tokens are held. Four bits are there to show that the figures notice harm.
WAYS: dict[str, tuple[Store, Store]] = {
    "float32": (as_it_is, as_it_is),
    "bfloat16": (in_bfloat16, in_bfloat16),
    "8 bits, audio": (quantise, as_it_is),
    "8 bits, audio and tokens": (quantise, quantise),
    "4 bits, audio and tokens": (in_four_bits, in_four_bits),
}


class Attention:
    """Attention of transformers' interface for the decoder; every query is one of `attend_one`."""

    def __init__(self) -> None:
        self.audio, self.tokens = as_it_is, as_it_is
        self._held: dict[int, tuple[Tensor, Cached, Cached]] = {}

    def __call__(self, module: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any, **given: Any) -> Any:
        keys, values = self._stored(module, key, value)
        asked, positions, scale = query.shape[2], key.shape[2], given.get("scaling", module.scaling)
        made = []
        for at in range(asked):
            end = positions if module.hears else positions - asked + at + 1
            lengths = None if end == positions else torch.full((len(query),), end)
            made.append(attend_one(query[:, :, at], keys, values, scale=scale, lengths=lengths))
        return torch.stack(made, 1).view(len(query), asked, query.shape[1], -1), None

    def _stored(self, module: Any, key: Tensor, value: Tensor) -> tuple[Cached, Cached]:
        """Audio is stored once for a window's steps, since the cache hands out the very same tensor each time."""
        if not module.hears:
            return self.tokens(key), self.tokens(value)
        held = self._held.get(id(module))
        if held is None or held[0] is not key:
            held = self._held[id(module)] = (key, self.audio(key), self.audio(value))
        return held[1:]


def put_into(decoder: Any) -> Attention:
    from transformers import AttentionInterface

    attention = Attention()
    AttentionInterface.register(NAME, attention)
    for layer in decoder.layers:
        for module, hears in ((layer.self_attn, False), (layer.encoder_attn, True)):
            module.config, module.hears = copy.copy(module.config), hears
            module.config._attn_implementation = NAME
    return attention


def clip(path: Path) -> np.ndarray[Any, np.dtype[np.float32]]:
    resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE_HZ)
    with av.open(str(path), format="g722" if path.suffix == ".g722" else None) as container:
        frames = [one for frame in container.decode(audio=0) for one in resampler.resample(frame)]
        frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


def clips(listed: Path, folder: Path) -> Iterator[Window]:
    lines = gzip.decompress(listed.read_bytes()) if listed.suffix == ".gz" else listed.read_bytes()
    for line in lines.decode("utf-8", "replace").splitlines():
        name, _, text = line.partition(": ")
        files = [path for path in (folder / f"{name}.g722", folder / f"{name}.wav") if path.is_file()]
        if files and "[" not in text and len(text.split()) >= LEAST_WORDS:
            audio = clip(files[0])
            if len(audio) < LONGEST_S * RATE_HZ:
                yield Window(audio, text.strip())


def windows(heard: Iterator[Window], minutes: float) -> Iterator[Window]:
    """Clips in their order, joined while they fit, until there are so many minutes."""
    pause = np.zeros(round(PAUSE_S * RATE_HZ), np.float32)
    audio, total = [pause], 0
    texts: list[str] = []
    for one in heard:
        if sum(map(len, audio)) + len(one.audio) + len(pause) > LONGEST_S * RATE_HZ:
            joined = Window(np.concatenate(audio), " ".join(texts))
            total += len(joined.audio)
            yield joined
            if total >= minutes * 60 * RATE_HZ:
                return
            audio, texts = [pause], []
        audio += [one.audio, pause]
        texts.append(one.text)
    if texts:
        yield Window(np.concatenate(audio), " ".join(texts))


def encoded(model: Any, extractor: Any, some: list[Window]) -> Tensor:
    parts = []
    for window in some:
        features = extractor(window.audio, sampling_rate=RATE_HZ, return_tensors="pt").input_features
        parts.append(model.model.encoder(features).last_hidden_state)
    return torch.cat(parts)


def decoded(model: Any, tokenizer: Any, states: Tensor, language: str) -> list[list[int]]:
    """Text tokens of each window."""
    from transformers.modeling_outputs import BaseModelOutput

    made: list[list[int]] = []
    spoken = {"language": language, "task": "transcribe"} if model.generation_config.is_multilingual else {}
    for at in range(0, len(states), TOGETHER):
        out = model.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=states[at : at + TOGETHER]),
            return_timestamps=True, num_beams=1, do_sample=False, max_new_tokens=220,
            force_unique_generate_call=True, **spoken,
        )  # fmt: skip
        end = model.generation_config.eos_token_id
        made += [[token for token in row if token < end] for row in out.tolist()]
    return made


def normaliser(language: str) -> Callable[[str], str]:
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

    made: Any = EnglishTextNormalizer({}) if language == "en" else BasicTextNormalizer()
    return lambda text: str(made(text)).strip()


def main() -> None:
    from transformers import AutoTokenizer, WhisperFeatureExtractor, WhisperForConditionalGeneration
    from transformers.utils import logging

    logging.set_verbosity_error()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kv_bits")
    for name in ("model", "list", "audio"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--language", default="en")
    parser.add_argument("--minutes", type=float, default=8.0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    model: Any = WhisperForConditionalGeneration.from_pretrained(given.model, attn_implementation="sdpa").eval()
    tokenizer = AutoTokenizer.from_pretrained(given.model)
    extractor = WhisperFeatureExtractor.from_pretrained(given.model)
    attention, plain = put_into(model.model.decoder), normaliser(given.language)
    heard = list(windows(clips(given.list, given.audio), given.minutes))
    said = [plain(window.text) for window in heard]
    seconds = sum(len(window.audio) for window in heard) / RATE_HZ
    show(f"{given.language}: {seconds / 60:.1f} min, {len(heard)} windows, {len(' '.join(said).split())} words")
    base: list[list[int]] = []
    with torch.inference_mode():
        states = encoded(model, extractor, heard)
        for way, (attention.audio, attention.tokens) in WAYS.items():
            began = time.process_time()
            tokens = decoded(model, tokenizer, states, given.language)
            base = base or tokens
            texts, first = ([plain(tokenizer.decode(row)) for row in rows] for rows in (tokens, base))
            same = sum(one == other for one, other in zip(tokens, base, strict=True))
            show(
                f"{way:26} WER {jiwer.wer(said, texts):7.2%}  against float32 {jiwer.wer(first, texts):7.2%}  "
                f"same tokens in {same} of {len(heard)} windows  {time.process_time() - began:.0f} CPU s"
            )


def show(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
