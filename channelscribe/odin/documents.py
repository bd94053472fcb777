"""A document as ODIN describes it, read from any of the shapes in which its endpoints do so."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

# KBFileStatus: synced, syncing, queued, failed, deleting, timeout (research/odin.md 1.5); other strings may appear.
SYNCED = "synced"
PENDING = frozenset({"queued", "syncing", "deleting"})
BROKEN = frozenset({"failed", "timeout"})


@dataclass(frozen=True, slots=True)
class RemoteDocument:
    """`status` is empty and `sha256` None where ODIN did not say; `stored` is False for one that was already there."""

    key: str
    document_key: str = ""
    status: str = ""
    sha256: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    content: str | None = None
    stored: bool = False

    @property
    def usable(self) -> bool:
        """Neither broken nor on its way out."""
        return self.status not in BROKEN and self.status != "deleting"


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a look for a document gave; `certain` is False where no endpoint of this host could tell."""

    document: RemoteDocument | None
    certain: bool


def read_document(entry: Mapping[str, Any], name: str = "") -> RemoteDocument:
    """One entry of a list, page, search or fetch. Fields of the wrong type count as absent."""
    metadata = read_metadata(entry.get("metadata"))
    key = name or _text(entry.get("content_key")) or metadata.get("file_name", "")
    own_id = next((t for n in ("document_key", "id", "document_id") if (t := _text(entry.get(n)))), "")
    content = entry.get("content")
    return RemoteDocument(
        key=key,
        document_key=own_id,
        status=_text(entry.get("status")).lower(),
        sha256=metadata.get("sha256") or None,
        metadata=metadata,
        content=content if isinstance(content, str) else None,
    )


def read_metadata(value: Any) -> dict[str, str]:
    """The metadata flat: ODIN shows what was sent beside its own fields, below `custom_metadata`, or as a JSON text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    if not isinstance(value, dict):
        return {}
    nested = read_metadata(value.get("custom_metadata")) if "custom_metadata" in value else {}
    return {**{k: v for k, v in value.items() if isinstance(v, str) and k != "custom_metadata"}, **nested}


def read_documents(body: Mapping[str, Any], field_name: str) -> Iterator[RemoteDocument]:
    """All documents of an answer, whether its list is a list or an object by key."""
    value = body.get(field_name)
    if isinstance(value, dict):
        yield from (read_document(entry, name) for name, entry in value.items() if isinstance(entry, dict))
    elif isinstance(value, list):
        yield from (read_document(entry) for entry in value if isinstance(entry, dict))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
