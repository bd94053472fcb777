"""The emulator on the socket: reads one request, lets a fault have its way, writes one answer."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.emulators.odin.faults import Fault
from tests.emulators.odin.routes import Request

if TYPE_CHECKING:
    from tests.emulators.odin.server import OdinEmulator

_NAMED_BYTES = 64 << 10


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the game; nothing to print."""


class Handler(BaseHTTPRequestHandler):
    emulator: OdinEmulator
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.emulator.opened(self.connection)

    def finish(self) -> None:
        self.emulator.closed(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """The emulator keeps its own log."""

    def _serve(self) -> None:
        url = urlsplit(self.path)
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdigit():
            self._respond(411, {"detail": "Length Required"}, url.path, Fault())
            return
        body = self.rfile.read(int(length))
        headers = {k.lower(): v for k, v in self.headers.items()}
        request = Request(self.command, url.path, url.query, headers, body)
        named = self.path.encode() + b" " + body[:_NAMED_BYTES]
        fault = self.emulator.faults.take(self.command, url.path, named) or Fault()
        time.sleep(fault.delay_s)
        if fault.cut == "before":
            self._cut(url.path)
            return
        status, answer = self._answer(request, fault)
        if fault.cut == "after":
            self._cut(url.path)
            return
        self._respond(status, answer, url.path, fault)

    do_GET = do_POST = do_DELETE = do_PATCH = do_PUT = _serve

    def _answer(self, request: Request, fault: Fault) -> tuple[int, Any]:
        if fault.missing:
            return 404, {"detail": "Not Found"}
        if fault.status is None:
            return self.emulator.routes.answer(request)
        return fault.status, "x" * fault.body_bytes if fault.body_bytes else fault.body

    def _respond(self, status: int, answer: Any, path: str, fault: Fault) -> None:
        self.emulator.record(self.command, path, status)
        text = answer if isinstance(answer, str) else "" if answer is None else json.dumps(answer)
        payload = text.encode("utf-8")
        headers = {"Content-Type": "application/json", "Content-Length": str(len(payload)), **fault.headers}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if fault.cut == "during":
            self.wfile.write(payload[: len(payload) // 2])
            self._reset()
        elif fault.slow_body_s:
            self._trickle(payload, fault.slow_body_s)
        else:
            self.wfile.write(payload)

    def _trickle(self, payload: bytes, pause_s: float) -> None:
        for index in range(len(payload)):
            self.wfile.write(payload[index : index + 1])
            self.wfile.flush()
            time.sleep(pause_s)

    def _cut(self, path: str) -> None:
        self.emulator.record(self.command, path, 0)
        self._reset()

    def _reset(self) -> None:
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True
