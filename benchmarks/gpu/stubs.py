"""Names and versions of packages that a borrowed machine lacks and the measured path does not use.

The engine writes the versions of its packages into every transcript and asks for them by name. Children inherit them.
"""

from __future__ import annotations

import os
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

NAMED = ("torch", "transformers", "silero-vad", "av", "channelscribe")


def stand_in_for_missing(within: Path, names: tuple[str, ...] = NAMED) -> list[str]:
    """Those that were missing; their version is "0" now, here and in child processes, while `within` is there."""
    absent = [name for name in names if not _known(name)]
    if absent:
        folder = Path(tempfile.mkdtemp(prefix="bench-stubs-", dir=within))
        for name in absent:
            info = folder / f"{name.replace('-', '_')}-0.dist-info"
            info.mkdir()
            text = f"Metadata-Version: 2.1\nName: {name}\nVersion: 0\n"
            (info / "METADATA").write_text(text, encoding="utf-8")
        sys.path.append(str(folder))
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH", ""), str(folder))))
    return absent


def _known(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
