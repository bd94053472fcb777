"""Keeps secrets out of every text that leaves the process: errors, logs, artifacts, tables."""

from __future__ import annotations

import re
import threading
from urllib.parse import quote, quote_plus

MASK = "***"
_SHORTEST = 6  # shorter values would mask ordinary words
_lock = threading.Lock()
_known: set[str] = set()
_URL_KEYS = "key|api_key|apikey|token|access_token|signature|sig|lsig|awsaccesskeyid"
_CLOUD_KEYS = "x-(?:amz|goog)-(?:signature|credential|security-token)"
_PATTERNS = (
    re.compile(rf"(?i)([?&](?:{_URL_KEYS}|{_CLOUD_KEYS})=)[^&#\s\"']+"),
    re.compile(r"(?i)((?:x-goog-api-key|x-api-key|x-api-secret)['\"]?\s*[:=]\s*['\"]?)[^\s,'\"}]+"),
    re.compile(r"(?i)(authorization['\"]?\s*[:=]\s*['\"]?(?:(?:basic|bearer|digest|token)\s+)?)[^\s,'\"}]+"),
    re.compile(r"(?i)(cookie['\"]?\s*[:=]\s*['\"]?)[^\s,'\"};]+(?:;\s*[^\s,'\"};]+)*"),
    re.compile(r"(?i)(://[^/\s:@]+:)[^/\s@]+(?=@)"),
)


def remember_secret(value: str) -> None:
    """Masks `value`, also as it is spelled in a URL, in every text that is redacted from now on."""
    if len(value) >= _SHORTEST:
        with _lock:
            _known.update({value, quote(value, safe=""), quote_plus(value), quote(value)})


def redact(text: str) -> str:
    """Returns `text` with remembered secrets, URL keys, auth headers and URL passwords masked."""
    with _lock:
        known = sorted(_known, key=len, reverse=True)
    for secret in known:
        text = text.replace(secret, MASK)
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\g<1>{MASK}", text)
    return text
