"""The guard's profile as a block: which card is read, and its ceilings and times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from prefect.blocks.core import Block
from pydantic import Field, ValidationError

from blocks.resolving import Resolving
from channelscribe.core.errors import UsageError
from channelscribe.core.guard import GuardPolicy
from channelscribe.core.settings import GuardSettings, Settings, first_problem


@dataclass(frozen=True, slots=True)
class GuardChoice:
    """What a run is guarded by. `gpu` as in `channelscribe.gpu.open.open_reader`."""

    gpu: str
    policy: GuardPolicy


class GuardProfile(Resolving, Block):
    """When work on the card slows, pauses and stops. Without a card nothing is guarded."""

    _block_type_name: ClassVar[str] = "GPU Guard Profile"
    _block_type_slug: ClassVar[str] = "gpu-guard-profile"
    _description: ClassVar[str] = "Ceilings of heat, power and memory for the GPU that transcribes; 0: as it allows."

    gpu: str = Field(
        default="auto",
        title="Card",
        description="auto, off, a number, GPU-..., sim:SCENARIO (a simulated card) or replay:PATH.",
    )
    policy: GuardPolicy = Field(default_factory=GuardPolicy, title="Ceilings and times")

    @classmethod
    def from_environment(cls) -> Self | None:
        try:
            gpu, given = Settings().gpu, GuardSettings()
            if gpu == Settings.model_fields["gpu"].default and not given.model_fields_set:
                return None
            return cls(gpu=gpu, policy=given.policy())
        except ValidationError as error:
            raise UsageError(f"CHANNELSCRIBE_GUARD: {first_problem(error)}", code="bad_setting") from error

    def choice(self, **changes: Any) -> GuardChoice:
        """`changes` override single fields of the policy; 0 in power or memory is the figure of the GPU at hand. Raises
        UsageError for values that cannot be."""
        wanted = {**self.policy.model_dump(), **changes}
        if "vram_budget_gib" in changes:  # a smaller budget alone says nothing about when to tidy up
            wanted["collect_above_gib"] = min(wanted["collect_above_gib"], wanted["vram_budget_gib"])
        try:
            return GuardChoice(self.gpu, GuardPolicy(**wanted))
        except ValidationError as error:
            raise UsageError(f"The guard's form: {first_problem(error)}", code="bad_guard") from error
