"""A thread-safe client of the YouTube Data API over google-api-python-client: keys, quota, retries, classified errors.

Used by `api` for listings. The key travels in a header, so it stands in no URL, log or exception; httplib2 is not
thread-safe, so every thread has its own connection.
"""

from __future__ import annotations

import http.client
import json
import logging
import random
import ssl
import threading
from collections.abc import Callable
from typing import Any

from channelscribe.core.clock import Clock
from channelscribe.core.errors import ChannelscribeError, EnvironmentFailure, Throttled, Transient, UsageError
from channelscribe.core.redact import redact
from channelscribe.core.settings import ca_bundle
from channelscribe.youtube.config import ApiKey, YouTubeConfig
from channelscribe.youtube.failures import CERTIFICATE
from channelscribe.youtube.keys import KeyPool
from channelscribe.youtube.ytdlp import check_certificates

log = logging.getLogger(__name__)
_QUOTA = {"quotaExceeded", "dailyLimitExceeded", "dailyLimitExceededUnreg"}
_RATE = {"rateLimitExceeded", "userRateLimitExceeded", "RATE_LIMIT_EXCEEDED"}
_BAD_KEY = {
    "API_KEY_INVALID": "the key is not valid (or has expired).",
    "API_KEY_EXPIRED": "the key has expired.",
    "keyInvalid": "the key is not valid.",
    "keyExpired": "the key has expired.",
    "SERVICE_DISABLED": "the YouTube Data API v3 is not enabled in its project.",
    "accessNotConfigured": "the YouTube Data API v3 is not enabled in its project.",
    "API_KEY_SERVICE_BLOCKED": "its restrictions do not allow the YouTube Data API v3.",
    "API_KEY_HTTP_REFERRER_BLOCKED": "it is restricted to certain web sites.",
    "API_KEY_IP_ADDRESS_BLOCKED": "it is restricted to other IP addresses.",
    "API_KEY_ANDROID_APP_BLOCKED": "it is restricted to an Android app.",
    "API_KEY_IOS_APP_BLOCKED": "it is restricted to an iOS app.",
    "CONSUMER_SUSPENDED": "its project is suspended.",
    "CONSUMER_INVALID": "its project does not exist.",
    "ipRefererBlocked": "it is restricted to other addresses.",
    "forbidden": "its project may not use the YouTube Data API v3.",
}
_GONE = {
    "playlistNotFound", "playlistItemsNotAccessible", "channelNotFound", "channelClosed", "channelSuspended",
    "playlistForbidden", "videoNotFound",
}  # fmt: skip


class NotFoundError(UsageError):
    """The API knows no such channel or playlist."""


class ApiClient:
    """`call` sends one request with whichever key serves; `units` counts what was charged."""

    def __init__(self, config: YouTubeConfig, clock: Clock) -> None:
        self.pool = KeyPool(config.api_keys, clock)
        self._config = config
        self._clock = clock
        self._local = threading.local()
        self._lock = threading.Lock()
        self._service: Any = None

    def call(self, make: Callable[[Any], Any], count: Callable[[], None]) -> dict[str, Any]:
        """The answer to `make(service)`; `count` is called for every request that YouTube charges.

        Raises Throttled (quota, rate), EnvironmentFailure (keys, certificates), NotFoundError, Transient.
        """
        tries = 0
        while True:
            key = self.pool.pick()
            try:
                answer = self._send(make, key)
                count()
                return answer
            except _KeyFailedError as failure:
                self._park(key, failure)
            except (Transient, Throttled) as error:
                tries += 1
                if isinstance(error, Throttled):
                    count()
                if tries >= self._config.attempts:
                    raise
                self._clock.sleep(self._config.backoff_s * 2**tries * random.uniform(0.75, 1.25))
            except UsageError:
                count()
                raise

    def _park(self, key: ApiKey, failure: _KeyFailedError) -> None:
        if failure.reason:
            self.pool.refuse(key, failure.reason)
        else:
            self.pool.park(key)

    def _send(self, make: Callable[[Any], Any], key: ApiKey) -> dict[str, Any]:
        from googleapiclient.errors import HttpError

        request = make(self._discovered())  # made anew each time: execute() may change it
        request.headers["X-Goog-Api-Key"] = key.secret
        try:
            answer = request.execute(http=self._http())
        except HttpError as error:
            raise _classified(int(error.resp.status), error.content) from None
        except Exception as error:
            self._local.http = None  # a broken connection is not used again
            raise _unreachable(error) from error
        if (
            not isinstance(answer, dict) or "kind" not in answer
        ):  # cut-off JSON comes back as plain text, without an exception
            raise Transient("The answer of the YouTube Data API was incomplete.", code="truncated")
        return answer

    def _discovered(self) -> Any:
        with self._lock:
            if self._service is None:
                from googleapiclient import discovery

                self._service = discovery.build(
                    "youtube", "v3", http=self._http(), cache_discovery=False, static_discovery=True
                )
            return self._service

    def _http(self) -> Any:
        """This thread's own connection, with its timeout; httplib2 reads HTTPS_PROXY and NO_PROXY itself."""
        import httplib2

        if getattr(self._local, "http", None) is None:
            check_certificates()
            self._local.http = httplib2.Http(timeout=self._config.socket_timeout_s, ca_certs=ca_bundle())
        return self._local.http


class _KeyFailedError(Exception):
    """This key does not serve: refused for `reason`, or its day is used up (no reason)."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


def error_reasons(content: bytes) -> set[str]:
    """All reasons of both error styles; googleapiclient's own `error_details` shows only one of them."""
    try:
        error = json.loads(content)["error"]
    except (ValueError, KeyError, TypeError):
        return set()
    if not isinstance(error, dict):
        return set()
    entries = [e for style in ("errors", "details") if isinstance(found := error.get(style), list) for e in found]
    return {str(e["reason"]) for e in entries if isinstance(e, dict) and e.get("reason")}


def _classified(status: int, content: bytes) -> Exception:
    reasons = error_reasons(content)
    if reasons & _QUOTA:
        return _KeyFailedError()
    if status == 429 or reasons & _RATE:
        return Throttled("The YouTube Data API is asked too often; it is tried again more slowly.", code="api_rate")
    if reasons & _GONE or status == 404:
        return NotFoundError("YouTube knows no such channel or playlist, or it is private.", code="no_such_list")
    if status in {400, 401, 403} and (why := next((w for r, w in _BAD_KEY.items() if r in reasons), "")):
        return _KeyFailedError(why)
    if status >= 500:
        return Transient(f"The YouTube Data API has trouble of its own (HTTP {status}).", code="http_5xx")
    if "invalidPageToken" in reasons:
        return Transient("The list changed while it was read.", code="stale_page")
    words = ", ".join(sorted(reasons)) or "no reason given"
    return UsageError(f"The YouTube Data API refused the request (HTTP {status}: {words}).", code="api_refused")


def _unreachable(error: Exception) -> ChannelscribeError | Exception:
    import httplib2

    if isinstance(error, ChannelscribeError):
        return error
    if isinstance(error, ssl.SSLCertVerificationError):
        return EnvironmentFailure(CERTIFICATE, code="certificate")
    if isinstance(error, OSError | httplib2.HttpLib2Error | http.client.HTTPException):
        return Transient(
            f"The YouTube Data API cannot be reached ({redact(str(error)) or type(error).__name__}).", code="network"
        )
    return error
