"""The request log: one record per request, and the counts that tests ask for.

The server appends while it answers; readers take a snapshot.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass
class Record:
    """One request and what became of it. `status` is the code sent, 0 while it runs or when the line was reset."""

    method: str
    host: str
    path: str
    query: str = ""
    video_id: str = ""
    client: str = ""
    range: str = ""
    user_agent: str = ""
    tls: bool = False
    key: str = ""
    status: int = 0
    bytes_sent: int = 0
    fault: str = ""
    reason: str = ""

    @property
    def url(self) -> str:
        return f"https://{self.host}{self.path}" + (f"?{self.query}" if self.query else "")

    @property
    def media(self) -> bool:
        return self.path == "/videoplayback"

    @property
    def line(self) -> str:
        """What fault rules are matched against."""
        return f"{self.method} {self.host}{self.path}?{self.query} video={self.video_id} client={self.client} "


class Journal:
    """A list of records that threads may share."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._lock = threading.Lock()

    def append(self, record: Record) -> None:
        with self._lock:
            self._records.append(record)

    def clear(self) -> None:
        with self._lock:
            self._records.clear()

    def __iter__(self) -> Iterator[Record]:
        with self._lock:
            return iter(list(self._records))

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Record:
        return self._records[index]

    def matching(self, pattern: str) -> list[Record]:
        return [r for r in self if re.search(pattern, r.line)]

    def summary(self) -> dict[str, Any]:
        """Counters as plain JSON."""
        records = list(self)
        media = [r for r in records if r.media]
        videos = sorted({r.video_id for r in media})
        return {
            "requests": len(records),
            "leaks": sorted({r.host for r in records if r.status == 502 and r.reason == "leak"}),
            "statuses": {str(s): sum(r.status == s for r in records) for s in sorted({r.status for r in records})},
            "media_requests": {v: sum(r.video_id == v for r in media) for v in videos},
            "bytes_served": {v: sum(r.bytes_sent for r in media if r.video_id == v) for v in videos},
        }
