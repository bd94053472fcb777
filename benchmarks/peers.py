"""The peers, each as its own documentation says it is fastest on many files, without beams, previous text or fallback.

A peer that is not installed is left out of a run; `missing` says so in a sentence. Each is a class like `engine.Ours`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.job import Job
from benchmarks.workloads import WINDOW, Take
from channelscribe.core.window import RATE_HZ

Floats = NDArray[np.float32]
_NEEDS = {"faster-whisper": ("faster_whisper", "ctranslate2")}
_GENERATE = {"language": "en", "task": "transcribe", "num_beams": 1, "return_timestamps": True}


class Contender(Protocol):
    def warm(self) -> None: ...

    def run(self) -> list[str]: ...

    def stages(self) -> dict[str, Any]: ...

    def close(self) -> None: ...


def missing(engine: str) -> str | None:
    """Why this engine cannot take part, or None."""
    if all(find_spec(name) for name in _NEEDS.get(engine, ())):
        return None
    return f"{engine} is not installed, so its rows are left out; install it with: pip install 'channelscribe[bench]'."


def open_contender(job: Job, takes: tuple[Take, ...]) -> Contender:
    from benchmarks.engine import Ours

    made: dict[str, Callable[[Job, tuple[Take, ...]], Contender]] = {
        "channelscribe": Ours,
        "hf-pipeline": HfPipeline,
        "hf-generate": HfGenerate,
        "faster-whisper": FasterWhisper,
    }
    return made[job.engine](job, takes)


class _Peer:
    """Sound in: decoded before the clock starts, as for everybody. Files in: decoded by PyAV in `_sound`."""

    def __init__(self, job: Job, takes: tuple[Take, ...]) -> None:
        self._job, self._takes = job, takes
        self._held = {} if job.media else {take.name: _floats(take.pcm()) for take in (*takes, job.warm())}

    def warm(self) -> None:
        with torch.inference_mode():
            self._texts((self._job.warm(),))

    def run(self) -> list[str]:
        with torch.inference_mode():
            return self._texts(self._takes)

    def stages(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        return None

    def _texts(self, takes: tuple[Take, ...]) -> list[str]:
        raise NotImplementedError

    def _sound(self, take: Take) -> Floats:
        return self._held[take.name] if self._held else decoded(Path(self._job.media, f"{take.name}.m4a"))


class _Hf(_Peer):
    def __init__(self, job: Job, takes: tuple[Take, ...]) -> None:
        from transformers import AutoTokenizer, WhisperFeatureExtractor, WhisperForConditionalGeneration

        super().__init__(job, takes)
        self._dtype = getattr(torch, job.dtype)
        loaded: Any = WhisperForConditionalGeneration.from_pretrained(
            job.folder, dtype=self._dtype, attn_implementation="sdpa"
        )
        self._model = loaded.eval().to(job.device)
        self._tokenizer = AutoTokenizer.from_pretrained(job.folder)
        self._extractor = WhisperFeatureExtractor.from_pretrained(job.folder)


class HfPipeline(_Hf):
    """Chunks of all files stream through one pipeline, `batch` at a time."""

    def __init__(self, job: Job, takes: tuple[Take, ...]) -> None:
        from transformers import pipeline

        super().__init__(job, takes)
        self._pipeline: Any = pipeline(
            "automatic-speech-recognition",
            model=self._model,
            tokenizer=self._tokenizer,
            feature_extractor=self._extractor,
            device=job.device,
            dtype=self._dtype,
        )

    def _texts(self, takes: tuple[Take, ...]) -> list[str]:
        found = self._pipeline(
            (self._sound(take).copy() for take in takes),
            chunk_length_s=30,
            stride_length_s=0,
            batch_size=self._job.batch,
            ignore_warning=True,
            return_timestamps=True,
            generate_kwargs={k: v for k, v in _GENERATE.items() if k != "return_timestamps"},
        )
        return [one["text"] for one in found]


class HfGenerate(_Hf):
    """Windows of all files in their order, `batch` at a time; each batch runs until its longest window has ended."""

    def _texts(self, takes: tuple[Take, ...]) -> list[str]:
        waiting = [(at, piece) for at, take in enumerate(takes) for piece in _cut(self._sound(take))]
        texts: list[list[str]] = [[] for _ in takes]
        for begin in range(0, len(waiting), self._job.batch):
            some = waiting[begin : begin + self._job.batch]
            for (at, _), text in zip(some, self._generate([piece for _, piece in some]), strict=True):
                texts[at].append(text)
        return [" ".join(parts) for parts in texts]

    def _generate(self, pieces: list[Floats]) -> list[str]:
        heard = self._extractor(pieces, sampling_rate=RATE_HZ, return_tensors="pt").input_features
        cache = {"cache_implementation": "static"} if self._job.variant == "static" else {}
        tokens = self._model.generate(heard.to(self._job.device, self._dtype), **_GENERATE, **cache)
        texts: list[str] = self._tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return texts


class FasterWhisper(_Peer):
    """`BatchedInferencePipeline`, file by file as its interface has it; `joined` lays all files end to end as clips."""

    def __init__(self, job: Job, takes: tuple[Take, ...]) -> None:
        from faster_whisper import BatchedInferencePipeline, WhisperModel

        super().__init__(job, takes)
        where = {"device": job.device.partition(":")[0], "compute_type": job.dtype, "cpu_threads": job.threads}
        model = WhisperModel(str(converted(Path(job.folder))), **where)
        model.model = Multilingual(model.model)
        self._pipeline = BatchedInferencePipeline(model)

    def _texts(self, takes: tuple[Take, ...]) -> list[str]:
        if self._job.variant != "joined":
            return [" ".join(self._segments(pieces) for pieces in [_cut(self._sound(take))]) for take in takes]
        return [self._segments([piece for take in takes for piece in _cut(self._sound(take))])]

    def _segments(self, pieces: list[Floats]) -> str:
        ends = np.cumsum([len(piece) for piece in pieces])
        clips = [
            {"start": (end - len(piece)) / RATE_HZ, "end": end / RATE_HZ}
            for piece, end in zip(pieces, ends.tolist(), strict=True)
        ]
        found, _ = self._pipeline.transcribe(
            np.concatenate(pieces),
            language="en",
            beam_size=1,
            batch_size=self._job.batch,
            temperature=0.0,
            vad_filter=False,
            clip_timestamps=clips,
            without_timestamps=False,
        )
        return " ".join(segment.text for segment in found)


class Multilingual:
    """CTranslate2 takes an invented vocabulary for an English one, and faster-whisper then leaves the language out."""

    is_multilingual = True

    def __init__(self, model: Any) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def converted(folder: Path) -> Path:
    """The checkpoint for CTranslate2, beside it and made once."""
    from ctranslate2.converters import TransformersConverter

    target = folder.with_name(f"{folder.name}-ct2")
    source = folder / "clock.json"
    if not (target / "model.bin").is_file() or (target / "model.bin").stat().st_mtime < source.stat().st_mtime:
        copied = ["tokenizer.json", "preprocessor_config.json"]
        TransformersConverter(str(folder), copy_files=copied).convert(str(target), force=True)
    return target


def decoded(path: Path) -> Floats:
    """A file as 16 kHz mono, by PyAV in this process (the pipeline's own way would start ffmpeg)."""
    import av

    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
        frames += resampler.resample(None)
        return _floats(np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames]))


def _floats(pcm: NDArray[np.int16]) -> Floats:
    return pcm.astype(np.float32) / 32768.0


def _cut(sound: Floats) -> list[Floats]:
    return [sound[at : at + WINDOW] for at in range(0, len(sound), WINDOW)]
