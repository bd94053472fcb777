"""What YouTube serves beside pages: RSS feeds and captions.

Captions carry the true sentences of the recording with their times.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from xml.sax.saxutils import escape

from tests.emulators.speech import Sentence
from tests.emulators.youtube.world import Video

_FEED_LENGTH = 15
_NAMESPACES = (
    'xmlns:yt="http://www.youtube.com/xml/schemas/2015" xmlns:media="http://search.yahoo.com/mrss/" '
    'xmlns="http://www.w3.org/2005/Atom"'
)


def rss(title: str, videos: Sequence[Video]) -> bytes:
    entries = "".join(_entry(video) for video in videos[:_FEED_LENGTH])
    head = '<?xml version="1.0" encoding="UTF-8"?>'
    return f"{head}<feed {_NAMESPACES}><title>{escape(title)}</title>{entries}</feed>".encode()


def _entry(video: Video) -> str:
    when = video.published.isoformat()
    return (
        f"<entry><id>yt:video:{video.id}</id><yt:videoId>{video.id}</yt:videoId>"
        f"<yt:channelId>{video.channel_id}</yt:channelId><title>{escape(video.title)}</title>"
        f'<link rel="alternate" href="https://www.youtube.com/watch?v={video.id}"/>'
        f"<published>{when}</published><updated>{when}</updated></entry>"
    )


def captions(sentences: Sequence[Sentence], form: str) -> tuple[str, bytes]:
    """Content type and bytes of the caption track, as json3 or WebVTT."""
    if form == "json3":
        events = [
            {
                "tStartMs": round(s.start_s * 1000),
                "dDurationMs": round((s.end_s - s.start_s) * 1000),
                "segs": [{"utf8": s.text}],
            }
            for s in sentences
        ]
        return "application/json; charset=UTF-8", json.dumps({"wireMagic": "pb3", "events": events}).encode()
    cues = "".join(f"{_moment(s.start_s)} --> {_moment(s.end_s)}\n{s.text}\n\n" for s in sentences)
    return "text/vtt; charset=UTF-8", f"WEBVTT\nKind: captions\nLanguage: en\n\n{cues}".encode()


def _moment(seconds: float) -> str:
    total_ms = round(seconds * 1000)
    minutes, rest_ms = divmod(total_ms, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest_ms // 1000:02d}.{rest_ms % 1000:03d}"
