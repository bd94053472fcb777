"""The data root as a block."""

from __future__ import annotations

import os
from typing import ClassVar, Self

from prefect.blocks.core import Block
from pydantic import Field

from blocks.resolving import Resolving
from channelscribe.core.settings import Settings
from channelscribe.store.root import DataRoot


class ArchiveRoot(Resolving, Block):
    """The folder or URL under which media, transcripts and all tables lie."""

    _block_type_name: ClassVar[str] = "Channelscribe Data Root"
    _block_type_slug: ClassVar[str] = "channelscribe-data-root"
    _description: ClassVar[str] = "A folder, or an s3:// or gs:// address; credentials come from the environment."

    url: str = Field(default="data", title="Folder or URL")

    @classmethod
    def from_environment(cls) -> Self | None:
        url = Settings().data
        given = bool(os.environ.get("CHANNELSCRIBE_DATA")) or url != Settings.model_fields["data"].default
        return cls(url=url) if given else None

    def open(self) -> DataRoot:
        return DataRoot.open(self.url)
