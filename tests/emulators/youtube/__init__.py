"""A YouTube emulator for tests: the unmodified yt-dlp and Google client reach it through a proxy with verified TLS."""

from tests.emulators.youtube.dataapi.quota import KeyState, Project
from tests.emulators.youtube.emulator import API_KEY, YouTubeEmulator
from tests.emulators.youtube.faults import FaultRule, Faults
from tests.emulators.youtube.journal import Record
from tests.emulators.youtube.world import (
    Availability,
    Channel,
    Damage,
    Kind,
    MediaSpec,
    Playlist,
    Video,
    World,
    channel_id,
    playlist_id,
    utc,
    video_id,
)

__all__ = [
    "API_KEY",
    "Availability",
    "Channel",
    "Damage",
    "FaultRule",
    "Faults",
    "KeyState",
    "Kind",
    "MediaSpec",
    "Playlist",
    "Project",
    "Record",
    "Video",
    "World",
    "YouTubeEmulator",
    "channel_id",
    "playlist_id",
    "utc",
    "video_id",
]
