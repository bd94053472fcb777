"""A Prefect server of ours, started where somebody else is quicker."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.place import serves
from deployments.stack import open_server

pytestmark = [pytest.mark.prefect]


class _Stranger(http.server.BaseHTTPRequestHandler):
    """Another Prefect server, healthy and not ours."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"true" if self.path == "/api/health" else b'{"home": "/somewhere/else"}')

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def taken_port() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Stranger)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def test_a_port_that_was_taken_meanwhile_is_left_to_the_other(taken_port: int, tmp_path: Path) -> None:
    said: list[str] = []
    with open_server(tmp_path, taken_port, said.append) as (server, child):
        assert str(taken_port) not in server.api_url
        assert serves(server.api_url, tmp_path)
        assert child.alive
    assert len(said) == 2
    assert not child.alive
