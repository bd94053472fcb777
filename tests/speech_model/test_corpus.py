"""Speech to order says exactly what was asked for, when it says it does, and the same again."""

from __future__ import annotations

import json
import wave as wav
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest

from tests.speech_model.corpus import Line, Talk, main, recite, talk, write
from tests.speech_model.evaluate import PARAKEET, count_errors, normal
from tests.speech_model.judges import ParakeetJudge
from tests.speech_model.sentences import sentence
from tests.speech_model.voices import RATE_HZ, Voice
from tests.speech_model.windows import Window

pytestmark = pytest.mark.usefixtures("shard")
PAIR = (Voice("en-us", 160, 50), Voice("en-gb+f2", 150, 60))


@pytest.fixture(scope="module")
def pair() -> Talk:
    return talk(60.0, 4, PAIR)


def loud(found: Talk, start_s: float, end_s: float) -> bool:
    return bool(np.abs(found.wave[round(start_s * RATE_HZ) : round(end_s * RATE_HZ)]).max(initial=0) > 0.01)


def test_lines_are_said_one_after_the_other_and_nothing_else_is() -> None:
    lines = [
        Line("The raven guards a silver hammer.", PAIR[0]),
        Line("Der Mond kennt das Boot.", Voice("de", 150, 50), "de"),
    ]
    found = recite(lines, seed=1)
    assert [(s.text, s.voice) for s in found.segments] == [(line.text, line.voice.name) for line in lines]
    assert found.text == " ".join(line.text for line in lines)
    edges = [0.0, *(at for s in found.segments for at in (s.start_s, s.end_s)), found.duration_s]
    assert edges == sorted(edges)
    for index, (start_s, end_s) in enumerate(pairwise(edges)):
        assert loud(found, start_s, end_s) == (index % 2 == 1)


def test_every_word_has_its_time_within_its_sentence(pair: Talk) -> None:
    assert [word.name for word in pair.words] == pair.text.split()
    for segment in pair.segments:
        assert segment.words[0].start_s == pytest.approx(segment.start_s, abs=0.02)
        assert segment.words[-1].end_s == pytest.approx(segment.end_s, abs=1e-4)
        assert all(a.end_s == pytest.approx(b.start_s) and a.start_s < a.end_s for a, b in pairwise(segment.words))


def test_voices_take_turns_of_one_to_three_sentences(pair: Talk) -> None:
    assert {turn.voice for turn in pair.turns} == {voice.name for voice in PAIR}
    assert all(a.voice != b.voice and a.end_s < b.start_s for a, b in pairwise(pair.turns))
    inside = [[s for s in pair.segments if turn.start_s <= s.start_s < turn.end_s] for turn in pair.turns]
    for turn, own in zip(pair.turns, inside, strict=True):
        assert 1 <= len(own) <= 3 and {s.voice for s in own} == {turn.voice}
    assert sum(map(len, inside)) == len(pair.segments)


@pytest.mark.parametrize("seconds", [12.0, 600.0])
def test_a_talk_is_as_long_as_asked_and_full(seconds: float) -> None:
    found = talk(seconds, 5, PAIR[:1], "en")
    assert len(found.wave) == round(seconds * RATE_HZ)
    assert found.segments and found.segments[-1].end_s <= seconds < found.segments[-1].end_s + 8


def test_equal_orders_give_equal_sound(pair: Talk) -> None:
    again, other = talk(60.0, 4, PAIR), talk(60.0, 5, PAIR)
    assert np.array_equal(again.wave, pair.wave) and again.segments == pair.segments
    assert other.text != pair.text


def test_it_is_understood_and_a_voice_that_is_not_there_is_refused(pair: Talk) -> None:
    first = [s for s in pair.segments if s.end_s <= 28]
    window = Window(pair.wave[: round((first[-1].end_s + 0.2) * RATE_HZ)], "en", tuple(first))
    heard = next(ParakeetJudge(PARAKEET).hear([window]))
    said = " ".join(s.text for s in first)
    assert count_errors([(normal(said), normal(heard.text))])[1] <= 2
    with pytest.raises(ValueError, match="no voice"):
        recite([Line(sentence("en", Random(1)), Voice("xx-none", 150, 50))])


def test_files_hold_the_sound_and_what_is_said(pair: Talk, tmp_path: Path) -> None:
    known = json.loads(write(pair, tmp_path / "talk.wav").read_text(encoding="utf-8"))
    with wav.open(str(tmp_path / "talk.wav")) as file:
        assert (file.getframerate(), file.getnframes()) == (RATE_HZ, len(pair.wave))
    assert [s["text"] for s in known["segments"]] == [s.text for s in pair.segments]
    assert [t["voice"] for t in known["turns"]] == [t.voice for t in pair.turns]


def test_the_program_writes_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "talk.wav"
    given = ["--seconds", "9", "--voices", "de", "--language", "de", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["corpus", *given])
    main()
    known = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    assert f"9 s, {len(known['segments'])} sentences" in capsys.readouterr().out and known["segments"]
