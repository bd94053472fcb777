"""The real yt-dlp, set up for our use: options, captured messages, private cookies, verified TLS.

Downloads, probes and keyless listings all open their YoutubeDL here. Reasons of the options: research/youtube.md, 3.2.
"""

from __future__ import annotations

import copy
import functools
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from channelscribe.core.errors import EnvironmentFailure
from channelscribe.core.redact import redact
from channelscribe.core.settings import ca_bundle, complete_network_environment
from channelscribe.youtube.config import YouTubeConfig

log = logging.getLogger(__name__)
# Other extractors would fetch any address that a page names (SSRF).
EXTRACTORS = ("youtube", "youtube:tab")


class Capture:
    """Takes yt-dlp's messages: warnings are evidence for `classify`, and every message is a sign of life."""

    def __init__(self, beat: Callable[[], None] | None = None) -> None:
        self.warnings: list[str] = []
        self._beat = beat

    def debug(self, message: str) -> None:
        log.debug("%s", redact(message))
        if self._beat is not None:
            self._beat()

    info = debug

    def warning(self, message: str) -> None:
        self.warnings.append(message)
        self.debug(message)

    def error(self, message: str) -> None:
        self.debug(message)


@contextmanager
def open_ydl(config: YouTubeConfig, capture: Capture, **options: Any) -> Iterator[Any]:
    """A YoutubeDL of its own for one piece of work. yt-dlp rewrites the cookie file it is given, so it gets a copy."""
    from yt_dlp import YoutubeDL

    check_certificates()
    with (
        _private_cookies(config.cookies) as cookies,
        YoutubeDL({**_options(config), "logger": capture, "cookiefile": cookies, **options}) as ydl,
    ):
        yield ydl


def version() -> str:
    from yt_dlp.version import __version__

    return f"yt-dlp {__version__}"


def check_certificates() -> None:
    """Tells a wrong certificate path in one sentence, and gives the one that was named to every HTTP library."""
    bundle = ca_bundle()
    if bundle is None:
        return
    if not Path(bundle).is_file():
        raise EnvironmentFailure(
            f"The certificate file {bundle} does not exist; correct SSL_CERT_FILE or REQUESTS_CA_BUNDLE.",
            code="certificate",
        )
    complete_network_environment()


@functools.cache
def _cli_defaults() -> dict[str, Any]:
    # YoutubeDL({}) has no retries at all; the command line's defaults are the tried ones.
    import yt_dlp

    options: dict[str, Any] = yt_dlp.parse_options(["--ignore-config"]).ydl_opts
    return options


def _options(config: YouTubeConfig) -> dict[str, Any]:
    longest_s, base_s = 30.0, config.backoff_s
    return {
        **copy.deepcopy(_cli_defaults()),
        "ignoreerrors": False,
        "fixup": "never",
        "noplaylist": True,
        "allowed_extractors": list(EXTRACTORS),
        "retries": config.http_retries,
        "extractor_retries": min(config.http_retries, 3),
        "file_access_retries": 0,
        "retry_sleep_functions": {
            kind: functools.partial(_retry_sleep, base_s, longest_s) for kind in ("http", "extractor")
        },
        "socket_timeout": config.socket_timeout_s,
        "sleep_interval_requests": config.sleep_between_requests_s or None,
        "overwrites": False,
        "js_runtimes": {"deno": {"path": deno()}} if config.javascript and deno() else {},
        "compat_opts": {"no-certifi"} if ca_bundle() else set(),
        "quiet": True,
        "noprogress": True,
    }


def _retry_sleep(base_s: float, longest_s: float, n: int) -> float:
    return min(base_s * 2**n, longest_s) if base_s else 0.0


@functools.cache
def deno() -> str | None:
    """The JavaScript runtime of the `deno` package beside this interpreter, or one on the PATH."""
    try:
        from deno import find_deno_bin  # type: ignore[import-untyped]

        return str(find_deno_bin())
    except (ImportError, OSError):
        return shutil.which("deno")


@contextmanager
def _private_cookies(cookies: str) -> Iterator[str | None]:
    if not cookies:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="channelscribe-") as folder:
        try:
            copy = shutil.copyfile(Path(cookies).expanduser(), Path(folder) / "cookies.txt")
        except OSError as error:
            raise EnvironmentFailure(
                f"The cookie file {cookies} cannot be read ({error.strerror}); correct YOUTUBE_COOKIES.", code="cookies"
            ) from error
        copy.chmod(0o600)
        yield str(copy)
