"""Text of strangers becomes text that can be stored, and ordinary text stays as it is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from channelscribe.core.text import clean_text


@given(st.text(st.characters(exclude_categories=[])))
def test_every_text_becomes_storable(text: str) -> None:
    clean = clean_text(text)
    assert clean.encode("utf-8").decode("utf-8") == clean
    assert "\x00" not in clean
    assert len(clean) == len(text)
    assert clean_text(clean) == clean


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")))
def test_ordinary_text_is_kept(text: str) -> None:
    assert clean_text(text) == text
