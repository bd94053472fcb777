"""Every record that the model allows comes back from its table as it was, text that no table takes excepted."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channelscribe.core.model import Media, Outcome, Provenance, Run, Segment, Transcript, Upload, Video, Word
from channelscribe.core.text import clean_text
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from channelscribe.store.schema import SCHEMA_VERSION, TABLES, TRANSCRIPTS, VERSION_KEY

text = st.text(st.characters(exclude_categories=[]), max_size=30)
moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))
reals = st.floats(allow_nan=False)
times = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(-(1 << 63), (1 << 63) - 1)
leaves = st.none() | st.booleans() | st.integers() | times | text
Made = TypeVar("Made")
json_objects = st.dictionaries(text, st.recursive(leaves, lambda v: st.lists(v, max_size=3), max_leaves=5), max_size=4)
BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {str: text, datetime: moments, float: reals, int: counts}


def of_type(hint: Any) -> st.SearchStrategy[Any]:
    if get_origin(hint) is UnionType:
        return st.one_of(*(st.none() if each is type(None) else of_type(each) for each in get_args(hint)))
    return BY_TYPE[hint] if hint in BY_TYPE else st.sampled_from(list(hint))


def made(kind: type[Made], **fixed: st.SearchStrategy[Any]) -> st.SearchStrategy[Made]:
    """Any record of a kind, with any value that the types of its fields allow."""
    hints = get_type_hints(kind)
    return st.builds(kind, **{name: fixed[name] if name in fixed else of_type(hint) for name, hint in hints.items()})


videos = made(Video)
media = made(Media)
uploads = made(Upload)
outcomes = made(Outcome, at=moments)
runs = made(
    Run, parameters=json_objects, versions=st.dictionaries(text, text, max_size=3), guard=st.none() | json_objects
)
words = made(Word)
segments = made(Segment, index=st.just(0), start_s=times, end_s=times, words=st.lists(words, max_size=3).map(tuple))
provenances = made(Provenance, parameters=json_objects, versions=st.dictionaries(text, text, max_size=3))
transcripts = made(
    Transcript,
    fingerprint=text.filter(bool),
    provenance=provenances,
    segments=st.lists(segments, max_size=5).map(
        lambda found: tuple(dataclasses.replace(s, index=i) for i, s in enumerate(found))
    ),
)


def cleaned(value: Any) -> Any:
    """The record with its text as a table keeps it."""
    if isinstance(value, Enum):
        return value
    if isinstance(value, str):
        return clean_text(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {f.name: cleaned(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return dataclasses.replace(value, **parts)
    if isinstance(value, dict):
        return {in_json(key): in_json(each) for key, each in value.items()}
    return tuple(cleaned(each) for each in value) if isinstance(value, tuple) else value


def in_json(value: Any) -> Any:
    # JSON escapes NUL, so only surrogates are replaced there.
    if isinstance(value, str):
        return "".join(clean_text(c) if c != "\x00" else c for c in value)
    return [in_json(each) for each in value] if isinstance(value, list) else value


def empty_archive() -> Archive:
    folder = tempfile.TemporaryDirectory()
    archive = Archive(DataRoot.open(folder.name))
    archive.folder = folder  # type: ignore[attr-defined]  # lives as long as the archive
    return archive


def distinct(found: list[Any], key: Callable[[Any], Any]) -> dict[Any, Any]:
    return {key(record): record for record in map(cleaned, found)}


quick = settings(max_examples=25, deadline=None)


@given(st.lists(videos, max_size=4))
@quick
def test_videos(found: list[Video]) -> None:
    with empty_archive() as archive:
        for video in found:
            archive.put_videos([video])
        assert archive.videos() == distinct(found, lambda v: v.video_id)
        archive.tidy()
        assert archive.videos() == distinct(found, lambda v: v.video_id)


@given(st.lists(media, max_size=3))
@quick
def test_media(found: list[Media]) -> None:
    with empty_archive() as archive:
        for each in found:
            archive.put_media(each)
        assert archive.media() == distinct(found, lambda m: m.video_id)
        for each in archive.media().values():
            assert archive.media_of(each.video_id) == each


@given(st.lists(uploads, max_size=3))
@quick
def test_uploads(found: list[Upload]) -> None:
    with empty_archive() as archive:
        for upload in found:
            archive.put_upload(upload)
        assert archive.uploads() == distinct(found, lambda u: (u.project_id, u.key))


@given(st.lists(outcomes, max_size=4))
@quick
def test_outcomes(found: list[Outcome]) -> None:
    with empty_archive() as archive:
        for outcome in found:
            archive.put_outcome(outcome)
        expected = distinct(found, lambda o: (o.run_id, o.video_id, o.stage, o.attempt, o.at))
        back = archive.outcomes()
        assert {(o.run_id, o.video_id, o.stage, o.attempt, o.at): o for o in back} == expected
        assert len(back) == len(expected)
        assert [o.at for o in back] == sorted(o.at for o in back if o.at)


@given(st.lists(runs, max_size=3))
@quick
def test_runs(found: list[Run]) -> None:
    with empty_archive() as archive:
        for run in found:
            archive.put_run(run)
        assert {run.run_id: run for run in archive.runs()} == distinct(found, lambda r: r.run_id)


@given(st.lists(transcripts, max_size=3), text)
@quick
def test_transcripts(found: list[Transcript], run_id: str) -> None:
    with empty_archive() as archive:
        for transcript in found:
            archive.put_transcript(transcript, run_id)
        expected = distinct(found, lambda t: t.fingerprint)
        assert archive.transcript_fingerprints() == {key: t.video_id for key, t in expected.items()}
        for each in (*found, *expected.values()):
            assert archive.has_transcript(each.fingerprint)
            assert archive.transcript(each.fingerprint) == expected[clean_text(each.fingerprint)]
        archive.tidy()
        assert archive.transcript_fingerprints() == {key: t.video_id for key, t in expected.items()}


@pytest.mark.parametrize(("table", "record"), [("videos", Video), ("media", Media), ("uploads", Upload)])
def test_a_table_has_a_column_for_each_field(table: str, record: type) -> None:
    assert TABLES[table].schema.names == [*(f.name for f in dataclasses.fields(record)), "stamp"]


def test_a_segment_row_says_whose_it_is_and_how_it_was_made() -> None:
    parts = (Segment, Provenance, Transcript)
    fields = {f.name for part in parts for f in dataclasses.fields(part)} - {"segments", "provenance"}
    assert fields | {"segment_count", "word_count", "run_id", "stamp"} == set(TRANSCRIPTS.schema.names)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_file_says_its_table_and_version(table: Any) -> None:
    assert table.schema.metadata[VERSION_KEY] == str(SCHEMA_VERSION).encode()
    assert set(table.key) < set(table.schema.names)
