"""The environment of a user who has configured nothing: ours and the proxies' variables are taken out."""

from __future__ import annotations

import os

_OURS = ("CHANNELSCRIBE_", "ODIN_", "YOUTUBE_", "PREFECT_", "API_KEY", "API_SECRET")


def clean(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(_OURS) and not k.lower().endswith("_proxy")}
    return kept | more
