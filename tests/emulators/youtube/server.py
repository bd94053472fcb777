"""The HTTP proxy that every client is pointed at: plain requests, and CONNECT with TLS ended here.

Hosts outside the allow-list get 502, so that a request which would have left the machine is a failing test.
"""

from __future__ import annotations

import contextlib
import http.server
import io
import logging
import socket
import socketserver
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from tests.emulators.youtube.authority import Authority
from tests.emulators.youtube.exchange import FileSlice, Request, Response
from tests.emulators.youtube.faults import FaultRule, Faults
from tests.emulators.youtube.journal import Journal, Record

_BLOCK_BYTES = 64 * 1024
_TICK_S = 0.05
_IDLE_S = 60
Route = Callable[[Request], Response]


class ProxyServer(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Threads per connection; `describe` fills a record from a request before rules are matched against it."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self,
        route: Route,
        describe: Callable[[Request], None],
        known_host: Callable[[str], bool],
        authority: Authority,
        faults: Faults,
        journal: Journal,
    ) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.route, self.describe, self.known_host = route, describe, known_host
        self.authority, self.faults, self.journal = authority, faults, journal
        self.stopping = False
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def opened(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)

    def close_connections(self) -> None:
        """Ends the connections that clients keep alive, and what stalls in them."""
        self.stopping = True
        with self._lock:
            still_open = list(self._open)
        for connection in still_open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are normal; anything else must not pass in silence."""
        if not isinstance(sys.exception(), OSError):
            logging.getLogger(__name__).exception("the YouTube emulator failed to answer")


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection. After CONNECT the same loop runs inside TLS."""

    protocol_version = "HTTP/1.1"
    server_version = "ESF"
    disable_nagle_algorithm = True
    timeout = _IDLE_S
    server: ProxyServer
    tls_host: str = ""

    def setup(self) -> None:
        super().setup()
        self.server.opened(self.connection)

    def finish(self) -> None:
        self.server.closed(self.connection)
        with contextlib.suppress(OSError, ValueError):
            super().finish()
        if self.tls_host:
            self.connection.close()

    def log_message(self, format: str, *args: Any) -> None:
        """The journal is the log."""

    def do_CONNECT(self) -> None:
        host = self.path.rpartition(":")[0].strip("[]").lower()
        if not self.server.known_host(host):
            self._leak(Record("CONNECT", host, ""))
            return
        self.send_response_only(200, "Connection established")
        self.end_headers()
        self.server.closed(self.connection)
        try:
            self.connection = self.server.authority.context(host).wrap_socket(self.connection, server_side=True)
        except (ssl.SSLError, OSError):
            self.close_connection = True
            return
        self.server.opened(self.connection)
        self.rfile = self.connection.makefile("rb", -1)
        self.wfile = self.connection.makefile("wb", 0)
        self.tls_host = host
        self.close_connection = False
        while not self.close_connection:
            self.handle_one_request()

    def _leak(self, record: Record) -> None:
        record.status, record.reason = 502, "leak"
        self.server.journal.append(record)
        self.send_error(502, "host not emulated")
        self.close_connection = True

    def _request(self) -> Request:
        url = urlsplit(self.path)
        host = (url.hostname or self.tls_host or "direct").lower()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        agent, span = self.headers.get("User-Agent") or "", self.headers.get("Range") or ""
        record = Record(self.command, host, url.path, url.query, range=span, user_agent=agent, tls=bool(self.tls_host))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, host, url.path, url.query, headers, body, record)
        self.server.describe(request)
        return request

    def _answer(self) -> None:
        request = self._request()
        if request.host != "direct" and not self.server.known_host(request.host):
            self._leak(request.record)
            return
        self.server.journal.append(request.record)
        rule = self.server.faults.take(request.record.line)
        request.record.fault = rule.do if rule else ""
        if rule and rule.do == "reset":
            self._reset()
            return
        if rule and rule.do == "stall":
            self._pause(rule.seconds)
            if self.server.stopping:
                self.close_connection = True
                return
        response = _ordered(rule) if rule and rule.do == "status" else self.server.route(request)
        self._send(request, response, rule)

    do_GET = do_POST = do_HEAD = _answer

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.server.stopping:
            time.sleep(min(_TICK_S, max(0.0, until - time.monotonic())))

    def _reset(self) -> None:
        """A real TCP reset: linger of zero seconds, then close."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def _send(self, request: Request, response: Response, rule: FaultRule | None) -> None:
        request.record.status = response.status
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if response.status != 304:
            self.send_header("Content-Length", str(response.length))
        self.end_headers()
        if request.method != "HEAD" and response.status != 304:
            self._send_body(request.record, response, rule)

    def _send_body(self, record: Record, response: Response, rule: FaultRule | None) -> None:
        cut = rule.after_bytes if rule and rule.do == "cut" else None
        slow = rule.bytes_per_s if rule and rule.do == "slow" else None
        left = response.length if cut is None else min(cut, response.length)
        block_bytes = max(1, round(slow * _TICK_S)) if slow else _BLOCK_BYTES
        with _reader(response.body) as read:
            while left > 0 and not (slow and self.server.stopping):
                block = read(min(block_bytes, left))
                self.wfile.write(block)
                record.bytes_sent += len(block)
                left -= len(block)
                if slow:
                    self._pause(len(block) / slow)
        if cut is not None:
            self.close_connection = True


@contextlib.contextmanager
def _reader(body: bytes | FileSlice) -> Any:
    if isinstance(body, FileSlice):
        with body.path.open("rb") as file:
            file.seek(body.start)
            yield file.read
    else:
        yield io.BytesIO(body).read


def _ordered(rule: FaultRule) -> Response:
    return Response(rule.status, rule.body.encode(), rule.content_type, rule.headers)
