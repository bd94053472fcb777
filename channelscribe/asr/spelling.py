"""Tokens of Whisper's byte-level vocabulary to characters, one by one: a character may be spelled by several tokens.

`words` reads a line through it; together the pieces are exactly what the tokenizer's `decode` gives for the line.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any


def spelled(tokenizer: Any, tokens: Sequence[int]) -> Iterator[tuple[str, list[int]]]:
    """Runs of whole characters, each with the places of its tokens; bytes that are no character become U+FFFD."""
    special = frozenset(tokenizer.all_special_ids)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    places: list[int] = []
    for place, (token, name) in enumerate(zip(tokens, tokenizer.convert_ids_to_tokens(list(tokens)), strict=True)):
        places.append(place)
        text = decoder.decode(b"" if token in special else _bytes(name), final=place == len(tokens) - 1)
        if text:
            yield text, places
            places = []


def _bytes(name: str | None) -> bytes:
    """What a token's name in the vocabulary stands for."""
    known = _alphabet()
    if name is None:
        return b""
    return bytes(known[c] for c in name) if all(c in known for c in name) else name.encode()


@lru_cache(maxsize=1)
def _alphabet() -> dict[str, int]:
    """GPT-2's map of bytes: printable Latin-1 stands for itself, the rest for characters from U+0100 on, in turn."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + at): byte for at, byte in enumerate(rest)}
