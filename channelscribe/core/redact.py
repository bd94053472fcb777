"""Keeps secrets out of every text that leaves the process: errors, logs, artifacts, tables."""

from __future__ import annotations

import re
import threading

MASK = "***"
_SHORTEST = 6  # shorter values would mask ordinary words
_lock = threading.Lock()
_known: set[str] = set()
_PATTERNS = (
    re.compile(r"(?i)([?&](?:key|api_key|apikey|token|access_token|signature|sig|lsig)=)[^&\s\"']+"),
    re.compile(r"(?i)((?:x-goog-api-key|x-api-key|x-api-secret|authorization|cookie)['\"]?\s*[:=]\s*['\"]?)[^\s,'\"}]+"),
    re.compile(r"(?i)(://[^/\s:@]+:)[^/\s@]+(?=@)"),
)


def remember_secret(value: str) -> None:
    """Masks `value` in every text that is redacted from now on."""
    if len(value) >= _SHORTEST:
        with _lock:
            _known.add(value)


def redact(text: str) -> str:
    """Returns `text` with remembered secrets, URL keys, auth headers and URL passwords masked."""
    with _lock:
        known = sorted(_known, key=len, reverse=True)
    for secret in known:
        text = text.replace(secret, MASK)
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\g<1>{MASK}", text)
    return text
