"""File names hold for any title in any script, and are read back by position."""

from __future__ import annotations

import string
import unicodedata
from datetime import date
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from channelscribe.core.names import MAX_STEM_BYTES, UNDATED, clean_title, file_stem, is_video_id, parse_stem

FORBIDDEN = set('/\\:*?<>|"') | {chr(n) for n in range(32)} | {"\x7f"}
ids = st.text(string.ascii_letters + string.digits + "-_", min_size=11, max_size=11)
dates = st.one_of(st.none(), st.dates())
titles = st.one_of(
    st.text(),
    st.text(st.characters(exclude_categories=[]), max_size=400),
    st.text("_.- \u200d\u0301é👩🏽\u202e&amp;#x2F/\\", max_size=300),
)


@given(dates, titles, ids)
@example(None, "", "___________")
@example(date(2026, 1, 2), "a_b-c__", "-_-_-_-_-_-")
@example(date(1, 1, 1), "👩‍👩‍👧‍👦" * 40, "dQw4w9WgXcQ")
@example(None, "e\u0301" * 300, "dQw4w9WgXcQ")
@example(None, "\ud800\x00\u202egpj.exe", "dQw4w9WgXcQ")
@example(None, "CON", "dQw4w9WgXcQ")
def test_any_title_gives_a_name_that_reads_back(day: date | None, title: str, video_id: str) -> None:
    stem = file_stem(day, title, video_id)
    parts = parse_stem(stem)
    assert parts.video_id == video_id
    assert parts.published == (day.isoformat() if day else UNDATED)
    assert parts.title
    assert len(stem.encode("utf-8")) <= MAX_STEM_BYTES
    assert not FORBIDDEN & set(stem)
    assert not any(c.isspace() for c in stem)
    assert not any(unicodedata.category(c) in {"Cc", "Cs"} for c in stem)


@given(titles)
def test_a_cleaned_title_stays_as_it_is(title: str) -> None:
    assert clean_title(clean_title(title)) == clean_title(title) or "&" in clean_title(title)


def test_lines_of_a_title_are_kept_apart() -> None:
    assert clean_title("line one\nline two\ttab\r\nend") == "line_one_line_two_tab_end"


@given(titles)
def test_a_name_can_be_created_on_this_file_system(tmp_path_factory: pytest.TempPathFactory, title: str) -> None:
    path = tmp_path_factory.getbasetemp() / f"{file_stem(None, title, 'dQw4w9WgXcQ')}.transcript.json"
    path.write_bytes(b"")
    assert Path(path).is_file()
    path.unlink()


@given(st.text(max_size=60))
def test_what_is_no_stem_is_refused_and_nothing_else(text: str) -> None:
    try:
        parts = parse_stem(text)
    except ValueError:
        return
    assert f"{parts.published}_{parts.title}_{parts.video_id}" == text
    assert is_video_id(parts.video_id)


@pytest.mark.parametrize("bad", ["", "short", "twelve chars", "../../../etc", "dQw4w9WgXcQ\n", "dQw4w9WgXc\u0665"])
def test_no_name_for_what_is_no_video_id(bad: str) -> None:
    assert not is_video_id(bad)
    with pytest.raises(ValueError, match="video id"):
        file_stem(None, "title", bad)


@pytest.mark.parametrize(
    ("title", "clean"),
    [
        ('Tom &amp; "Jerry": 1/2', "Tom_&_Jerry_1_2"),
        ("  spaced   out  ", "spaced_out"),
        ("...", "untitled"),
        ("مرحبا بالعالم", "مرحبا_بالعالم"),
        ("日本語 テスト", "日本語_テスト"),
        ("e\u0301", "é"),
        ("safe\u202egpj.exe", "safegpj.exe"),
    ],
)
def test_titles_of_many_kinds(title: str, clean: str) -> None:
    assert clean_title(title) == clean


def test_a_long_title_is_cut_between_characters() -> None:
    stem = file_stem(date(2026, 1, 1), "👩🏽‍🚀" * 100, "dQw4w9WgXcQ")
    title = parse_stem(stem).title
    assert not title.endswith("\u200d")
    assert len(stem.encode()) > MAX_STEM_BYTES - 30
