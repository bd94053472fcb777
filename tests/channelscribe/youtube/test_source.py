"""What people paste, and what they must not be able to make us fetch."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channelscribe.core.errors import UsageError
from channelscribe.core.names import is_video_id
from channelscribe.youtube.source import MAX_CHARS, Source, SourceKind, parse_source

UC = "UC" + "aB3_-" * 4 + "xy"
PL = "PL" + "aB3_-" * 6
VIDEO = "-_aB3xYz019"
YT = "https://www.youtube.com"

CHANNELS = {
    UC: UC,
    f"{YT}/channel/{UC}": UC,
    f"{YT}/channel/{UC}/videos?view=0": UC,
    f"http://m.youtube.com/channel/{UC}/": UC,
    f"https://music.youtube.com/channel/{UC}": UC,
    f"music.youtube.com/browse/{UC}": UC,
    "@some.handle": "@some.handle",
    " @handle \n": "@handle",
    f"{YT}/@handle": "@handle",
    f"{YT}/@handle/streams?si=abc#x": "@handle",
    "youtube.com/@handle/shorts": "@handle",
    "@日本語チャンネル": "@日本語チャンネル",
    f"{YT}/@{quote('日本語チャンネル')}/videos": "@日本語チャンネル",
    f"{YT}/user/OldName": "user/OldName",
    "user/OldName": "user/OldName",
    "/c/Custom": "c/Custom",
    f"{YT}/c/Cüstom/about": "c/Cüstom",
    f"{YT}/GoogleDevelopers": "c/GoogleDevelopers",
    f"\ufeff{YT}/@handle": "@handle",
    "HTTPS://WWW.YOUTUBE.COM/@handle": "@handle",
}
PLAYLISTS = {
    PL: PL,
    f"{YT}/playlist?list={PL}": PL,
    f"{YT}/playlist?list={PL}&si=x": PL,
    f"https://music.youtube.com/playlist?list={PL}": PL,
    f"{YT}/watch?list={PL}": PL,
    f"{YT}/embed/videoseries?list={PL}": PL,
    f"music.youtube.com/browse/VL{PL}": PL,
    "UU" + UC[2:]: "UU" + UC[2:],
    "OLAK5uy_" + "a" * 33: "OLAK5uy_" + "a" * 33,
}
VIDEOS = {
    VIDEO: VIDEO,
    f"{YT}/watch?v={VIDEO}": VIDEO,
    f"{YT}/watch?v={VIDEO}&list={PL}&t=42s": VIDEO,
    f"{YT}/watch?app=desktop&v={VIDEO}": VIDEO,
    f"https://youtu.be/{VIDEO}?si=abc&t=3": VIDEO,
    f"youtu.be/{VIDEO}": VIDEO,
    f"{YT}/shorts/{VIDEO}": VIDEO,
    f"{YT}/live/{VIDEO}?feature=share": VIDEO,
    f"{YT}/embed/{VIDEO}": VIDEO,
    f"https://www.youtube-nocookie.com/embed/{VIDEO}": VIDEO,
    f"{YT}/v/{VIDEO}": VIDEO,
    f"{YT}/watch/{VIDEO}": VIDEO,
    f"{VIDEO}, abcdefghijk\n{YT}/watch?v={VIDEO} youtu.be/ABCDEFGHIJK;": f"{VIDEO},abcdefghijk,ABCDEFGHIJK",
}
REFUSED = [
    "", "   \n", "handle without at", "https://example.com/@handle", "https://www.youtube.com.evil.org/@x",
    "https://youtube.com@evil.org/watch?v=aaaaaaaaaaa",
    "https://user:pass@www.youtube.com/@x", "ftp://youtube.com/@x",
    "file:///etc/passwd", "javascript:alert(1)", "http://127.0.0.1/watch?v=aaaaaaaaaaa",
    "http://[::1]/@x",
    "https://www.youtube.com:8443/@x", "https://[", "https://www.youtube.com:x/@a", f"{YT}/",
    f"{YT}/feed/subscriptions",
    f"{YT}/results?search_query=x", f"{YT}/watch?v=short", f"{YT}/watch", f"{YT}/playlist", f"{YT}/playlist?list=WL",
    f"{YT}/playlist?list=RD{VIDEO}", f"{YT}/channel/UCshort", f"{YT}/clip/Ugkx123", f"{YT}/redirect?q=http://evil",
    "@", "@a/../../b", f"{YT}/@", f"{YT}/user/", f"{YT}/c/%2e%2e%2fx", f"{YT}/c/a%00b", "@handle @other",
    f"{VIDEO} @handle",
    f"{PL},{VIDEO}", "a" * (MAX_CHARS + 1), "https://youtu.be/", "https://youtu.be/tooshort", "../../etc/passwd", "-rf",
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "typed", "value"),
    [
        *((SourceKind.CHANNEL, *pair) for pair in CHANNELS.items()),
        *((SourceKind.PLAYLIST, *pair) for pair in PLAYLISTS.items()),
        *((SourceKind.VIDEOS, *pair) for pair in VIDEOS.items()),
    ],
)
def test_every_usual_form_is_understood(kind: SourceKind, typed: str, value: str) -> None:
    source = parse_source(typed)
    assert (source.kind, source.value) == (kind, value)


@pytest.mark.parametrize("typed", REFUSED, ids=lambda text: repr(text[:40]))
def test_everything_else_is_refused_with_one_sentence(typed: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_source(typed)
    assert len(refused.value.reason) < 700
    assert refused.value.code in {"bad_source", "mixed_source"}


@pytest.mark.parametrize("typed", [None, 42, b"@handle", ["@handle"]])
def test_a_wrong_type_is_a_usage_error(typed: object) -> None:
    with pytest.raises(UsageError, match="text"):
        parse_source(typed)  # type: ignore[arg-type]


@pytest.mark.parametrize("typed", [*CHANNELS, *PLAYLISTS, *VIDEOS])
def test_reading_the_normal_form_again_changes_nothing(typed: str) -> None:
    source = parse_source(typed)
    again = parse_source(source.value)
    assert (again.kind, again.value) == (source.kind, source.value)


def test_hostile_text_is_not_echoed_in_full() -> None:
    with pytest.raises(UsageError) as refused:
        parse_source("https://evil.example/" + "A" * 10_000 + "\x1b[31m")
    assert "\x1b" not in refused.value.reason and "A" * 100 not in refused.value.reason


def _safe(source: Source) -> bool:
    """What may be put behind youtube.com/ without leading elsewhere."""
    if source.kind is SourceKind.VIDEOS:
        return all(is_video_id(v) for v in source.video_ids)
    return "//" not in source.value and ".." not in source.value.split("/") and not set(source.value) & set("?#&% \\\n")


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_either_understood_safely_or_refused(text: str) -> None:
    try:
        source = parse_source(text)
    except UsageError:
        return
    assert _safe(source)


@settings(deadline=None)
@given(
    st.sampled_from(["https://", "http://", "", "//", "ftp://", "https://a@"]),
    st.sampled_from(["www.youtube.com", "youtu.be", "m.youtube.com", "evil.org", "youtube.com.", "[::1]", ""]),
    st.lists(st.text(alphabet=st.sampled_from("@abcUCPL-_./?=&%2f0#: watchv\u202elist日"), max_size=30), max_size=4),
)
def test_any_address_is_either_understood_safely_or_refused(scheme: str, host: str, steps: list[str]) -> None:
    try:
        source = parse_source(f"{scheme}{host}/{'/'.join(steps)}")
    except UsageError:
        return
    assert _safe(source)
