"""Makes text fit to be stored and sent: titles and transcripts come from strangers and hold what no table takes.

Used wherever text of the outside world is about to leave the process: tables, files for people, documents.
"""

from __future__ import annotations

import re

REPLACEMENT = "\ufffd"
# NUL ends a string in every C library behind us; a lone surrogate cannot be written as UTF-8 at all.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def clean_text(text: str) -> str:
    """`text` with NUL characters and lone surrogates replaced by U+FFFD; everything else is kept as it is."""
    return _UNSTORABLE.sub(REPLACEMENT, text)


def cell(text: str) -> str:
    """`text` on one line, as the cell of a markdown table: nothing in it is markup, nothing ends the cell."""
    return " ".join(text.split()).replace("|", "\\|").replace("[", "\\[").replace("]", "\\]").replace("<", "&lt;")
