"""What may go wrong on purpose: rules that the emulator consults for each request and each stored document.

Every field is plain JSON, so that a control channel can add a rule from another process with `faults.add(**fields)`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any, Literal

ADD_FILE = "/project/knowledge/add/file"


@dataclass
class Fault:
    """One rule. It applies to requests of `method` whose path contains `path` and whose body or query names `key`.

    status, body, headers   the answer instead of the real one (`body_bytes` repeats "x" up to that size)
    delay_s                 wait before answering
    cut                     "before" storing, "after" storing, or "during" the answer, the connection is reset
    slow_body_s             pause between single bytes of the answer
    missing                 the endpoint does not exist on this host
    times                   how often the rule applies; -1 for always. `skip` requests pass first.
    """

    method: str = ""
    path: str = ""
    key: str = ""
    status: int | None = None
    body: str | dict[str, Any] | None = None
    body_bytes: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    cut: Literal["", "before", "after", "during"] = ""
    slow_body_s: float = 0.0
    missing: bool = False
    times: int = 1
    skip: int = 0

    def matches(self, method: str, path: str, named: bytes) -> bool:
        return (not self.method or self.method == method) and self.path in path and self.key.encode() in named


@dataclass
class Processing:
    """How documents whose key contains `key` end: in `status`, with chunks or (`chunks` False) with none."""

    key: str = ""
    status: str = "synced"
    chunks: bool = True
    delay_s: float | None = None
    times: int = 1


class Faults:
    """The rules in force, first match wins; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Fault] = []
        self._processing: list[Processing] = []

    def add(self, rule: Fault | None = None, /, **fields: Any) -> Fault:
        """Adds a rule, given whole or by its fields."""
        rule = rule or Fault(**fields)
        with self._lock:
            self._rules.append(rule)
        return rule

    def throttle(self, retry_after: str, *, times: int = 1, path: str = "") -> Fault:
        """429 with Retry-After. Body and headers of ODIN's 429 are unknown; this is the vendor's general shape."""
        body = {"status_code": 429, "error": {"code": "RATE_LIMIT_EXCEEDED", "message": "Too many requests"}}
        return self.add(path=path, status=429, body=body, headers={"Retry-After": retry_after}, times=times)

    def missing(self, *paths: str) -> None:
        """Takes endpoints off this host, for good: FastAPI's 404."""
        for path in paths:
            self.add(path=path, missing=True, times=-1)

    def processing(self, **fields: Any) -> Processing:
        """Decides how a document that is stored from now on ends."""
        rule = Processing(**fields)
        with self._lock:
            self._processing.append(rule)
        return rule

    def clear(self) -> None:
        with self._lock:
            self._rules.clear()
            self._processing.clear()

    def take(self, method: str, path: str, named: bytes) -> Fault | None:
        """The rule for this request, used up once."""
        with self._lock:
            for rule in self._rules:
                if rule.times == 0 or not rule.matches(method, path, named):
                    continue
                if rule.skip:
                    rule.skip -= 1
                    continue
                rule.times -= rule.times > 0
                return rule
        return None

    def take_processing(self, key: str) -> Processing:
        with self._lock:
            for rule in self._processing:
                if rule.times and rule.key in key:
                    rule.times -= rule.times > 0
                    return rule
        return Processing()
