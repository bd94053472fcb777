"""ODIN credentials as a block."""

from __future__ import annotations

from typing import ClassVar, Self

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from blocks.resolving import Resolving
from channelscribe.core.settings import Settings
from channelscribe.odin.client import OdinClient
from channelscribe.odin.config import OdinConfig


class OdinCredentials(Resolving, Block):
    """Key, secret and project of an ODIN knowledge base (ODIN web interface: My Account, API Keys)."""

    _block_type_name: ClassVar[str] = "ODIN Credentials"
    _block_type_slug: ClassVar[str] = "odin-credentials"
    _description: ClassVar[str] = "Where transcripts are uploaded to."

    api_key: SecretStr = Field(default=SecretStr(""), title="API key")
    api_secret: SecretStr = Field(default=SecretStr(""), title="API secret")
    project_id: str = Field(default="", title="Project id", description="There is no default project.")
    base_url: str = Field(default="https://api.getodin.ai", title="Address", description="On-premises hosts differ.")

    @classmethod
    def from_environment(cls) -> Self | None:
        s = Settings()
        if not (s.odin_api_key.get_secret_value() or s.odin_api_secret.get_secret_value() or s.odin_project_id):
            return None
        return cls(
            api_key=s.odin_api_key,
            api_secret=s.odin_api_secret,
            project_id=s.odin_project_id,
            base_url=s.odin_base_url,
        )

    def config(self) -> OdinConfig:
        """Raises EnvironmentFailure that names what is missing."""
        settings = Settings(
            odin_api_key=self.api_key,
            odin_api_secret=self.api_secret,
            odin_project_id=self.project_id,
            odin_base_url=self.base_url,
        )
        return OdinConfig.from_settings(settings)

    def client(self) -> OdinClient:
        return OdinClient(self.config())
