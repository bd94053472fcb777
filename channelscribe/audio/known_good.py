"""Tells a decoder that does not fit its library from a file that breaks it, by sound that is known to be good.

The decoder's process asks after an error that looks like our own, before it blames the file.
"""

from __future__ import annotations

import tempfile
import wave
from pathlib import Path

_RATE_HZ = 16_000


def fails() -> bool:
    """True when not even a second of silence in a WAV file of our own can be decoded."""
    from channelscribe.audio.media import decoded

    with tempfile.TemporaryDirectory(prefix="channelscribe-decoder-") as folder:
        path = Path(folder) / "silence.wav"
        with wave.open(str(path), "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(_RATE_HZ)
            out.writeframes(bytes(2 * _RATE_HZ))
        try:
            return not list(decoded(str(path)))
        except Exception:  # noqa: BLE001  whatever it is, this file is not to blame
            return True
