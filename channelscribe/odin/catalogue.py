"""The reading side of the ODIN client: which documents a project holds, how far they are, what they contain.

Every endpoint here is optional on a given host; client.py adds the writing side (research/odin.md, 1.4 and 1.5).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import requests

from channelscribe.core.clock import Clock, SystemClock
from channelscribe.odin.config import OdinConfig
from channelscribe.odin.documents import RemoteDocument, Sighting, read_documents
from channelscribe.odin.failures import concerns_only_the_question, failure_of, lacks_route
from channelscribe.odin.pacing import Patience
from channelscribe.odin.transport import Call, Transport

logger = logging.getLogger(__name__)

PAGE_ITEMS = 100


class NotOfferedError(Exception):
    """This host cannot answer this question; another endpoint may."""


class Catalogue:
    """Looks into one project; thread-safe."""

    def __init__(self, config: OdinConfig, session: requests.Session | None = None, clock: Clock | None = None) -> None:
        self.config = config
        self.clock: Clock = clock or SystemClock()
        self._transport = Transport(config, session, self.clock)
        self._lacking: set[str] = set()
        self._told_blind = False
        self._project = f"/project/{quote(config.project_id, safe='')}"

    def find(self, key: str) -> RemoteDocument | None:
        """The document of this file name; None where there is none, or where the host cannot tell."""
        return self.look(key).document

    def look(self, key: str, patience: Patience | None = None) -> Sighting:
        """Asks by key, by name and by list, in this order, until an endpoint answers."""
        ways: tuple[Callable[[str, Patience | None], RemoteDocument | None], ...] = (
            self._find_by_key,
            self._find_by_name,
            self._find_in_list,
        )
        for way in ways:
            try:
                return Sighting(way(key, patience), certain=True)
            except NotOfferedError:
                continue
        if not self._told_blind:
            self._told_blind = True  # once, not for every document
            logger.warning("This ODIN host cannot tell which documents it has.")
        return Sighting(None, certain=False)

    def _find_by_key(self, key: str, patience: Patience | None) -> RemoteDocument | None:
        body = {"page": 1, "items_per_page": PAGE_ITEMS, "content_keys": [key], "path": "/", "recursive": True}
        call = Call("POST", f"{self._project}/knowledgebase", f"looking for {key}", json=body)
        documents = list(read_documents(self._ask(call, patience, expect="docs"), "docs"))
        found = next((d for d in documents if d.key == key), None)
        if found is None and documents:
            raise NotOfferedError  # other documents than asked for: this host does not filter by key
        return found

    def _find_by_name(self, key: str, patience: Patience | None) -> RemoteDocument | None:
        call = Call("POST", f"{self._project}/search/documents", f"looking for {key}", json={"search_keys": [key]})
        body = self._ask(call, patience, expect="documents")
        return next((d for d in read_documents(body, "documents") if d.key == key), None)

    def _find_in_list(self, key: str, patience: Patience | None) -> RemoteDocument | None:
        call = Call("GET", f"{self._project}/knowledge", f"looking for {key}")
        body = self._ask(call, patience, expect="knowledge_base")
        return next((d for d in read_documents(body, "knowledge_base") if d.key == key), None)

    def holds(self, document: RemoteDocument, content_sha256: str) -> bool | None:
        """Whether the document has this content, by the hash in its metadata or its text; None when ODIN hides both."""
        if document.sha256:
            return document.sha256 == content_sha256
        try:
            stored = self.fetch(document.key)
        except NotOfferedError:
            return None
        if stored is None or not (stored.sha256 or stored.content):
            return None
        return content_sha256 in {stored.sha256, hashlib.sha256((stored.content or "").encode()).hexdigest()}

    def status(self, key: str) -> str:
        """ODIN's word for how far a document is. Raises NotOfferedError where this host does not say."""
        query = {"project_id": self.config.project_id, "file_name": key}
        body = self._ask(Call("GET", "/project/knowledge/status", f"following {key}", query=query))
        status = body.get("status")
        if not isinstance(status, str) or not status:
            raise NotOfferedError
        return status.lower()

    def chunks(self, key: str) -> int:
        """How many searchable pieces the document has. Raises NotOfferedError where this host does not say."""
        question = {"content_key": key, "page": 1, "page_size": 1}
        body = self._ask(Call("POST", f"{self._project}/document/chunks", f"verifying {key}", json=question))
        total, pieces = body.get("total_chunks"), body.get("chunks")
        if isinstance(total, int):
            return total
        if isinstance(pieces, list):
            return len(pieces)
        raise NotOfferedError

    def fetch(self, key: str) -> RemoteDocument | None:
        """The document with its text; None where ODIN has none. Raises NotOfferedError where this host does not say."""
        question = {"project_id": self.config.project_id, "content_keys": [key]}
        call = Call("POST", "/tools/kb/fetch_documents", f"reading back {key}", json=question)
        body = self._ask(call, expect="documents")
        return next((d for d in read_documents(body, "documents") if d.key == key), None)

    def _ask(self, call: Call, patience: Patience | None = None, expect: str = "") -> dict[str, Any]:
        """The body of a success that has the field `expect`. Raises NotOfferedError for a host that cannot answer."""
        route = f"{call.method} {call.path}"
        if route in self._lacking:
            raise NotOfferedError
        answer = self._transport.ask(call, patience)
        body = answer.object
        if answer.ok and body is not None and (not expect or expect in body):
            return body
        if lacks_route(answer):
            self._lacking.add(route)
            logger.info("This ODIN host has no %s; doing without.", route)
        elif not answer.ok and not concerns_only_the_question(answer):
            raise failure_of(answer, call.doing, self.clock.now())
        raise NotOfferedError
