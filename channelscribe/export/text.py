"""The files for people and for simple programs: transcript as TXT and JSON, and the sidecar with a video's metadata.

Written beside the media after a transcription, and sent to the knowledge base. The same transcript and video always
give the same bytes, so nothing here depends on when, where or how fast the work was done.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

from channelscribe.core.model import Media, Segment, Transcript, Video
from channelscribe.core.text import clean_text

TRANSCRIPT_FORMAT = 1
NO_SPEECH = "[no speech]"
_HOUR_S = 3600
# Beyond these digits a score depends on the device that computed it, and a time on nothing that can be heard.
_TIME_DIGITS = 3
_SCORE_DIGITS = 3


def clock_range(start_s: float, end_s: float) -> str:
    """`[MM:SS - MM:SS]`, or `[HH:MM:SS - HH:MM:SS]` when the end is at one hour or later. Seconds are cut, not rounded.

    Raises ValueError for a time that is no number. Times below zero show as zero, an end before the start as the start.
    """
    if not (math.isfinite(start_s) and math.isfinite(end_s)):
        raise ValueError(f"no moment in a file: {start_s} to {end_s}")
    start = max(0, math.floor(start_s))
    end = max(start, math.floor(end_s))
    hours = end >= _HOUR_S
    return f"[{_clock(start, hours)} - {_clock(end, hours)}]"


def transcript_text(transcript: Transcript) -> str:
    """One `[MM:SS - MM:SS] text` line per segment with text, a blank line between, a newline at the end."""
    lines = [f"{clock_range(s.start_s, s.end_s)} {text}" for s in transcript.segments if (text := _one_line(s.text))]
    return "\n\n".join(lines or [NO_SPEECH]) + "\n"


def transcript_json(transcript: Transcript, video: Video) -> str:
    """All a program wants to know about the text. Keys in a fixed order, no trace of the machine that made it."""
    provenance = transcript.provenance
    return _pretty(
        {
            "format": TRANSCRIPT_FORMAT,
            "videoId": transcript.video_id,
            "title": video.title,
            "url": video.url,
            "channelId": video.channel_id,
            "channelTitle": video.channel_title,
            "publishedAt": _moment(video.published_at),
            "language": transcript.language,
            "durationS": _rounded(transcript.duration_s, _TIME_DIGITS),
            "speechS": _rounded(transcript.speech_s, _TIME_DIGITS),
            "fingerprint": transcript.fingerprint,
            "mediaSha256": transcript.media_sha256,
            "engine": provenance.engine,
            "model": provenance.model,
            "modelRevision": provenance.model_revision,
            "parameters": _sorted(provenance.parameters),
            "text": transcript.text,
            "segments": [_segment(segment) for segment in transcript.segments],
        }
    )


def sidecar_json(video: Video, media: Media | None) -> str:
    """A video's metadata under the names that the systems before this one used, and ours behind them."""
    return _pretty(
        {
            "videoId": video.video_id,
            "publishedAt": _moment(video.published_at),
            "channelId": video.channel_id,
            "title": video.title,
            "description": video.description,
            "thumbnail": video.thumbnail_url,
            "url": video.url,
            "durationS": _rounded(media.duration_s if media else video.duration_s, _TIME_DIGITS),
            "kind": video.kind.value,
            "language": (media.language if media else None) or video.language,
            "channelTitle": video.channel_title,
        }
    )


def _clock(seconds: int, with_hours: bool) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}" if with_hours else f"{minutes:02d}:{rest:02d}"


def _one_line(text: str) -> str:
    return clean_text(" ".join(text.split()))


def _segment(segment: Segment) -> dict[str, Any]:
    row: dict[str, Any] = {
        "index": segment.index,
        "startS": _rounded(segment.start_s, _TIME_DIGITS),
        "endS": _rounded(segment.end_s, _TIME_DIGITS),
        "text": segment.text.strip(),
        "speaker": segment.speaker,
        "avgLogprob": _rounded(segment.avg_logprob, _SCORE_DIGITS),
        "noSpeechProb": _rounded(segment.no_speech_prob, _SCORE_DIGITS),
        "compressionRatio": _rounded(segment.compression_ratio, _SCORE_DIGITS),
    }
    if segment.words:
        row["words"] = [
            {
                "word": word.word,
                "startS": _rounded(word.start_s, _TIME_DIGITS),
                "endS": _rounded(word.end_s, _TIME_DIGITS),
                "probability": _rounded(word.probability, _SCORE_DIGITS),
            }
            for word in segment.words
        ]
    return row


def _pretty(value: dict[str, Any]) -> str:
    return clean_text(json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False, default=str)) + "\n"


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _sorted(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [_sorted(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _rounded(value: float | None, digits: int) -> float | None:
    # + 0.0 turns -0.0 into 0.0, which is the same score but not the same text.
    return round(value, digits) + 0.0 if value is not None and math.isfinite(value) else None


def _moment(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
