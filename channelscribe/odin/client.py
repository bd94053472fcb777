"""The ODIN knowledge base of one project: checks access, adds and deletes documents; publish.py decides which and when.

The way in is v3 add-file (research/odin.md, 1.2); what can be read back is in catalogue.py.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from dataclasses import replace
from types import TracebackType

import requests

from channelscribe.core.clock import Clock
from channelscribe.core.errors import EnvironmentFailure, Permanent, Throttled, Transient
from channelscribe.core.redact import redact
from channelscribe.odin.answers import Answer
from channelscribe.odin.catalogue import PAGE_ITEMS, Catalogue, NotOfferedError
from channelscribe.odin.config import OdinConfig
from channelscribe.odin.documents import RemoteDocument, read_document
from channelscribe.odin.failures import (
    concerns_only_the_question,
    failure_of,
    read_problem,
    unknown_project,
)
from channelscribe.odin.pacing import KeyLocks, Patience
from channelscribe.odin.transport import Call

logger = logging.getLogger(__name__)

_ADD_FILE = "/v3/project/knowledge/add/file"
_MOST_PAGES = 50


class OdinClient(Catalogue):
    """Thread-safe. Without `session`, each thread gets its own; a given one is shared by all threads."""

    def __init__(self, config: OdinConfig, session: requests.Session | None = None, clock: Clock | None = None) -> None:
        super().__init__(config, session, clock)
        self._locks = KeyLocks()

    def __repr__(self) -> str:
        return f"OdinClient({redact(self.config.base_url)}, project {self.config.project_id})"

    def __enter__(self) -> OdinClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections; the client may still be used and opens new ones."""
        self._transport.close()

    def exclusive(self, key: str) -> contextlib.AbstractContextManager[None]:
        """Held while one document is looked for and sent, so that threads never send it side by side."""
        return self._locks.holding(key)

    def check(self) -> None:
        """Credentials and project, before any work. Raises EnvironmentFailure with the sentence that mends it."""
        doing = "checking the credentials"
        try:
            answer = self._transport.ask(Call("GET", self._project, doing))
        except Transient as error:
            if error.code == "odin_bad_answer":
                raise EnvironmentFailure(f"ODIN_BASE_URL is no ODIN host: {error}", code="odin_base_url") from error
            raise
        if answer.ok:
            return
        if not concerns_only_the_question(answer):
            raise failure_of(answer, doing, self.clock.now())
        if answer.status in {400, 422}:
            raise unknown_project(str(read_problem(answer)))
        self._check_listed()

    def _check_listed(self) -> None:
        """Looks for the project among those that the credentials may see, where it cannot be asked for by its id."""
        seen: set[str] = set()
        for page in range(_MOST_PAGES):
            query = {"limit": str(PAGE_ITEMS), "offset": str(page * PAGE_ITEMS)}
            try:
                body = self._ask(Call("GET", "/projects", "listing the projects", query=query), expect="projects")
            except NotOfferedError:
                logger.warning("This ODIN host cannot tell whether the project exists; the first upload will show.")
                return
            listed = body["projects"] if isinstance(body["projects"], list) else []
            ids = {str(p.get("id")) for p in listed if isinstance(p, dict)}
            if self.config.project_id in ids:
                return
            if ids <= seen:
                break
            seen |= ids
        raise unknown_project(f"it is not among the {len(seen)} that they may see")

    def add(self, key: str, content: bytes, metadata: dict[str, str], *, force: bool) -> RemoteDocument:
        """Sends a document; after a lost answer it looks first, so that nothing is stored twice.

        Raises EnvironmentFailure, Permanent (this document will not be taken), Throttled or Transient.
        """
        limit = self.config.max_document_bytes
        if len(content) > limit:
            raise Permanent(f"{key} has {len(content)} bytes, ODIN takes {limit}.", code="odin_too_large")
        call = self._add_call(key, content, metadata, force)
        sha256 = hashlib.sha256(content).hexdigest()
        patience = self._transport.patience()
        while True:
            self._transport.pacer.take_slot()
            answer = self._transport.once(call)
            if answer.ok:
                return replace(read_document(answer.object or {}, key), sha256=sha256, stored=True)
            if answer.status == 409:
                return self._settle_conflict(answer, key, content, metadata, force)
            if not answer.retryable:
                raise failure_of(answer, call.doing, self.clock.now())
            error = patience.spend(answer, call.doing)
            if found := self._arrived(answer, key, sha256, force, None if error else patience):
                return replace(found, stored=True)
            if error:
                raise error

    def _add_call(self, key: str, content: bytes, metadata: dict[str, str], force: bool) -> Call:
        form = {
            "project_id": self.config.project_id,
            "metadata": json.dumps(metadata),
            "path": self.config.path,
            "force": "true" if force else "false",
            "file_type": "text/plain",
        }
        return Call("POST", _ADD_FILE, f"sending {key}", form=form, file=(key, content, "text/plain"))

    def _arrived(
        self, answer: Answer, key: str, sha256: str, force: bool, patience: Patience | None
    ) -> RemoteDocument | None:
        """The document, if a send without a readable answer stored it after all. A 429 is a clear no."""
        if answer.status == 429:
            return None
        try:
            found = self.look(key, patience or self._transport.patience(tries=1)).document
        except (Transient, Throttled):
            if patience is None:
                return None  # the caller raises what ended its own tries
            raise
        if found is None or not found.usable:
            return None
        same = self.holds(found, sha256)
        return found if same or (same is None and not force) else None

    def _settle_conflict(
        self, answer: Answer, key: str, content: bytes, metadata: dict[str, str], force: bool
    ) -> RemoteDocument:
        """409: adopts the document that is there, or replaces it if its content is known to differ."""
        found = self.look(key).document or RemoteDocument(key)
        if found.usable and self.holds(found, hashlib.sha256(content).hexdigest()):
            return found
        if force:
            raise failure_of(answer, f"sending {key}", self.clock.now())
        logger.info("ODIN holds another %s; replacing it.", key)
        return self.add(key, content, metadata, force=True)

    def delete(self, document: RemoteDocument) -> bool:
        """Deletes a document, or finds it gone. False where this host offers no way to delete."""
        resource = {"name": document.key} | ({"key": document.document_key} if document.document_key else {})
        project_id, doing = self.config.project_id, f"deleting {document.key}"
        body = {"project_id": project_id, "resources": [resource]}
        for call in (
            Call("DELETE", "/project/knowledge/delete", doing, json=body),
            Call("DELETE", "/project/knowledge/remove", doing, form={"project_id": project_id, "name": document.key}),
        ):
            with contextlib.suppress(NotOfferedError):
                self._ask(call)
                return True
        sighting = self.look(document.key)
        return sighting.certain and sighting.document is None
