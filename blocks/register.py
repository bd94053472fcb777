"""Registers the block types with a Prefect server and saves those that the environment describes."""

from __future__ import annotations

from typing import Any, cast

from prefect.blocks.core import Block
from prefect.variables import Variable
from pydantic import BaseModel, SecretStr

from blocks.guard import GuardProfile
from blocks.odin import OdinCredentials
from blocks.resolving import DEFAULT_NAME, Resolving
from blocks.storage import ArchiveRoot
from blocks.transcription import TranscriptionSettings
from blocks.youtube import YouTubeKeys
from channelscribe.core.fingerprint import fingerprint

_TOLD = "channelscribe_environment_blocks"  # digests of what the environment said when a block was saved
BLOCKS: tuple[type[Resolving], ...] = (YouTubeKeys, OdinCredentials, ArchiveRoot, TranscriptionSettings, GuardProfile)


def register_all() -> list[str]:
    """Makes the block types known to the server that PREFECT_API_URL names; returns their names."""
    for kind in BLOCKS:
        cast(type[Block], kind).register_type_and_schema()
    return [cast(type[Block], kind).get_block_type_slug() for kind in BLOCKS]


def save_from_environment(name: str = DEFAULT_NAME) -> list[str]:
    """Saves the blocks that the environment describes under `name`; returns what was saved.

    A block is written when it is missing, or when the environment says something else than at the last time: so a
    new key in `.env` takes effect, and what an operator edited in the UI stays.
    """
    told: Any = Variable.get(_TOLD, {})
    known = dict(told) if isinstance(told, dict) else {}
    saved = []
    for kind in BLOCKS:
        slug = f"{cast(type[Block], kind).get_block_type_slug()}/{name}"
        if (block := kind.from_environment()) is None:
            continue
        digest = _digest(cast(Block, block))
        if known.get(slug) != digest or kind.saved(name) is None:
            cast(Block, block).save(name, overwrite=True)
            known[slug] = digest
            saved.append(slug)
    if saved:
        Variable.set(_TOLD, known, overwrite=True)
    return saved


def _digest(block: Block) -> str:
    values = {field: getattr(block, field) for field in type(block).model_fields}
    return fingerprint({field: _bare(value) for field, value in values.items()})


def _bare(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return value.get_secret_value() if isinstance(value, SecretStr) else value
