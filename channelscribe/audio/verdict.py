"""What a failure of the decoder means for the video: the border where it becomes an error with a sentence and a code.

`process` and `decode` raise what is made here.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from channelscribe.core.errors import ChannelscribeError, EnvironmentFailure, Permanent, Poisoned, Transient

_AGAIN = "download it again"
_FROM_OUTSIDE = {signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGTERM)}
_Maker = Callable[[str, Mapping[str, Any]], ChannelscribeError]
_REPORTS: dict[str, _Maker] = {
    "not_media": lambda n, f: Poisoned(f"{n} is not a media file that can be decoded; {_AGAIN}.", code="not_media"),
    "cut_mp4": lambda n, f: Poisoned(
        f"{n} is cut short: {f.get('bytes')} bytes are there, but its last part should reach to byte {f.get('end')}, "
        f"and without it nothing can be decoded; {_AGAIN}.",
        code="truncated",
    ),
    "no_audio": lambda n, f: Permanent(f"{n} has no audio track, so there is nothing to transcribe.", code="no_audio"),
    "unknown_codec": lambda n, f: Poisoned(
        f"The sound of {n} is in a format that the decoder does not know; download another format.",
        code="unknown_codec",
    ),
    "decoder_memory": lambda n, f: Poisoned(
        f"Decoding {n} needed more memory than any honest file does; {_AGAIN}.", code="decoder_memory"
    ),
    "missing_file": lambda n, f: missing(n),
    "unreadable": lambda n, f: EnvironmentFailure(
        f"{n} may not be read; give this user the right to read the data folder.", code="unreadable"
    ),
    "no_decoder": lambda n, f: EnvironmentFailure(
        f"The audio decoder does not load ({f.get('detail', '')}); install it with: pip install av.", code="no_decoder"
    ),
    "unfit_decoder": lambda n, f: EnvironmentFailure(
        f"The audio decoder fails on every file with the PyAV that is installed ({f.get('detail', '')}); "
        "install channelscribe again, so that pip takes a PyAV that fits.",
        code="no_decoder",
    ),
}


def reported(path: Path, report: Mapping[str, Any]) -> ChannelscribeError:
    """The error for what the decoder's process itself said."""
    make = _REPORTS.get(str(report.get("code")))
    if make is None:
        return Poisoned(f"{path.name} cannot be decoded ({report.get('detail', '')}); {_AGAIN}.", code="undecodable")
    return make(path.name, report)


def crashed(path: Path, exit_status: int, stderr: str) -> Poisoned | Transient:
    """Somebody who ends a run ends its decoders with it; that says nothing about the file."""
    if -exit_status in _FROM_OUTSIDE:
        return Transient(f"The decoder of {path.name} was ended from outside; try again.", code="decoder_ended")
    how = f"was ended by signal {-exit_status}" if exit_status < 0 else f"ended with status {exit_status}"
    last = next((f" ({line.strip()})" for line in reversed(stderr.splitlines()) if line.strip()), "")
    return Poisoned(f"{path.name} crashed the decoder, which {how}{last}; {_AGAIN}.", code="decoder_crash")


def hung(path: Path, seconds: float) -> Poisoned:
    return Poisoned(f"{path.name} hung the decoder: no sound for {seconds:.0f} s; {_AGAIN}.", code="decoder_hang")


def missing(name: str) -> Transient:
    return Transient(f"{name} is not there any more; {_AGAIN}.", code="missing_file")


def empty(name: str) -> Poisoned:
    return Poisoned(f"{name} is empty; {_AGAIN}.", code="empty_file")


def undecodable(name: str) -> Poisoned:
    return Poisoned(f"No sound could be decoded from {name}; {_AGAIN}.", code="undecodable")


def corrupt(name: str, errors: int, packets: int) -> Poisoned:
    return Poisoned(
        f"{name} is damaged: {errors} of {packets} pieces of sound could not be decoded; {_AGAIN}.", code="corrupt"
    )


def truncated(name: str, decoded_s: float, announced_s: float) -> Poisoned:
    return Poisoned(
        f"{name} is cut short: it announces {announced_s:.1f} s but only {decoded_s:.1f} s could be decoded; {_AGAIN}.",
        code="truncated",
    )
