"""Faults on order: rules that match a request and say what goes wrong with it.

The server asks `take()` for every request; tests and the control endpoint add rules while it runs.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field, fields
from typing import Any

ACTIONS = ("status", "quota", "reset", "stall", "cut", "slow")


@dataclass
class FaultRule:
    """One rule. It is searched in `METHOD host/path?query video=ID client=NAME` and works `times` times (-1: always).

    status: answers `status` with `body`; quota: the Data API's quotaExceeded; reset: a TCP reset before any answer;
    stall: waits `seconds` and goes on; cut: closes after `after_bytes` of the body; slow: `bytes_per_s` for the body.
    """

    match: str
    do: str
    times: int = 1
    skip: int = 0
    status: int = 503
    body: str = ""
    content_type: str = "text/html; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    after_bytes: int = 0
    bytes_per_s: int = 0
    hits: int = 0

    def __post_init__(self) -> None:
        re.compile(self.match)
        if self.do not in ACTIONS:
            raise ValueError(f"unknown fault {self.do!r}: use one of {', '.join(ACTIONS)}")
        if self.do == "slow" and self.bytes_per_s <= 0:
            raise ValueError("a slow fault needs bytes_per_s above 0")


class Faults:
    """The rules in force, in the order in which they were added; the first that matches is taken."""

    def __init__(self) -> None:
        self.rules: list[FaultRule] = []
        self._lock = threading.Lock()

    def add(self, match: str, do: str, **details: Any) -> FaultRule:
        known = {f.name for f in fields(FaultRule)} - {"match", "do", "hits"}
        if unknown := set(details) - known:
            raise ValueError(f"unknown detail of a fault: {', '.join(sorted(unknown))}")
        rule = FaultRule(match, do, **details)
        with self._lock:
            self.rules.append(rule)
        return rule

    def media(self, video_id: str, do: str, **details: Any) -> FaultRule:
        """A fault of the media server for one video."""
        return self.add(rf"/videoplayback\?.* video={re.escape(video_id)} ", do, **details)

    def clear(self) -> None:
        with self._lock:
            self.rules.clear()

    def take(self, line: str) -> FaultRule | None:
        with self._lock:
            for rule in self.rules:
                if rule.times == 0 or not re.search(rule.match, line):
                    continue
                if rule.skip > 0:
                    rule.skip -= 1
                    continue
                rule.times -= rule.times > 0
                rule.hits += 1
                return rule
        return None
