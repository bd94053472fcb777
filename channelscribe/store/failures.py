"""Turns what a disk or an object store says into the one sentence that mends it.

Everything in the store that touches files runs inside `storage_errors`, so no OSError leaves this room.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from channelscribe.core.errors import ChannelscribeError, EnvironmentFailure, Transient

_FULL = {errno.ENOSPC: "has no space left", getattr(errno, "EDQUOT", errno.ENOSPC): "has used up its quota"}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_NAMES = {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}


@contextmanager
def storage_errors(
    where: str, what: str, *, needed_bytes: int | None = None, free_bytes: Callable[[], int | None] | None = None
) -> Iterator[None]:
    """Translates every OSError inside the block. `where` is the data root, `what` says what was being done."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise classify(error, where, what, needed_bytes, free_bytes) from error


def classify(
    error: OSError | ValueError,
    where: str,
    what: str,
    needed_bytes: int | None = None,
    free_bytes: Callable[[], int | None] | None = None,
) -> ChannelscribeError:
    """The classified failure for `error`; a ValueError comes from a path that no file system takes (NUL)."""
    number = getattr(error, "errno", None)
    if number in _FULL:
        return _full(_FULL[number], where, what, needed_bytes, _known(free_bytes))
    if number == errno.EFBIG:
        size = f" of {needed_bytes} bytes" if needed_bytes is not None else ""
        reason = f"The data root {where} does not take a file{size} ({what}); raise the file size limit (ulimit -f)."
        return EnvironmentFailure(reason, code="file_too_large")
    if isinstance(error, PermissionError) or number in _DENIED:
        reason = f"The data root {where} does not allow {what}; give this user the right to write there."
        return EnvironmentFailure(reason, code="not_writable")
    return _other(error, number, where, what)


def _other(error: OSError | ValueError, number: int | None, where: str, what: str) -> ChannelscribeError:
    if isinstance(error, FileNotFoundError):
        reason = f"A file is gone from the data root {where} ({what}); the step that made it has to run again."
        return Transient(reason, code="file_missing")
    if isinstance(error, TimeoutError | ConnectionError):
        return Transient(f"The data root {where} does not answer ({what}): {error}.", code="storage_unreachable")
    if isinstance(error, FileExistsError | NotADirectoryError):
        reason = f"The data root {where} cannot be a folder ({what}), because a file is in its place; name another."
        return EnvironmentFailure(reason, code="bad_path")
    if isinstance(error, ValueError) or number in _NAMES:
        return EnvironmentFailure(f"The data root {where} cannot hold this ({what}): {error}.", code="bad_path")
    return EnvironmentFailure(f"The data root {where} failed ({what}): {error}.", code="storage")


def _full(state: str, where: str, what: str, needed: int | None, free: int | None) -> EnvironmentFailure:
    facts = [f"{needed} bytes needed"] if needed is not None else []
    facts += [f"{free} bytes free"] if free is not None else []
    detail = f" ({', '.join(facts)})" if facts else ""
    reason = f"The data root {where} {state} for {what}{detail}; free some space there and run again."
    return EnvironmentFailure(reason, code="disk_full")


def _known(free_bytes: Callable[[], int | None] | None) -> int | None:
    try:
        return free_bytes() if free_bytes else None
    except OSError:
        return None
