"""The way out: whether the proxy and the certificate bundle that the environment names are there and usable.

Asked before anything is started, because every library behind us tells a dead proxy late and each in other words.
"""

from __future__ import annotations

import os
import socket
import ssl
import urllib.request
from urllib.parse import urlsplit

from channelscribe.core.errors import EnvironmentFailure
from channelscribe.core.redact import redact

_CONNECT_S = 10.0
_PORTS = {"http": 80, "https": 443}
_SOCKS_PORT = 1080


def require_network() -> None:
    """Raises EnvironmentFailure for a certificate bundle or a proxy that no connection could use."""
    require_certificates()
    require_proxy()


def require_certificates() -> None:
    """Every bundle that is named, since each library reads another variable."""
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        try:
            if bundle := os.environ.get(name):
                ssl.create_default_context(cafile=bundle)
        except OSError as error:  # ssl.SSLError is one
            why = "does not exist" if isinstance(error, FileNotFoundError) else "holds no certificates that can be read"
            raise EnvironmentFailure(
                f"The certificate bundle {bundle} {why}; correct {name} (SSL_CERT_FILE or REQUESTS_CA_BUNDLE).",
                code="certificate",
            ) from error


def require_proxy() -> None:
    """Only that somebody listens there; what it lets through, the first request shows."""
    named = urllib.request.getproxies()
    proxy = named.get("https") or named.get("all") or ""
    if not proxy:
        return
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        address = (parts.hostname or "", parts.port or _PORTS.get(parts.scheme, _SOCKS_PORT))
        socket.create_connection(address, timeout=_CONNECT_S).close()
    except (OSError, ValueError) as error:
        raise EnvironmentFailure(
            f"No proxy answers at {redact(proxy)} ({error}); correct HTTPS_PROXY or remove it.", code="proxy"
        ) from error
