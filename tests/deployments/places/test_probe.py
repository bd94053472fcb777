"""The health check of the containers: 0 when what it asks is well, 1 with a reason when not."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest

from deployments import probe


class Part(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503 if self.path == "/sick" else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def part() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Part) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_what_answers_is_well(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # never asked
    monkeypatch.setenv("PREFECT_WORKER_WEBSERVER_PORT", str(part))
    assert probe.main([]) == 0
    assert probe.main([f"http://127.0.0.1:{part}/health"]) == 0


def test_what_is_ill_silent_or_nonsense_is_told(part: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.main([f"http://127.0.0.1:{part}/sick"]) == 1
    assert "answers 503" in capsys.readouterr().err
    assert probe.main([f"http://127.0.0.1:{part}/well", "http://127.0.0.1:1/"]) == 1
    assert "does not answer" in capsys.readouterr().err
    assert probe.main(["nonsense"]) == 1
