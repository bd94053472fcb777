"""Registers the block types with a Prefect server and saves those that the environment describes."""

from __future__ import annotations

from typing import cast

from prefect.blocks.core import Block

from blocks.odin import OdinCredentials
from blocks.resolving import DEFAULT_NAME, Resolving
from blocks.storage import ArchiveRoot
from blocks.transcription import TranscriptionSettings
from blocks.youtube import YouTubeKeys

BLOCKS: tuple[type[Resolving], ...] = (YouTubeKeys, OdinCredentials, ArchiveRoot, TranscriptionSettings)


def register_all() -> list[str]:
    """Makes the block types known to the server that PREFECT_API_URL names; returns their names."""
    for kind in BLOCKS:
        cast(type[Block], kind).register_type_and_schema()
    return [cast(type[Block], kind).get_block_type_slug() for kind in BLOCKS]


def save_from_environment(name: str = DEFAULT_NAME) -> list[str]:
    """Saves every block that the environment describes under `name`, replacing it; returns what was saved."""
    saved = []
    for kind in BLOCKS:
        if (block := kind.from_environment()) is not None:
            cast(Block, block).save(name, overwrite=True)
            saved.append(f"{cast(type[Block], kind).get_block_type_slug()}/{name}")
    return saved
