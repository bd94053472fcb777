"""The emulator as a server: sockets, faults, the log and the counters around the endpoints of routes.py."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from tests.emulators.odin.documents import Document, KnowledgeBase
from tests.emulators.odin.faults import ADD_FILE, Faults
from tests.emulators.odin.routes import Access, Routes
from tests.emulators.odin.wire import Handler, Server

MAX_FILE_BYTES = 200_000_000  # research/odin.md 1.9


@dataclass(frozen=True)
class LogRecord:
    """One request, without headers; `status` 0 means that the connection was cut instead of answered."""

    method: str
    path: str
    status: int


class OdinEmulator:
    """An ODIN host with one project. `documents` by file name, `log` of requests, `faults` to inject.

    `metadata_style`: "custom" nests what the client sent, "flat" mixes it in, "hidden" never shows it.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        project_id: str = "Em7PrOjEcT0aBcDeFg12",
        api_key: str = "emulated-odin-key-3f9a",
        api_secret: str = "emulated-odin-secret-8c1d",
        processing_s: float = 0.05,
        max_file_bytes: int = MAX_FILE_BYTES,
        metadata_style: str = "custom",
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.faults = Faults()
        self.base = KnowledgeBase(project_id, self.faults, processing_s, monotonic, now)
        self.access = Access(api_key, api_secret)
        self.routes = Routes(self.base, self.access, max_file_bytes, metadata_style)
        self._lock = threading.Lock()
        self._log: list[LogRecord] = []
        self._open: set[socket.socket] = set()
        self._address = (host, port)
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> OdinEmulator:
        """Binds and serves from a thread of its own."""
        handler = type("BoundHandler", (Handler,), {"emulator": self})
        self._server = Server(self._address, handler)
        self._address = (self._address[0], self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="odin-emulator", daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Closes the port and every open connection; what is stored stays readable, and `start` serves it again."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        with self._lock:
            still_open = list(self._open)
        for connection in still_open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server = self._thread = None

    def __enter__(self) -> OdinEmulator:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def base_url(self) -> str:
        return f"http://{self._address[0]}:{self._address[1]}"

    @property
    def credentials(self) -> tuple[str, str]:
        """API key and API secret."""
        return self.access.api_key, self.access.api_secret

    @property
    def project_id(self) -> str:
        return self.base.project_id

    def environment(self) -> dict[str, str]:
        """The variables that make channelscribe use this emulator."""
        return {
            "ODIN_API_KEY": self.access.api_key,
            "ODIN_API_SECRET": self.access.api_secret,
            "ODIN_PROJECT_ID": self.base.project_id,
            "ODIN_BASE_URL": self.base_url,
        }

    @property
    def documents(self) -> dict[str, Document]:
        return self.base.all()

    @property
    def log(self) -> list[LogRecord]:
        with self._lock:
            return list(self._log)

    def uploads(self, key: str | None = None) -> int:
        """How often a document (or, without `key`, any document) was stored, replacements included."""
        return self.base.stored[key] if key is not None else self.base.stored.total()

    def sends(self) -> int:
        """How many add-file requests arrived, whatever became of them."""
        return sum(r.method == "POST" and ADD_FILE in r.path for r in self.log)

    def snapshot(self) -> dict[str, Any]:
        """Everything that a test in another process may ask, as JSON."""
        return {
            "project_id": self.base.project_id,
            "documents": {k: self._entry(d) for k, d in self.documents.items()},
            "stored": dict(self.base.stored),
            "replaced": dict(+self.base.replaced),
            "deleted": dict(self.base.deleted),
            "log": [asdict(r) for r in self.log],
        }

    def _entry(self, document: Document) -> dict[str, Any]:
        return {
            "document_key": document.document_key,
            "sha256": document.sha256,
            "bytes": len(document.content),
            "text": document.text,
            "metadata": document.metadata,
            "path": document.path,
            "status": self.base.status(document),
            "chunks": len(self.base.chunks(document)),
            "uploads": self.base.stored[document.key],
        }

    def record(self, method: str, path: str, status: int) -> None:
        with self._lock:
            self._log.append(LogRecord(method, path, status))

    def opened(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)
