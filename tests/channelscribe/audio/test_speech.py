"""The speech detector on the shipped voices and on what is not speech; its numbers against the wheel's own model."""

from __future__ import annotations

import threading
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from channelscribe.audio.silero import BLOCK_FRAMES, FRAME, SileroStream, _model_path
from channelscribe.audio.speech import Hysteresis, Silero, SpeechRules
from channelscribe.audio.windows import Span
from channelscribe.core.window import RATE_HZ
from tests.channelscribe.audio.sounds import Pcm
from tests.emulators.speech import Recording, Score, Section, compose

pytestmark = pytest.mark.usefixtures("one_core")


@pytest.fixture(scope="module")
def recording() -> Recording:
    return compose(Score(3, 90.0, sections=(Section("silence", 30.0, 40.0), Section("noise", 60.0, 66.0))))


def spans_of(pcm: Pcm, chunk: int, threshold: float = 0.35) -> list[Span]:
    detector, found = Silero(threshold), list[Span]()
    for at in range(0, len(pcm), chunk):
        found += detector.feed(pcm[at : at + chunk])
    return [span for span in found + detector.finish() if span.ended]


def test_the_numbers_are_those_of_the_wheels_own_model(recording: Recording) -> None:
    pcm = recording.pcm[: 30 * RATE_HZ]
    stream = SileroStream()
    found = np.concatenate([stream.feed(pcm), stream.finish()])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        official = torch.jit.load(_model_path())
    sound = torch.nn.functional.pad(torch.from_numpy(pcm.astype(np.float32) / 32768), (0, -len(pcm) % FRAME))
    with torch.no_grad():
        wanted = official.audio_forward(sound, RATE_HZ)[0].numpy()
    assert np.abs(found - wanted).max() < 1e-4


def test_every_sentence_of_every_voice_is_found_whole(recording: Recording) -> None:
    spans = spans_of(recording.pcm, 30 * RATE_HZ)
    assert recording.sentences
    for sentence in recording.sentences:
        inside = [
            s for s in spans if s.start / RATE_HZ <= sentence.start_s + 0.1 and s.end / RATE_HZ >= sentence.end_s - 0.1
        ]
        assert len(inside) == 1, sentence


def test_half_of_the_found_time_is_not_silence(recording: Recording) -> None:
    found_s = sum(s.end - s.start for s in spans_of(recording.pcm, RATE_HZ)) / RATE_HZ
    spoken_s = sum(s.end_s - s.start_s for s in recording.sentences)
    assert spoken_s <= found_s < 1.5 * spoken_s


def _sound(kind: str) -> Pcm:
    at = np.arange(60 * RATE_HZ) / RATE_HZ
    chance = np.random.default_rng(5)
    if kind == "tones":
        return (np.sin(2 * np.pi * 440 * at) * 3000 + np.sin(2 * np.pi * 554 * at) * 3000).astype(np.int16)
    if kind == "hum":
        return (np.sin(2 * np.pi * 50 * at) * 2000).astype(np.int16)
    level = {"silence": 0, "hiss": 10, "noise": 1500}[kind]
    return (chance.standard_normal(len(at)) * level).astype(np.int16)


@pytest.mark.parametrize("kind", ["silence", "hiss", "noise", "tones", "hum"])
def test_nobody_speaks_in_what_is_no_speech(kind: str) -> None:
    assert spans_of(_sound(kind), 30 * RATE_HZ) == []


@pytest.mark.parametrize("chunk", [1, 160, 511, 4096, 70_001, 10**9])
def test_the_spans_do_not_depend_on_the_chunks(recording: Recording, chunk: int) -> None:
    length = 2 * RATE_HZ if chunk == 1 else 20 * RATE_HZ
    pcm = recording.pcm[:length]
    assert spans_of(pcm, chunk) == spans_of(pcm, BLOCK_FRAMES * FRAME)


def test_streams_in_threads_do_not_disturb_each_other(recording: Recording) -> None:
    parts = [recording.pcm[at * RATE_HZ : (at + 20) * RATE_HZ] for at in (0, 20, 40, 60)]
    wanted = [spans_of(part, 8000) for part in parts]
    found: dict[int, list[Span]] = {}

    def work(index: int) -> None:
        found[index] = spans_of(parts[index], 8000)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(parts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[index] for index in range(len(parts))] == wanted


def test_no_sound_at_all() -> None:
    detector = Silero()
    assert detector.feed(np.zeros(0, np.int16)) == []
    assert detector.finish() == []
    assert detector.settled == 0


odds = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.4, 0.9]), max_size=300)


@given(odds, st.lists(st.integers(0, 300), max_size=6))
@settings(max_examples=300)
def test_hysteresis_loses_no_speech_and_promises_only_what_it_keeps(frames: list[float], cuts: list[int]) -> None:
    rules = SpeechRules()
    detector, closed = Hysteresis(rules), list[Span]()
    probabilities = np.array(frames, np.float32)
    edges = sorted({0, *(min(cut, len(frames)) for cut in cuts), len(frames)})
    settled, open_spans = 0, list[Span]()
    for left, right in pairwise(edges):
        for span in detector.feed(probabilities[left:right]):
            assert span.start >= settled or any(span.start == o.start for o in open_spans)
            (closed if span.ended else open_spans).append(span)
        assert detector.settled >= settled
        settled = detector.settled
    closed += detector.finish()
    whole = Hysteresis(rules)
    assert closed == [s for s in whole.feed(probabilities) if s.ended] + whole.finish()
    assert all(a.end <= b.start for a, b in pairwise(closed))
    assert all(0 <= s.start < s.end <= len(frames) for s in closed)
    for opened in open_spans:
        assert any(s.start == opened.start and s.end >= opened.end for s in closed)
    in_spans = {frame for s in closed for frame in range(s.start, s.end)}
    long_runs = [f for f in range(len(frames) - 3) if all(p >= rules.threshold for p in frames[f : f + 4])]
    assert in_spans.issuperset(long_runs)
