"""The keys appear in request headers and nowhere else: no log, error, representation, URL or record of the emulator."""

from __future__ import annotations

import http.client
import json
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from channelscribe.core.errors import ChannelscribeError
from channelscribe.odin.client import OdinClient
from channelscribe.odin.config import OdinConfig
from tests.channelscribe.odin.parts import VirtualClock, Work
from tests.emulators.odin import OdinEmulator
from tests.emulators.odin.routes import Answer, Request

KEY = "sk+odin/KEY=<0123>&x"
SECRET = "se\"cr\\et/456'789"


@pytest.fixture
def secretive(clock: VirtualClock) -> Iterator[OdinEmulator]:
    with OdinEmulator(api_key=KEY, api_secret=SECRET, processing_s=8.0, monotonic=clock.monotonic) as emulator:
        yield emulator


def _echo() -> dict[str, object]:
    return {
        "error": {"code": "INVALID_API_KEY", "message": f"{KEY} {SECRET}", "invalid_fields": [KEY], "error_id": SECRET}
    }


SITUATIONS: dict[str, dict[str, Any]] = {
    "all is well": {},
    "refused, echoing the keys": {"status": 400, "body": _echo()},
    "unavailable, echoing the keys": {"status": 500, "body": _echo(), "times": -1},
    "a page that echoes the keys": {"status": 502, "body": f"<p>{KEY}|{SECRET}</p>", "times": -1},
    "a JSON text that echoes the keys": {"status": 422, "body": {"detail": json.dumps({"k": KEY, "s": SECRET})}},
    "keys behind a long text": {"status": 422, "body": {"detail": "x" * 190 + KEY + SECRET}},
    "cut": {"cut": "before", "times": -1},
    "sent elsewhere": {"status": 307, "headers": {"Location": f"http://127.0.0.1:9/?key={KEY}"}, "times": -1},
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_keys_stay_in_the_headers(
    secretive: OdinEmulator, clock: VirtualClock, work: Work, caplog: pytest.LogCaptureFixture, situation: str
) -> None:
    caplog.set_level(logging.DEBUG)
    if fields := SITUATIONS[situation]:
        secretive.faults.add(**fields)
    config = OdinConfig(KEY, SECRET, secretive.project_id, secretive.base_url, max_retries=1)
    client = OdinClient(config, clock=clock)
    seen = [repr(config), repr(client)]
    for action in (client.check, lambda: work.publish(client)):
        try:
            seen.append(repr(action()))
        except ChannelscribeError as error:
            seen += ["".join(traceback.format_exception(error)), repr(error), error.reason]
            assert error.__context__ is None, "an exception of requests carries the keys in its request"
    client.close()
    seen += [r.getMessage() + str(r.args) for r in caplog.records]
    seen.append(json.dumps(secretive.snapshot()))
    assert secretive.log
    for secret in (KEY, SECRET, json.dumps(SECRET)[1:-1], KEY[:12], SECRET[:10]):
        assert not [text for text in seen if secret in text]


def test_a_login_in_netrc_is_not_sent_along(
    odin: OdinEmulator, client: OdinClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password other-secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    received: list[dict[str, str]] = []
    answer = odin.routes.answer

    def listen(request: Request) -> Answer:
        received.append(request.headers)
        return answer(request)

    monkeypatch.setattr(odin.routes, "answer", listen)
    client.check()
    assert "authorization" not in received[0]
    assert received[0]["x-api-key"] == odin.credentials[0]


def test_the_emulator_refuses_keys_in_the_url(odin: OdinEmulator) -> None:
    host, port = odin.base_url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port))
    headers = {"X-API-KEY": odin.credentials[0], "X-API-SECRET": odin.credentials[1], "Accept": "application/json"}
    connection.request("GET", f"/projects?api_key={odin.credentials[0]}", headers=headers)
    assert connection.getresponse().status == 400
    connection.close()
