"""When the next video may begin, for all processes of this machine that talk to YouTube from one address.

Beside the lane, which asks here before it lets anybody in. A small file under a file lock: 7 ms (median, measured on a
machine with fourteen times more to do than it has cores) where a rate limit of the Prefect server costs 84 to 224 ms
(research/prefect.md, section 4), and what a killed process had reserved passes by itself.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path

import filelock
from platformdirs import user_cache_path

from channelscribe.core.clock import Clock, SystemClock

log = logging.getLogger(__name__)
_LOCK_S = 2.0
_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
_LONGEST_S = 24 * 3600.0  # a moment further ahead than this was written under a clock that has been set back


class SharedPace:
    """Never raises: where the file cannot be used, each process keeps its own pace, and one warning says so."""

    def __init__(self, file: Path | None = None, clock: Clock | None = None) -> None:
        self._file = file or pace_file()
        self._clock = clock or SystemClock()
        self._told = False

    def reserve(self, spacing_s: float) -> float:
        """0: it is our turn, and the next one's is `spacing_s` later. Otherwise the seconds to wait."""
        try:
            with self._locked():
                now_s = self._now_s()
                kept = self._read()
                wait_s = max(kept.get("next_start", 0.0), kept.get("resume_at", 0.0)) - now_s
                if 0 < wait_s < _LONGEST_S:
                    return wait_s
                if spacing_s > 0:
                    self._write({**kept, "next_start": now_s + spacing_s})
        except (OSError, filelock.Timeout) as error:
            self._complain(error)
        return 0.0

    def pause(self, seconds: float) -> None:
        """Everybody at this address waits; a longer pause that stands already stays."""
        try:
            with self._locked():
                kept = self._read()
                until = max(kept.get("resume_at", 0.0), self._now_s() + seconds)
                self._write({**kept, "resume_at": until})
        except (OSError, filelock.Timeout) as error:
            self._complain(error)

    def _locked(self) -> filelock.BaseFileLock:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        return filelock.FileLock(self._file.with_suffix(".lock"), timeout=_LOCK_S, thread_local=False)

    def _now_s(self) -> float:
        return self._clock.now().timestamp()

    def _read(self) -> Mapping[str, float]:
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
            return {str(k): float(v) for k, v in found.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, AttributeError):
            return {}  # torn by a kill: the worst is one video too early

    def _write(self, kept: Mapping[str, float]) -> None:
        self._file.write_text(json.dumps(dict(kept)), encoding="utf-8")

    def _complain(self, error: Exception) -> None:
        if not self._told:
            log.warning("the pace towards YouTube is kept by each process for itself: %s", error)
        self._told = True


def pace_file() -> Path:
    """One for each address that YouTube sees: runs behind different proxies do not wait for each other."""
    proxy = next((value for name in _PROXIES if (value := os.environ.get(name))), "direct")
    name = hashlib.sha256(proxy.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return user_cache_path("channelscribe", appauthor=False) / "youtube" / f"{name}.json"
