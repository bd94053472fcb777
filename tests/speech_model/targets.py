"""Windows as numbers: sound, token ids, and where in the sound each token and each frame belongs.

The exact times of the synthesizer teach the encoder frame by frame and the cross-attention token by token; a network
that had to find the alignment by itself would need many times the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from random import Random
from zlib import crc32

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import WhisperProcessor

from tests.speech_model import sentences
from tests.speech_model.windows import Segment, Window

FRAME_S = 0.02
PHONEME_CLASSES = 192
NOWHERE = (0, 0)
IGNORED = -100
_SPREAD = 4


@dataclass(frozen=True)
class Vocabulary:
    """The ids that sequences are built from."""

    processor: WhisperProcessor

    def id(self, token: str) -> int:
        return int(self.processor.tokenizer.convert_tokens_to_ids(token))

    @cached_property
    def end(self) -> int:
        return self.id("<|endoftext|>")

    @cached_property
    def start(self) -> int:
        return self.id("<|startoftranscript|>")

    @cached_property
    def first_stamp(self) -> int:
        return self.id("<|0.00|>")

    @cached_property
    def word_classes(self) -> dict[str, int]:
        """Frame classes; 0 is no word."""
        return {word: 1 + i for i, word in enumerate(sentences.words())}

    def text(self, text: str) -> list[int]:
        return list(self.processor.tokenizer.encode(text, add_special_tokens=False))

    def stamp(self, frame: int) -> int:
        return self.first_stamp + min(max(frame, 0), 1500)


@dataclass(frozen=True)
class Piece:
    """A token and the frames in which it sounds."""

    token: int
    span: tuple[int, int] = NOWHERE


@dataclass(frozen=True, eq=False)
class Batch:
    """What one step learns from; frames count from the start of the sound, tokens from the 30 s window's."""

    wave: Tensor
    offset: int
    given: Tensor
    wanted: Tensor
    spans: Tensor
    word_frames: Tensor
    phoneme_frames: Tensor
    spoken: Tensor


def _frames(start_s: float, end_s: float) -> tuple[int, int]:
    first = round(start_s / FRAME_S)
    return first, max(first + 1, round(end_s / FRAME_S))


def _stamp(vocabulary: Vocabulary, at_s: float, offset: int) -> Piece:
    frame = round(at_s / FRAME_S)
    return Piece(vocabulary.stamp(frame + offset), (max(0, frame - _SPREAD), frame + _SPREAD))


def _words(vocabulary: Vocabulary, segment: Segment) -> list[Piece]:
    pieces = []
    for mark in segment.words:
        span = _frames(mark.start_s, mark.end_s)
        pieces += [Piece(token, span) for token in vocabulary.text(" " + mark.name)]
    return pieces


def _stamped(vocabulary: Vocabulary, segments: Sequence[Segment], offset: int) -> list[Piece]:
    """A sentence that the window cuts gives its start only, as the published models were taught."""
    pieces = []
    for segment in segments:
        pieces.append(_stamp(vocabulary, segment.start_s, offset))
        if not segment.cut:
            pieces += [*_words(vocabulary, segment), _stamp(vocabulary, segment.end_s, offset)]
    return pieces


def _spoken(vocabulary: Vocabulary, window: Window) -> list[int]:
    """The tokens of all that is heard to its end, for a network that writes down what sounds and nothing else."""
    heard = [mark for s in window.segments for mark in (s.words[:-1] if s.cut else s.words)]
    return [token for mark in heard for token in vocabulary.text(" " + mark.name)]


def pieces(vocabulary: Vocabulary, window: Window, offset: int, r: Random) -> tuple[list[Piece], int]:
    """The whole sequence, and how many tokens of it are a prompt (given, never asked for)."""
    head = [Piece(vocabulary.id("<|startofprev|>")), *map(Piece, vocabulary.text(" " + window.before))]
    head = head if window.before else []
    plain = r.random() < 0.25
    body = [Piece(vocabulary.id(t)) for t in (f"<|{window.language}|>", "<|transcribe|>")]
    if plain:
        body.append(Piece(vocabulary.id("<|notimestamps|>")))
        body += chain.from_iterable(_words(vocabulary, s) for s in window.segments)
    elif window.segments:
        body += _stamped(vocabulary, window.segments, offset)
    else:
        body.append(Piece(vocabulary.stamp(0)))
    return [*head, Piece(vocabulary.start), *body, Piece(vocabulary.end)], len(head)


def _wanted(vocabulary: Vocabulary, window: Window, sequence: list[Piece], prompt: int) -> list[int]:
    """The next token at each place; what the user says (language in silence, task, timestamps or not) is not asked."""
    wanted = [IGNORED] * prompt + [piece.token for piece in sequence[prompt + 1 :]]
    if not window.segments:
        wanted[prompt] = vocabulary.id("<|nospeech|>")
    wanted[prompt + 1] = IGNORED
    if wanted[prompt + 2] == vocabulary.id("<|notimestamps|>"):
        wanted[prompt + 2] = IGNORED
    return wanted


def _frame_classes(vocabulary: Vocabulary, window: Window, frames: int) -> tuple[np.ndarray, np.ndarray]:
    words, phonemes = np.zeros(frames, np.int64), np.zeros(frames, np.int64)
    for segment in window.segments:
        for mark in segment.words:
            words[slice(*_frames(mark.start_s, mark.end_s))] = vocabulary.word_classes[sentences.plain(mark.name)]
        for mark in segment.phonemes:
            kind = 1 + crc32(mark.name.encode()) % (PHONEME_CLASSES - 1)
            phonemes[slice(*_frames(mark.start_s, mark.end_s))] = kind
    return words, phonemes


def collate(vocabulary: Vocabulary, windows: Sequence[Window], offset: int, r: Random) -> Batch:
    """Windows of one length, all at `offset` frames of the 30 s window."""
    made = [pieces(vocabulary, window, offset, r) for window in windows]
    longest, frames = max(len(sequence) for sequence, _ in made), round(windows[0].duration_s / FRAME_S)
    given = torch.full((len(windows), longest - 1), vocabulary.end)
    wanted = torch.full((len(windows), longest - 1), IGNORED)
    spans = torch.zeros((len(windows), longest - 1, 2), dtype=torch.long)
    for row, (window, (sequence, prompt)) in enumerate(zip(windows, made, strict=True)):
        size = len(sequence) - 1
        given[row, :size] = torch.tensor([piece.token for piece in sequence[:-1]])
        wanted[row, :size] = torch.tensor(_wanted(vocabulary, window, sequence, prompt))
        spans[row, :size] = torch.tensor([piece.span for piece in sequence[1:]])
    classes = [_frame_classes(vocabulary, window, frames) for window in windows]
    words, phonemes = (torch.from_numpy(np.stack(rows)) for rows in zip(*classes, strict=True))
    wave = torch.from_numpy(np.stack([window.wave for window in windows]))
    texts = [torch.tensor(_spoken(vocabulary, window), dtype=torch.long) for window in windows]
    spoken = pad_sequence(texts, batch_first=True, padding_value=IGNORED)
    return Batch(wave, offset, given, wanted, spans.clamp(0, frames), words, phonemes, spoken)
