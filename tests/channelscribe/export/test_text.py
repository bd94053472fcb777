"""The files for people: every line carries its time, and the same transcript gives the same bytes."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channelscribe.core.model import Provenance, Segment, Transcript, Video, Word
from channelscribe.export.text import NO_SPEECH, clock_range, sidecar_json, transcript_json, transcript_text
from tests.channelscribe.records import a_media, a_transcript, a_video

SHORT = re.compile(r"\[(\d\d):([0-5]\d) - (\d\d):([0-5]\d)\]")
LONG = re.compile(r"\[(\d{2,}):([0-5]\d):([0-5]\d) - (\d{2,}):([0-5]\d):([0-5]\d)\]")
LINE = re.compile(r"\[[\d: -]+\] \S.*")
seconds = st.floats(min_value=0, max_value=400 * 3600)
any_text = st.text(st.characters(exclude_categories=[]), max_size=60)
real = st.floats(allow_nan=True, allow_infinity=True)
words = st.builds(Word, any_text, seconds, seconds, real)
segments = st.builds(
    Segment, st.just(0), seconds, seconds, any_text, real, real, real, words=st.lists(words, max_size=2).map(tuple)
)


def with_segments(found: list[Segment]) -> Transcript:
    numbered = tuple(dataclasses.replace(s, index=i) for i, s in enumerate(found))
    return dataclasses.replace(a_transcript("f"), segments=numbered)


@given(seconds, seconds)
def test_a_range_reads_back_to_the_second(one: float, other: float) -> None:
    start, end = sorted((one, other))
    shown = clock_range(start, end)
    if end < 3600:
        a, b, c, d = (int(n) for n in SHORT.fullmatch(shown).groups())  # type: ignore[union-attr]
        assert (a * 60 + b, c * 60 + d) == (int(start), int(end))
    else:
        a, b, c, d, e, f = (int(n) for n in LONG.fullmatch(shown).groups())  # type: ignore[union-attr]
        assert (a * 3600 + b * 60 + c, d * 3600 + e * 60 + f) == (int(start), int(end))


@pytest.mark.parametrize(
    ("start", "end", "shown"),
    [
        (0, 0, "[00:00 - 00:00]"),
        (0.999, 59.999, "[00:00 - 00:59]"),
        (3590, 3599.99, "[59:50 - 59:59]"),
        (3590, 3600, "[00:59:50 - 01:00:00]"),
        (360000, 360001, "[100:00:00 - 100:00:01]"),
        (-3, 2, "[00:00 - 00:02]"),
        (5, 2, "[00:05 - 00:05]"),
    ],
)
def test_ranges(start: float, end: float, shown: str) -> None:
    assert clock_range(start, end) == shown


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_time_that_is_no_number_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="no moment"):
        clock_range(bad, 1.0)
    with pytest.raises(ValueError, match="no moment"):
        clock_range(0.0, bad)


@given(st.lists(segments, max_size=6))
def test_every_line_has_its_time_and_lines_stand_apart(found: list[Segment]) -> None:
    text = transcript_text(with_segments(found))
    assert text.encode("utf-8")
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    blocks = text[:-1].split("\n\n")
    spoken = [s for s in found if s.text.split()]
    assert len(blocks) == max(1, len(spoken))
    if spoken:
        assert all(LINE.fullmatch(block) for block in blocks)
    else:
        assert text == f"{NO_SPEECH}\n"


def test_text_is_cleaned_of_line_breaks_only() -> None:
    segment = Segment(0, 0.0, 2.0, "  one\ntwo\r\n\tthree  ", 0.0, 0.0, 0.0)
    assert transcript_text(with_segments([segment])) == "[00:00 - 00:02] one two three\n"


def test_silence_says_so() -> None:
    assert transcript_text(with_segments([])) == "[no speech]\n"


@given(st.lists(segments, max_size=4), any_text)
def test_json_is_valid_for_any_text_and_any_number(found: list[Segment], title: str) -> None:
    shown = transcript_json(with_segments(found), a_video(title=title))
    assert shown.encode("utf-8")
    read = json.loads(shown, parse_constant=pytest.fail)
    assert [s["index"] for s in read["segments"]] == list(range(len(found)))
    assert shown == transcript_json(with_segments(found), a_video(title=title))


def elsewhere(transcript: Transcript) -> Transcript:
    """The same work done on another machine, another day, with parameters written in another order."""
    there = transcript.provenance
    made = Provenance(
        there.engine,
        there.model,
        there.model_revision,
        dict(reversed(list(there.parameters.items()))),
        "cuda:1",
        "float16",
        64,
        {"torch": "9"},
    )
    later = datetime(2030, 1, 1, tzinfo=UTC)
    return dataclasses.replace(transcript, provenance=made, created_at=later, wall_s=99.0)


def test_the_same_work_gives_the_same_bytes() -> None:
    how = Provenance("whisper", "m", "r", {"b": 1, "a": {"y": [1, 2], "x": None}}, "cpu", "float32", 1, {"torch": "2"})
    here = dataclasses.replace(a_transcript("f" * 64), provenance=how)
    assert transcript_json(here, a_video()) == transcript_json(elsewhere(here), a_video())
    assert transcript_text(here) == transcript_text(elsewhere(here))


def test_other_text_gives_other_bytes() -> None:
    here = a_transcript("f" * 64)
    changed = dataclasses.replace(here.segments[1], text="Another star.")
    there = dataclasses.replace(here, segments=(here.segments[0], changed, here.segments[2]))
    assert transcript_json(here, a_video()) != transcript_json(there, a_video())


def test_json_names_what_a_program_needs() -> None:
    read = json.loads(
        transcript_json(a_transcript("f" * 64), a_video(published_at=datetime(2026, 1, 2, 3, tzinfo=UTC)))
    )
    assert read["videoId"] == a_video().video_id
    assert read["publishedAt"] == "2026-01-02T03:00:00Z"
    assert read["fingerprint"] == "f" * 64
    assert read["text"] == a_transcript("f").text
    assert read["segments"][1] == {
        "index": 1,
        "startS": 2.0,
        "endS": 3.5,
        "text": "The raven counts 1 stars.",
        "speaker": None,
        "avgLogprob": -0.2,
        "noSpeechProb": 0.01,
        "compressionRatio": 1.1,
    }


def test_the_sidecar_keeps_the_names_of_the_systems_before() -> None:
    video = a_video(
        title='Tom & "Jerry" 😀',
        published_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2))),
        description="two\nlines",
        thumbnail_url="https://i.ytimg.com/vi/x/hq.jpg",
        language="de",
    )
    text = sidecar_json(video, None)
    read: dict[str, Any] = json.loads(text)
    assert list(read)[:6] == ["videoId", "publishedAt", "channelId", "title", "description", "thumbnail"]
    assert read["publishedAt"] == "2026-01-02T01:04:05Z"
    assert read["title"] == video.title
    assert '"title": "Tom & \\"Jerry\\" 😀"' in text
    assert read["thumbnail"] == video.thumbnail_url
    assert (read["language"], read["durationS"]) == ("de", 60.0)


def test_the_sidecar_prefers_what_the_file_itself_says() -> None:
    media = dataclasses.replace(a_media(), duration_s=61.25, language="en")
    read = json.loads(sidecar_json(a_video(language="de"), media))
    assert (read["language"], read["durationS"]) == ("en", 61.25)


@given(any_text, any_text, st.none() | st.datetimes() | st.datetimes(timezones=st.just(UTC)), real)
def test_any_metadata_gives_a_sidecar(title: str, about: str, when: datetime | None, duration_s: float) -> None:
    text = sidecar_json(Video("dQw4w9WgXcQ", title, description=about, published_at=when, duration_s=duration_s), None)
    assert text.encode("utf-8")
    assert json.loads(text, parse_constant=pytest.fail)["videoId"] == "dQw4w9WgXcQ"
