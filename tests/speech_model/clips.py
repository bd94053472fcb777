"""The spoken sentences of one shard: made once by a fresh process, kept in a folder, equal for equal seed and number.

`windows` draws from them; `python -m tests.speech_model.clips --help` makes one by hand.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import numpy as np

from tests.speech_model.sentences import sentence
from tests.speech_model.voices import Espeak, Mark, Spoken, choose

VERSION = 1


@dataclass(frozen=True)
class Recipe:
    """How shards are made; a change of anything here is another set of clips."""

    seed: int
    count: int = 3000
    german: float = 0.25
    other_voices: float = 0.35
    held_out: bool = False

    def file(self, shard: int) -> str:
        kind = "judge" if self.held_out else "learn"
        return f"{kind}-v{VERSION}-{self.seed}-{self.count}-{self.german:g}-{self.other_voices:g}-{shard}.npz"


@dataclass(frozen=True, eq=False)
class Clip:
    """One sentence, who says it in what language, and its sound."""

    text: str
    language: str
    voice: str
    spoken: Spoken


class Shard:
    """Many clips, end to end in a few arrays."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as file:
            self._arrays = {name: file[name] for name in file.files}
        languages = self._arrays["language"]
        self._of = {name: [int(i) for i in np.nonzero(languages == name)[0]] for name in ("en", "de")}

    def __len__(self) -> int:
        return len(self._arrays["text"])

    def draw(self, language: str, r: Random) -> Clip:
        return self[r.choice(self._of[language] or self._of["en"])]

    def voices(self, language: str) -> list[str]:
        return sorted({str(self._arrays["voice"][i]) for i in self._of[language]})

    def of_voice(self, language: str, voice: str) -> list[int]:
        return [i for i in self._of[language] if self._arrays["voice"][i] == voice]

    def __getitem__(self, index: int) -> Clip:
        a = self._arrays
        pcm = a["pcm"][a["pcm_at"][index] : a["pcm_at"][index + 1]]
        marks = [_unpack(a, kind, index) for kind in ("word", "phoneme")]
        return Clip(str(a["text"][index]), str(a["language"][index]), str(a["voice"][index]), Spoken(pcm, *marks))


def _unpack(arrays: dict[str, np.ndarray], kind: str, index: int) -> tuple[Mark, ...]:
    span = slice(*arrays[f"{kind}_at"][index : index + 2])
    rows = zip(arrays[f"{kind}_name"][span], arrays[f"{kind}_s"][span], strict=True)
    return tuple(Mark(str(name), float(times[0]), float(times[1])) for name, times in rows)


def _packed(kind: str, lists: list[tuple[Mark, ...]]) -> dict[str, np.ndarray]:
    return {
        f"{kind}_at": np.cumsum([0, *map(len, lists)]),
        f"{kind}_name": np.array([m.name for marks in lists for m in marks]),
        f"{kind}_s": np.array([(m.start_s, m.end_s) for marks in lists for m in marks], np.float32).reshape(-1, 2),
    }


def make(recipe: Recipe, shard: int, out: Path) -> None:
    """Speaks a shard in this process, which must be fresh, and writes it whole or not at all."""
    r = Random(f"clips {recipe.seed} {shard}")
    rows = []
    for _ in range(recipe.count):
        language = "de" if r.random() < recipe.german else "en"
        voice = choose(language, r, recipe.other_voices)
        text = sentence(language, r, held_out=recipe.held_out)
        rows.append((text, language, voice.name, Espeak.shared().speak(text, voice, crude=r.random() < 0.7)))
    texts, languages, names, spoken = zip(*rows, strict=True)
    part = out.with_name(f"{out.stem}.{os.getpid()}.part.npz")
    np.savez(
        part,
        allow_pickle=False,
        text=np.array(texts),
        language=np.array(languages),
        voice=np.array(names),
        pcm=np.concatenate([s.pcm for s in spoken]),
        pcm_at=np.cumsum([0, *(len(s.pcm) for s in spoken)]),
        **_packed("word", [s.words for s in spoken]),
        **_packed("phoneme", [s.phonemes for s in spoken]),
    )
    part.replace(out)


def load(recipe: Recipe, shard: int, folder: Path) -> Shard:
    """The shard from the folder, spoken first if it is not there."""
    if not (folder / recipe.file(shard)).exists():
        _speak(recipe, shard, folder)
    return Shard(folder / recipe.file(shard))


def _speak(recipe: Recipe, shard: int, folder: Path) -> None:
    """In a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    given = [json.dumps(asdict(recipe)), str(shard), str(folder / recipe.file(shard))]
    subprocess.run([sys.executable, "-m", "tests.speech_model.clips", *given], check=True)


def prepare(recipe: Recipe, shards: Sequence[int], folder: Path, workers: int) -> None:
    """Speaks what is not there yet, several shards at a time."""
    missing = [shard for shard in shards if not (folder / recipe.file(shard)).exists()]
    with ThreadPoolExecutor(workers) as pool:
        for done, _ in enumerate(pool.map(lambda shard: _speak(recipe, shard, folder), missing), start=1):
            print(f"spoken {done}/{len(missing)} shards of {recipe.count} sentences", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=json.loads, help='such as {"seed": 1, "count": 100}')
    parser.add_argument("shard", type=int)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    make(Recipe(**given.recipe), given.shard, given.out)
