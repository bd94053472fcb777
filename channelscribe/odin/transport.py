"""One HTTP exchange with the ODIN host: keys only in headers and only to this host, bounded time, bounded answers."""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.auth import AuthBase
from urllib3.exceptions import HTTPError

from channelscribe.core.clock import Clock
from channelscribe.core.redact import redact
from channelscribe.odin.answers import Answer, Trouble
from channelscribe.odin.config import OdinConfig
from channelscribe.odin.pacing import Pacer, Patience

_PIECE_BYTES = 64 << 10
_MOST_REDIRECTS = 3


@dataclass(frozen=True)
class Call:
    """A request to be made, possibly several times; `doing` completes "while ..." in errors."""

    method: str
    path: str
    doing: str
    query: dict[str, str] = field(default_factory=dict)
    json: dict[str, Any] | None = None
    form: dict[str, str] | None = None
    file: tuple[str, bytes, str] | None = None


class _OdinAuth(AuthBase):
    """Sets the two key headers last, and keeps requests from looking for a login in ~/.netrc."""

    def __init__(self, config: OdinConfig) -> None:
        self._config = config

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["X-API-KEY"] = self._config.api_key
        request.headers["X-API-SECRET"] = self._config.api_secret
        return request


class Transport:
    """Thread-safe: each thread has its own session, unless one was given, which all then share."""

    def __init__(self, config: OdinConfig, session: requests.Session | None, clock: Clock) -> None:
        self._config = config
        self._given = session
        self._clock = clock
        self._auth = _OdinAuth(config)
        self._random = Random()
        self._local = threading.local()
        self._sessions: weakref.WeakSet[requests.Session] = weakref.WeakSet()
        self.pacer = Pacer(clock, config.spacing_s)

    def patience(self, tries: int | None = None) -> Patience:
        return Patience(self._config, self._clock, self.pacer, self._random, tries)

    def ask(self, call: Call, patience: Patience | None = None) -> Answer:
        """An answer that is final, after bounded tries; raises Throttled or Transient when they are spent."""
        patience = patience or self.patience()
        while (answer := self.once(call)).retryable:
            if error := patience.spend(answer, call.doing):
                raise error
        return answer

    def once(self, call: Call) -> Answer:
        """One try. Never raises for what the network does: an exception of requests carries the keys in its request."""
        self.pacer.wait()
        url = self._config.base_url + call.path
        for _ in range(_MOST_REDIRECTS + 1):
            answer = self._exchange(call, url)
            if not 300 <= answer.status < 400:
                return answer
            target = _target(url, answer)
            if not self._may_follow(call, url, target, answer.status):
                return Answer(0, trouble=Trouble.REDIRECT, detail=f"{answer.status} to {_origin(target)}")
            url = target
        return Answer(0, trouble=Trouble.REDIRECT, detail="in circles")

    @staticmethod
    def _may_follow(call: Call, url: str, target: str, status: int) -> bool:
        """Only on the same host, and only where the request stays what it was."""
        same_request = status in {307, 308} or call.method == "GET"
        return same_request and target != url and _origin(target) == _origin(url)

    def _exchange(self, call: Call, url: str) -> Answer:
        try:
            return self._request(call, url)
        except requests.exceptions.SSLError as error:
            untrusted = "CERTIFICATE_VERIFY_FAILED" in str(error)
            return _broken(Trouble.CERTIFICATE if untrusted else Trouble.CONNECTION, error)
        except requests.exceptions.ProxyError as error:
            return _broken(Trouble.PROXY_LOGIN if "407" in str(error) else Trouble.CONNECTION, error)
        except ValueError as error:  # also InvalidURL, and what urllib says of an impossible Location
            return _broken(Trouble.ADDRESS, error)
        except (requests.exceptions.Timeout, TimeoutError) as error:
            return _broken(Trouble.TIMEOUT, error)
        except (requests.exceptions.RequestException, OSError, HTTPError) as error:
            timed_out = "timed out" in str(error).lower()
            return _broken(Trouble.TIMEOUT if timed_out else Trouble.CONNECTION, error)

    def _request(self, call: Call, url: str) -> Answer:
        response = self._session().request(
            call.method,
            url,
            params=call.query or None,
            json=call.json,
            data=call.form,
            files={"file": call.file} if call.file else None,
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            auth=self._auth,
            timeout=(self._config.connect_timeout_s, self._config.read_timeout_s),
            allow_redirects=False,
            stream=True,
        )
        with response:
            return self._read(response)

    def _read(self, response: requests.Response) -> Answer:
        """The body, piece by piece, so that neither a huge nor a trickling answer can hold the thread."""
        body = bytearray()
        deadline_s = self._clock.monotonic() + self._config.read_timeout_s
        while piece := response.raw.read1(_PIECE_BYTES, decode_content=True):
            body += piece
            if len(body) > self._config.max_answer_bytes:
                return Answer(response.status_code, trouble=Trouble.TOO_LARGE)
            if self._clock.monotonic() > deadline_s:
                return Answer(response.status_code, trouble=Trouble.TIMEOUT, detail="the answer trickles")
        return Answer(response.status_code, bytes(body), response.headers)

    def _session(self) -> requests.Session:
        if self._given is not None:
            return self._given
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            self._sessions.add(session)
        return session

    def close(self) -> None:
        """Closes the connections that this transport opened."""
        for session in list(self._sessions):
            session.close()


def _target(url: str, answer: Answer) -> str:
    """Where a redirect leads; the same address when that cannot be read."""
    try:
        target = urljoin(url, answer.headers.get("Location", ""))
        _origin(target)
    except ValueError:
        return url
    return target


def _origin(url: str) -> str:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"


def _broken(trouble: Trouble, error: Exception) -> Answer:
    return Answer(0, trouble=trouble, detail=redact(f"{type(error).__name__}: {error}"))
