"""How well the demo heard: the archive's words against the known text, video by video.

Used by `demo` alone; a real run has no known text.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from channelscribe.store.archive import Archive

HEARD = frozenset({"ok", "short", "silent"})
_NOT_A_WORD = re.compile(r"[^\w\s]+")


@dataclass(frozen=True)
class Expected:
    """What is known about a video of the demo channel before anything runs."""

    video_id: str
    title: str
    expected: str
    text: str

    @property
    def should_be_done(self) -> bool:
        return self.expected in HEARD


@dataclass(frozen=True)
class Score:
    """How the demo went. `missing` are videos that should have been done and verified, and were not."""

    wer: float | None
    missing: tuple[str, ...]
    expected_failures: tuple[str, ...]
    verified: int


def read_truth(file: Path) -> list[Expected]:
    raw: dict[str, dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    return [
        Expected(video_id, v["title"], v["expected"], " ".join(s["text"] for s in v["sentences"]))
        for video_id, v in raw.items()
    ]


def normal(text: str) -> str:
    """Lowercase words without punctuation."""
    return " ".join(_NOT_A_WORD.sub(" ", text.lower()).split())


def score(archive: Archive, truth: list[Expected]) -> Score:
    texts = _texts(archive)
    verified = {u.video_id for u in archive.uploads().values() if u.verified_at is not None}
    due = [e for e in truth if e.should_be_done]
    return Score(
        wer=word_error_rate([(e.text, texts[e.video_id]) for e in due if e.video_id in texts]),
        missing=tuple(e.title for e in due if e.video_id not in texts or e.video_id not in verified),
        expected_failures=tuple(e.video_id for e in truth if not e.should_be_done),
        verified=len(verified & {e.video_id for e in due}),
    )


def _texts(archive: Archive) -> dict[str, str]:
    found = {}
    for fingerprint, video_id in archive.transcribed():
        if (transcript := archive.transcript(fingerprint, video_id)) is not None:
            found[video_id] = transcript.text
    return found


def word_error_rate(pairs: list[tuple[str, str]]) -> float | None:
    """Of all (spoken, heard) pairs together; None when nothing was spoken. Words heard in silence count as errors."""
    import jiwer

    spoken = [(normal(said), normal(heard)) for said, heard in pairs]
    with_words = [(said, heard) for said, heard in spoken if said]
    words = sum(len(said.split()) for said, _ in with_words)
    if not words:
        return None
    errors = jiwer.wer([s for s, _ in with_words], [h for _, h in with_words]) * words
    invented = sum(len(heard.split()) for said, heard in spoken if not said)
    return float((errors + invented) / words)
