"""Makes the shipped speech bank with espeak-ng: `python -m tests.emulators.make_speech [--keep-wav FOLDER]`.

Run once by who changes the bank; tests and the demo only read what it wrote. The codec was chosen for the test
model's ear, each of 240 clips alone in a 30 s window: word error rate 10.1 % before any codec, 10.9 % with Opus voip
40 kb/s at 16 kHz (shipped; 11.1 % once served as itag 140), 12.3 % with Opus audio 40 kb/s, 12.8 % with AAC 40 kb/s.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import wave
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from tests.emulators import encoding, vocabulary
from tests.emulators.speech import AUDIO_FILE, INDEX_FILE, SAMPLE_RATE_HZ

SEED = 20261121
SENTENCES = 240
SPACING_SAMPLES = SAMPLE_RATE_HZ // 10


@dataclass(frozen=True)
class Job:
    text: str
    voice: str
    words_per_minute: int
    pitch: int


def jobs() -> list[Job]:
    """The sentences in order, none of them heard in training, the six voices in turn."""
    r = Random(SEED)
    heard, chosen = set(vocabulary.training_sentences()), list[Job]()
    while len(chosen) < SENTENCES:
        text = vocabulary.sentence(r)
        speed, pitch = r.randint(*vocabulary.WORDS_PER_MINUTE), r.randint(*vocabulary.PITCH)
        if text not in heard:
            chosen.append(Job(text, vocabulary.VOICES[len(chosen) % len(vocabulary.VOICES)], speed, pitch))
            heard.add(text)
    return chosen


def speak(job: Job) -> NDArray[np.int16]:
    """The sound of one sentence at 16 kHz, trimmed to 10 ms around the voice, made as the training sound was made."""
    command = ["espeak-ng", "-v", job.voice, "-s", str(job.words_per_minute), "-p", str(job.pitch), "--stdout"]
    output = subprocess.run([*command, job.text], capture_output=True, check=True).stdout
    with wave.open(io.BytesIO(output)) as reader:
        rate_hz = reader.getframerate()
        raw = np.frombuffer(reader.readframes(10**9), dtype=np.int16).astype(np.float32) / 32768
    smooth = np.hanning(5)
    raw = np.convolve(raw, smooth / smooth.sum(), "same")
    places = np.arange(int(len(raw) * SAMPLE_RATE_HZ / rate_hz)) * rate_hz / SAMPLE_RATE_HZ
    voice = np.interp(places, np.arange(len(raw)), raw)
    loud = np.nonzero(np.abs(voice) > 1e-3)[0]
    return np.asarray(voice[max(0, loud[0] - 160) : loud[-1] + 160] * 32767, np.int16)


def make(keep: Path | None) -> None:
    clips, pieces, at = [], [], SPACING_SAMPLES
    pieces.append(np.zeros(SPACING_SAMPLES, np.int16))
    for job in jobs():
        sound = speak(job)
        clips.append({"text": job.text, "voice": job.voice, "start": at, "end": at + len(sound)})
        pieces += [sound, np.zeros(SPACING_SAMPLES, np.int16)]
        at += len(sound) + SPACING_SAMPLES
    pcm = np.concatenate(pieces)
    AUDIO_FILE.write_bytes(encoding.encode_opus(pcm))
    lines = ",\n".join(json.dumps(clip) for clip in clips)
    INDEX_FILE.write_text(f'{{"sample_rate_hz": {SAMPLE_RATE_HZ}, "samples": {at}, "clips": [\n{lines}\n]}}\n')
    if keep:
        np.save(keep / "pcm.npy", pcm)
    print(f"{len(clips)} sentences, {at / SAMPLE_RATE_HZ / 60:.1f} min, {AUDIO_FILE.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep-wav", type=Path, default=None, help="also save the sound before the codec here")
    make(parser.parse_args().keep_wav)
