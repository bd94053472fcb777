"""YouTube keys and cookies as a block."""

from __future__ import annotations

from typing import ClassVar, Self

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from blocks.resolving import Resolving
from channelscribe.core.settings import Settings
from channelscribe.youtube.config import YouTubeConfig


class YouTubeKeys(Resolving, Block):
    """Keys of the YouTube Data API. Without one, yt-dlp lists: slower, without exact dates."""

    _block_type_name: ClassVar[str] = "YouTube Keys"
    _block_type_slug: ClassVar[str] = "youtube-keys"
    _description: ClassVar[str] = "API keys (failover, not rotation) and optional cookies for listing and downloading."

    api_keys: SecretStr = Field(
        default=SecretStr(""),
        title="API keys",
        description="Comma-separated; write project:key to name the Google project. Empty: list without a key.",
    )
    cookies: str = Field(
        default="",
        title="Cookie file",
        description="Path of a cookies.txt on the worker. Risk of a ban; usually empty.",
    )

    @classmethod
    def from_environment(cls) -> Self | None:
        settings = Settings()
        if not settings.youtube_api_keys.get_secret_value() and not settings.youtube_cookies:
            return None
        return cls(api_keys=settings.youtube_api_keys, cookies=settings.youtube_cookies)

    def config(self) -> YouTubeConfig:
        settings = Settings(youtube_api_keys=self.api_keys, youtube_cookies=self.cookies)
        return YouTubeConfig.from_settings(settings)
