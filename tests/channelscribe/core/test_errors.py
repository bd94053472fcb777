"""The error tree is the one its docstring draws; errors travel between processes and never carry a secret."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channelscribe.core import errors, redact
from channelscribe.core.errors import ChannelscribeError, Decision, EnvironmentFailure, FailureClass, Transient


def below(kind: type[ChannelscribeError]) -> Iterator[type[ChannelscribeError]]:
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from below(child)


def drawn() -> dict[str, str]:
    """Child -> parent, as the docstring shows it."""
    tree: dict[str, str] = {}
    stack: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"( +(?:│ +)*)(?:[├└]── )?(\w+)(?:  |$)", line)
        if not match:
            continue
        depth = line.index(match[2])
        while stack and stack[-1][0] >= depth:
            stack.pop()
        if stack:
            tree[match[2]] = stack[-1][1]
        stack.append((depth, match[2]))
    return tree


KINDS = sorted(below(ChannelscribeError), key=lambda kind: kind.__name__)


def test_the_tree_is_the_drawing() -> None:
    real = {kind.__name__: kind.__mro__[1].__name__ for kind in KINDS}
    assert real == drawn()
    assert len(real) >= 12


def test_every_failure_class_is_the_name_of_something_that_happens() -> None:
    used = {kind.failure_class for kind in KINDS if kind is not errors.LaneFailure} | {ChannelscribeError.failure_class}
    assert used == set(FailureClass)
    assert {kind.decision for kind in KINDS} == set(Decision)


@pytest.mark.parametrize("kind", KINDS)
def test_errors_travel(kind: type[ChannelscribeError]) -> None:
    when = datetime(2026, 5, 1, tzinfo=UTC)
    error = kind("Something happened; do this.", code="short", retry_after=when)
    for back in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(back) is kind
        assert (str(back), back.reason, back.code, back.retry_after) == (str(error), error.reason, "short", when)
        assert (back.failure_class, back.decision) == (kind.failure_class, kind.decision)


def test_the_code_is_never_empty_and_the_reason_one_line() -> None:
    error = Transient("two\n  lines\tand\r\nmore")
    assert error.code == "transient"
    assert error.reason == "two lines and more"


@pytest.mark.parametrize(
    "text",
    [
        "GET https://host/x?key=SECRETVALUE&part=id failed",
        "GET https://host/x?a=1&api_key=SECRETVALUE",
        "https://host/x?token=SECRETVALUE#there",
        "https://h/videoplayback?expire=1&sig=SECRETVALUE&lsig=SECRETVALUE",
        "https://s3.host/b/k?X-Amz-Signature=SECRETVALUE&X-Amz-Credential=SECRETVALUE",
        "https://storage.host/b/k?X-Goog-Signature=SECRETVALUE",
        "headers: {'X-API-KEY': 'SECRETVALUE', 'X-API-SECRET': 'SECRETVALUE'}",
        "x-goog-api-key: SECRETVALUE",
        "Authorization: SECRETVALUE",
        "Authorization: Bearer SECRETVALUE",
        "'authorization': 'Token SECRETVALUE'",
        "Proxy-Authorization: Basic SECRETVALUE",
        "Cookie: SID=SECRETVALUE; HSID=SECRETVALUE",
        "Set-Cookie: SID=SECRETVALUE; Path=/",
        "proxy http://user:SECRETVALUE@proxy.host:3128 refused",
        "s3://user:SECRETVALUE@bucket/path",
    ],
)
def test_secrets_of_known_shapes_are_masked(text: str) -> None:
    reason = EnvironmentFailure(text).reason
    assert "SECRETVALUE" not in reason
    assert redact.MASK in reason
    assert "SECRETVALUE" not in repr(EnvironmentFailure(text))


@given(st.text(st.characters(exclude_categories=["Cs", "Z", "C"]), min_size=6, max_size=40), st.text(), st.text())
def test_a_remembered_secret_is_masked_everywhere(secret: str, before: str, after: str) -> None:
    known = set(redact._known)
    redact.remember_secret(secret)
    try:
        assert secret not in redact.redact(f"{before} {secret} {after}")
    finally:
        redact._known.intersection_update(known)


@given(st.text())
def test_text_without_secrets_is_kept(text: str) -> None:
    plain = re.sub(r"[:=@]", "", text)
    assert redact.redact(plain) == plain


def test_ordinary_sentences_are_kept() -> None:
    watch = "https://www.youtube.com/watch?v=dQw4w9WgXcQ"
    for text in ("The video is private.", watch, "at 12:30 a@b.c wrote", "key=3", "export cookies again, then retry"):
        assert EnvironmentFailure(text).reason == text


def test_a_short_value_would_mask_ordinary_words_and_is_not_remembered() -> None:
    redact.remember_secret("abc")
    redact.remember_secret("")
    assert redact.redact("abcdef") == "abcdef"


def test_a_secret_with_spaces_or_in_another_spelling() -> None:
    known = set(redact._known)
    redact.remember_secret("p@ss word/6")
    try:
        assert "p@ss word/6" not in Transient("login with p@ss word/6 failed").reason
        assert "p%40ss%20word%2F6" not in Transient("https://h/?x=p%40ss%20word%2F6").reason
        assert "p%40ss+word%2F6" not in Transient("https://h/?x=p%40ss+word%2F6").reason
    finally:
        redact._known.intersection_update(known)
