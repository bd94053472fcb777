"""How a block is found: saved in Prefect, or built from environment variables, so that a notebook needs no server.

A run of a deployment asks the saved block first, because an operator edits it in the UI; a run started by hand asks
the environment first, because that is what the person just typed.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Self, cast

from prefect.runtime import deployment

DEFAULT_NAME = "default"


class Resolving:
    """Mixin for blocks. A plain class: a Block as base would be registered as a block type of its own."""

    @classmethod
    def from_environment(cls) -> Self | None:
        """The block that the environment describes, or None when it says nothing."""
        raise NotImplementedError

    @classmethod
    def saved(cls, name: str = DEFAULT_NAME) -> Self | None:
        """The block saved under `name`, or None."""
        block: Any = cls  # every user of this mixin is a Block too
        try:
            return cast(Self, block.load(name, _sync=True))  # a notebook's event loop would get a coroutine
        except ValueError:  # Prefect's answer for "no such block"
            return None

    @classmethod
    def resolve(cls, name: str = DEFAULT_NAME) -> Self:
        """Saved block or environment, in the order that fits the run; without either, the block's own defaults."""
        sources = (cls.from_environment, partial(cls.saved, name))
        for source in reversed(sources) if deployment.id else sources:
            if (found := source()) is not None:
                return found
        return cls()
