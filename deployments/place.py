"""Where a Prefect server of ours lives and with which settings: always under the data root, never in ~/.prefect.

Used by `up`, `demo` and `sync` before Prefect is imported, because Prefect reads its settings at import.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from channelscribe.core.redact import remember_secret

USUAL_PORT = 4200
_SERVER_FILE = "server.json"
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Server:
    """A Prefect server that answers. `api_url` ends in /api."""

    api_url: str

    @property
    def ui_url(self) -> str:
        return self.api_url.removesuffix("/api")

    def run_url(self, run_id: object) -> str:
        """The page of a run in the UI that this server prefers; without its prefix a link opens the old UI."""
        try:
            with _direct.open(f"{self.ui_url}/ui-settings", timeout=10) as reply:
                settings: Mapping[str, object] = json.loads(reply.read(65536))
            prefix = str(settings[f"{settings['default_ui']}_base_url"]).rstrip("/")
        except (OSError, ValueError, KeyError, TypeError):
            prefix = ""
        return f"{self.ui_url}{prefix}/runs/flow-run/{run_id}"


def absolute_data(data: str) -> str:
    """The data root as other processes must see it: URLs as they are, folders absolute."""
    return data if "://" in data else str(Path(data).expanduser().resolve())


def prefect_home(data: str) -> Path:
    """PREFECT_HOME when it is set; else a folder in the data root, or in the user's home for a remote one."""
    if chosen := os.environ.get("PREFECT_HOME"):
        return Path(chosen).expanduser().resolve()
    if "://" in data:
        return Path.home() / ".channelscribe" / hashlib.sha256(data.encode()).hexdigest()[:12]
    return Path(absolute_data(data)) / ".prefect"


def quiet_settings() -> dict[str, str]:
    """Settings of every process of ours that runs Prefect; what the user set in the environment wins."""
    usual = {
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_UI_API_URL": "/api",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true",
        "PREFECT_LOGGING_LEVEL": "INFO",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "channelscribe",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",  # the engine's thread belongs to no one run
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",  # a notebook without a server, on a slow machine
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_CLI_COLORS": "false",
    }
    return {name: os.environ.get(name, value) for name, value in usual.items()}


def server_settings(home: Path) -> dict[str, str]:
    return quiet_settings() | {"PREFECT_HOME": str(home)}


def client_settings(home: Path, api_url: str) -> dict[str, str]:
    """Of every client of our server, its password included where the server was given one."""
    own = server_settings(home) | {"PREFECT_API_URL": api_url}
    if password := os.environ.get("PREFECT_SERVER_API_AUTH_STRING"):
        own["PREFECT_API_AUTH_STRING"] = os.environ.get("PREFECT_API_AUTH_STRING") or password
        remember_secret(password)
    return own


def free_port(preferred: int = USUAL_PORT) -> int:
    """`preferred` when nobody listens there, else one that the system picks."""
    for port in (preferred, 0):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            if os.name != "nt":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port on 127.0.0.1")


def answers(api_url: str, timeout_s: float = 2.0) -> bool:
    """True when a Prefect API answers there; proxies are never asked."""
    try:
        with _direct.open(f"{api_url}/health", timeout=timeout_s) as reply:
            return bool(reply.status == 200 and json.loads(reply.read(64)) is True)
    except (OSError, ValueError):
        return False


def serves(api_url: str, home: Path, timeout_s: float = 2.0) -> bool:
    """True when the API that answers there is the one that lives in `home`, not somebody else's on the same port."""
    try:
        with _direct.open(f"{api_url}/admin/settings", timeout=timeout_s) as reply:
            return Path(str(json.loads(reply.read())["home"])).resolve() == home.resolve()
    except urllib.error.HTTPError as error:
        return error.code in (401, 403) and answers(api_url, timeout_s)  # with an auth string it tells nobody
    except (OSError, ValueError, KeyError, TypeError):
        return False


def announce(home: Path, server: Server) -> None:
    """Lets other commands on the same data find the server."""
    (home / _SERVER_FILE).write_text(json.dumps({"api_url": server.api_url}), encoding="utf-8")


def withdraw(home: Path) -> None:
    (home / _SERVER_FILE).unlink(missing_ok=True)


def running_server(home: Path) -> Server | None:
    """The server that was announced for this data root, when it still answers."""
    try:
        record: Mapping[str, object] = json.loads((home / _SERVER_FILE).read_text(encoding="utf-8"))
        server = Server(str(record["api_url"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return server if serves(server.api_url, home) else None
