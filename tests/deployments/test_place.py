"""Where our Prefect server lives, and that a user's own settings win."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments import place


def test_home_lies_in_the_data_root_and_never_in_the_users_prefect_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_HOME", raising=False)
    assert place.prefect_home(str(tmp_path)) == tmp_path / ".prefect"
    remote = place.prefect_home("s3://bucket/a")
    assert remote != place.prefect_home("s3://bucket/b")
    assert ".prefect" not in remote.parts
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "mine"))
    assert place.prefect_home("s3://bucket/a") == tmp_path / "mine"


def test_the_users_settings_win(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "DEBUG")
    settings = place.client_settings(tmp_path, "http://127.0.0.1:1/api")
    assert settings["PREFECT_LOGGING_LEVEL"] == "DEBUG"
    assert settings["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"


def test_a_taken_port_is_not_used() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert place.free_port(port) not in (port, 0)
    assert place.free_port(port) == port


class _Health(http.server.BaseHTTPRequestHandler):
    home = ""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        answers = {"/api/health": b"true", "/ui-settings": b'{"default_ui": "v2", "v2_base_url": "/v2"}'}
        answers["/api/admin/settings"] = json.dumps({"home": self.home}).encode()
        self.wfile.write(answers.get(self.path, b"{}"))

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def api_url(tmp_path: Path) -> Iterator[str]:
    handler = type("Health", (_Health,), {"home": str(tmp_path)})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/api"
    server.shutdown()
    server.server_close()


def test_a_server_is_found_while_it_answers_even_behind_a_proxy(
    api_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert place.running_server(tmp_path) is None
    place.announce(tmp_path, place.Server(api_url))
    assert place.running_server(tmp_path) == place.Server(api_url)
    assert place.answers(api_url)
    assert not place.answers(api_url.removesuffix("/api"))
    place.withdraw(tmp_path)
    assert place.running_server(tmp_path) is None


def test_a_server_of_another_home_is_not_taken_for_ours(api_url: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    place.announce(elsewhere, place.Server(api_url))
    assert place.answers(api_url)
    assert place.running_server(elsewhere) is None


def test_the_address_of_a_run_opens_the_ui_that_the_server_prefers(api_url: str) -> None:
    assert place.Server(api_url).run_url("x") == f"{api_url.removesuffix('/api')}/v2/runs/flow-run/x"
    assert place.Server("http://127.0.0.1:9/api").run_url("x") == "http://127.0.0.1:9/runs/flow-run/x"


@pytest.mark.parametrize(
    "record", ["", "{", "[]", "null", '{"api_url": 3}', json.dumps({"api_url": "http://127.0.0.1:9/api"})]
)
def test_a_broken_or_stale_note_means_no_server(tmp_path: Path, record: str) -> None:
    (tmp_path / "server.json").write_text(record)
    assert place.running_server(tmp_path) is None
