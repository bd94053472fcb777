"""Opens a media file for reading with PyAV, whichever release is installed and whatever bytes the file's tags hold.

The decoder's process (`audio`) and the converter (`youtube`) open with it. PyAV loads in the call, not with `core`.
"""

from __future__ import annotations

from typing import Any


def open_media(path: str, options: dict[str, str] | None = None) -> Any:
    """An `av.container.InputContainer`, to be closed by the caller. `options` are FFmpeg's, by name.

    Raises what `av.open` raises, but never for a tag that is not UTF-8: PyAV 15 to 18 leave out its bytes when told to,
    PyAV 19 keeps them as surrogates by itself and has no such argument any more.
    """
    import av
    from av.container import InputContainer

    lenient: dict[str, Any] = {"metadata_errors": "ignore"} if hasattr(InputContainer, "metadata_errors") else {}
    return av.open(path, mode="r", options=options or {}, **lenient)
