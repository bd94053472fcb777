"""The identity of work: equal fingerprints mean equal results, so finished work is never done again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TRANSCRIPT_SCHEMA = 1
_CHUNK_BYTES = 1 << 20


def canonical_json(value: Mapping[str, Any]) -> str:
    """One text for one value: sorted keys, no spaces, no NaN. Raises TypeError or ValueError for what JSON lacks."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def fingerprint(value: Mapping[str, Any]) -> str:
    """sha256 of the canonical JSON, as 64 hex digits."""
    return hashlib.sha256(canonical_json(value).encode("utf-8")).hexdigest()


def transcript_fingerprint(
    *, media_sha256: str, engine: str, model: str, model_revision: str, parameters: Mapping[str, Any]
) -> str:
    """Identity of a transcript. `parameters` holds exactly what may change the text; batch, device and dtype do not."""
    return fingerprint(
        {
            "media_sha256": media_sha256,
            "engine": engine,
            "model": model,
            "model_revision": model_revision,
            "parameters": dict(parameters),
            "schema": TRANSCRIPT_SCHEMA,
        }
    )


def sha256_file(path: Path) -> str:
    """sha256 of a file's bytes, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while piece := handle.read(_CHUNK_BYTES):
            digest.update(piece)
    return digest.hexdigest()
