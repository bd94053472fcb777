"""Throughput of the transcription engine beside plain `generate` of transformers, on the same windows, in one run.

Run by `make bench`. The peer works as the systems before this one did: one file after the other, batches from that
file alone. Both get the same decoded windows, decode greedily without fallback, and must write the same tokens.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from channelscribe.asr.device import choose_device
from channelscribe.asr.greedy import Decoder
from channelscribe.asr.loading import LoadedWhisper, load_whisper
from channelscribe.asr.model import resolve_model
from channelscribe.asr.registry import open_engine
from channelscribe.audio.feed import listen
from channelscribe.core.profile import TranscriptionProfile
from channelscribe.core.window import WindowSound
from tests.emulators.speech import Score, compose, encode_m4a

CHECKPOINT = Path(__file__).resolve().parents[1] / "tests" / "speech_model" / "checkpoint"
LENGTHS_S = (12, 20, 25, 40, 60, 90, 15, 30, 45, 120, 18, 75)  # a channel with shorts, so that whole batches are rare
WINDOW_S = 8.0


@dataclass(frozen=True)
class Measurement:
    """One engine on one workload. `rtfx` is seconds of sound per wall second; `peak_mib` the process's so far."""

    engine: str
    workload: str
    model: str
    device: str
    dtype: str
    audio_s: float
    wall_s: float
    cpu_s: float
    rtfx: float
    peak_mib: float
    windows: int
    batch: int
    tokens_ok: bool


def recordings(folder: Path) -> list[Path]:
    """Speech of known words as m4a files, the same on every machine."""
    paths = []
    for number, seconds in enumerate(LENGTHS_S):
        path = folder / f"{number:02d}.m4a"
        path.write_bytes(encode_m4a(compose(Score(100 + number, float(seconds))).pcm))
        paths.append(path)
    return paths


def ours(paths: Sequence[Path], profile: TranscriptionProfile) -> tuple[list[str], int]:
    """Texts by file and the number of windows: all files in flight share batches."""
    with open_engine(profile) as engine, ThreadPoolExecutor(profile.videos_in_flight) as callers:
        made = list(callers.map(lambda p: engine.transcribe(p, video_id=p.stem, media_sha256=p.stem), paths))
        return [t.text for t in made], engine.stats().windows


def plain_generate(paths: Sequence[Path], profile: TranscriptionProfile) -> tuple[list[str], int]:
    """The same windows through `WhisperForConditionalGeneration.generate`, file by file."""
    loaded = load_whisper(resolve_model(profile), choose_device(profile))
    texts, count = [], 0
    for path in paths:
        sounds = list(listen(path, window_s=profile.window_s, speech_threshold=profile.speech_threshold))
        batches = [sounds[i : i + profile.batch_size] for i in range(0, len(sounds), profile.batch_size)]
        texts.append(" ".join(filter(None, (text for batch in batches for text in _generate(loaded, batch)))))
        count += len(sounds)
    return texts, count


def _generate(loaded: LoadedWhisper, sounds: Sequence[WindowSound]) -> list[str]:
    features = Decoder(loaded).features([s.pcm for s in sounds])
    with torch.inference_mode():
        tokens = loaded.model.generate(
            features, language="en", task="transcribe", return_timestamps=True, num_beams=1, do_sample=False
        )
    return [loaded.text([t for t in row if t < loaded.vocabulary.end]) for row in tokens.tolist()]


def measure(
    name: str, work: Callable[[], tuple[list[str], int]], audio_s: float, profile: TranscriptionProfile
) -> tuple[Measurement, list[str]]:
    cpu, began = time.process_time(), time.perf_counter()
    texts, windows = work()
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    choice = choose_device(profile)
    found = Measurement(
        engine=name,
        workload="files",
        model=Path(profile.model).name,
        device=choice.device,
        dtype=str(choice.dtype),
        audio_s=audio_s,
        wall_s=round(wall_s, 2),
        cpu_s=round(cpu_s, 2),
        rtfx=round(audio_s / wall_s, 2),
        peak_mib=round(peak_mib, 1),
        windows=windows,
        batch=profile.batch_size,
        tokens_ok=True,
    )
    return found, texts


def same_words(a: Sequence[str], b: Sequence[str]) -> bool:
    return [" ".join(x.split()) for x in a] == [" ".join(x.split()) for x in b]


def table(rows: Sequence[Measurement]) -> Table:
    where = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, {rows[0].dtype}"
    made = Table(
        title=f"{rows[0].audio_s / 60:.1f} min of sound in {len(LENGTHS_S)} files on {rows[0].device} ({where})"
    )
    for column in ("engine", "windows", "batch", "wall s", "cpu s", "RTFx", "same words"):
        made.add_column(column, justify="left" if column == "engine" else "right")
    for r in rows:
        cells = (r.windows, r.batch, r.wall_s, r.cpu_s, r.rtfx, "yes" if r.tokens_ok else "NO")
        made.add_row(r.engine, *map(str, cells))
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of the table")
    parser.add_argument("--batch-size", type=int, default=16)
    asked = parser.parse_args(arguments)
    profile = TranscriptionProfile(
        model=str(CHECKPOINT),
        window_s=WINDOW_S,
        language="en",
        temperatures=(0.0,),
        logprob_threshold=-100.0,  # nothing is dropped for being unlikely: both engines write all they hear
        batch_size=asked.batch_size,
    )
    with tempfile.TemporaryDirectory() as folder:
        paths = recordings(Path(folder))
        ours(paths[:1], profile)  # torch's first call and the detector's threads are not what is measured
        audio_s = float(sum(LENGTHS_S))
        first, heard = measure("channelscribe", lambda: ours(paths, profile), audio_s, profile)
        second, reference = measure("hf-generate", lambda: plain_generate(paths, profile), audio_s, profile)
    equal = same_words(heard, reference)
    rows = [Measurement(**{**asdict(m), "tokens_ok": equal}) for m in (first, second)]
    if asked.json:
        sys.stdout.write("".join(json.dumps(asdict(row)) + "\n" for row in rows))
    else:
        Console().print(table(rows))
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
