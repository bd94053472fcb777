"""The emulator's knowledge base: documents, their asynchronous way to `synced`, and chunks cut from their content.

What happens to a file that exists and is sent without `force` is documented nowhere; here it is refused (409).
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from tests.emulators.odin.faults import Faults, Processing

CHUNK_WORDS = 64
CHUNK_OVERLAP_WORDS = 16


@dataclass(frozen=True)
class Document:
    key: str
    document_key: str
    content: bytes
    metadata: dict[str, str]
    path: str
    media_type: str
    stored_at: float
    upload_date: float
    fate: Processing
    version: int

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", errors="replace")


def cut_chunks(text: str) -> list[str]:
    """Overlapping runs of words, as ODIN cuts them by default (64 tokens, 16 shared); none for blank text."""
    words = text.split()
    step = CHUNK_WORDS - CHUNK_OVERLAP_WORDS
    last = max(len(words) - CHUNK_OVERLAP_WORDS, 1)
    return [" ".join(words[i : i + CHUNK_WORDS]) for i in range(0, last, step)] if words else []


class KnowledgeBase:
    """Documents of one project by file name; thread-safe."""

    def __init__(
        self,
        project_id: str,
        faults: Faults,
        processing_s: float,
        monotonic: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self.project_id = project_id
        self.stored: Counter[str] = Counter()
        self.replaced: Counter[str] = Counter()
        self.deleted: Counter[str] = Counter()
        self._faults = faults
        self._processing_s = processing_s
        self._monotonic = monotonic
        self._now = now
        self._lock = threading.RLock()
        self._documents: dict[str, Document] = {}

    def document_key(self, key: str) -> str:
        """The form that ODIN's staff derive from project and file name."""
        return f"_{self.project_id}_{key.replace('.', '_').replace('-', '_')}"

    def add(
        self, key: str, content: bytes, metadata: dict[str, str], *, path: str, media_type: str, force: bool
    ) -> Document | None:
        """Stores a document and gives it; None when it exists and `force` is not set."""
        with self._lock:
            if key in self._documents and not force:
                return None
            self.replaced[key] += key in self._documents
            self.stored[key] += 1
            fate = self._faults.take_processing(key)
            document = Document(
                key, self.document_key(key), content, metadata, path, media_type,
                self._monotonic(), self._now(), fate, self.stored[key],
            )  # fmt: skip
            self._documents[key] = document
            return document

    def all(self) -> dict[str, Document]:
        with self._lock:
            return dict(self._documents)

    def get(self, name: str) -> Document | None:
        """By file name or document key."""
        with self._lock:
            found = self._documents.get(name)
            return found or next((d for d in self._documents.values() if d.document_key == name), None)

    def delete(self, name: str) -> bool:
        with self._lock:
            document = self.get(name)
            if document is None:
                return False
            del self._documents[document.key]
            self.deleted[document.key] += 1
            return True

    def set_metadata(self, name: str, metadata: dict[str, str]) -> None:
        with self._lock:
            document = self.get(name)
            if document:
                self._documents[document.key] = Document(**{**document.__dict__, "metadata": metadata})

    def status(self, document: Document) -> str:
        """queued for the first half of the processing time, syncing for the second, then its fate."""
        delay_s = self._processing_s if document.fate.delay_s is None else document.fate.delay_s
        age_s = self._monotonic() - document.stored_at
        if age_s >= delay_s:
            return document.fate.status
        return "queued" if age_s < delay_s / 2 else "syncing"

    def chunks(self, document: Document) -> list[str]:
        """Real chunks of the real content, once it is processed."""
        pending = self.status(document) in {"queued", "syncing", "failed", "timeout"}
        return [] if pending or not document.fate.chunks else cut_chunks(document.text)
