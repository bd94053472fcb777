"""The small shapes that InnerTube answers are built of: texts, tokens, lengths, ages.

Used by the player, the pages and the lists.
"""

from __future__ import annotations

import base64
import json
from datetime import datetime
from typing import Any

VISITOR = "CgtFbXVWaXNpdG9y"


def simple(text: str) -> dict[str, Any]:
    return {"simpleText": text}


def runs(*texts: str) -> dict[str, Any]:
    return {"runs": [{"text": text} for text in texts]}


def token(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).decode().rstrip("=")


def untoken(text: str) -> Any:
    """The value in a token; ValueError when it is not one of ours."""
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def clock_length(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def age(moment: datetime, now: datetime) -> str:
    days = max((now - moment).days, 0)
    for size, name in ((365, "year"), (30, "month"), (7, "week"), (1, "day")):
        if days >= size:
            count = days // size
            return f"{count} {name}{'s' if count > 1 else ''} ago"
    return "5 hours ago"


def thumbnail(video_id: str) -> str:
    return f"https://i.ytimg.com/vi/{video_id}/hqdefault.jpg"


def channel_byline(title: str, channel_id: str, handle: str) -> dict[str, Any]:
    endpoint = {"browseEndpoint": {"browseId": channel_id, "canonicalBaseUrl": "/@" + handle}}
    return {"runs": [{"text": title, "navigationEndpoint": endpoint}]}
