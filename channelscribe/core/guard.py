"""What the guard is allowed to let happen: ceilings of heat, power and memory, and the times it gives them.

Forms, blocks and settings build it, the policy of the gpu room reads it; every value is bounded again by what the GPU
itself reports, so a ceiling that is too high for the GPU in use never counts. What is 0 is scaled to the GPU at hand
(gpu/ceilings.py).
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

GIB = 1024**3
AUTO = 0.0  # of power and memory: as the GPU at hand allows
BUDGET_SHARE, COLLECT_SHARE = 22 / 24, 18 / 24  # of a GPU's memory, where nobody names GiB
LEAST_POWER_W, MOST_POWER_W, MOST_GIB = 10.0, 2000.0, 1024.0


class GuardPolicy(BaseModel):
    """One setting of the guard. Degrees are Celsius; headroom is the distance to the card's own slowdown threshold.

    Defaults: the ceilings are those of the systems this one succeeds, on the GPU that they ran on (75 C, 450 W, 22 of
    24 GiB, collection above 18 GiB). Power and memory scale with the GPU, the temperature holds for all of them
    (docs/guard.md). The headrooms are the recommendation of research/peers.md, B4.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    enabled: bool = Field(True, title="Guard on", description="Off: nothing is held, the card looks after itself.")
    temp_c: float = Field(
        75.0, ge=40, le=110, title="Temperature ceiling (°C)", description="The run pauses before the chip is hotter."
    )
    mem_temp_c: float = Field(
        95.0, ge=50, le=120, title="Memory temperature ceiling (°C)", description="Only where the card reports it."
    )
    power_w: float = Field(
        AUTO,
        ge=0,
        le=MOST_POWER_W,
        title="Power ceiling (W)",
        description="Of the moving average over the power window; 0: the GPU's own limit.",
    )
    power_window_s: float = Field(
        30.0, ge=1, le=600, title="Power window (s)", description="Over how long power is averaged."
    )
    vram_budget_gib: float = Field(
        AUTO,
        ge=0,
        le=MOST_GIB,
        title="Memory budget (GiB)",
        description="Above it batches shrink; 0, and at most: 22 of every 24 GiB that the GPU has.",
    )
    collect_above_gib: float = Field(
        AUTO,
        ge=0,
        le=MOST_GIB,
        title="Tidy memory above (GiB)",
        description="Unused memory is given back from here on; 0: 18 of every 24 GiB that the GPU has.",
    )
    slow_below_c: float = Field(
        5.0, ge=1, le=30, title="Slow from (°C below)", description="Work slows down this far under a ceiling."
    )
    resume_below_c: float = Field(
        5.0,
        ge=1,
        le=40,
        title="Go on at (°C below)",
        description="After a pause, work goes on this far under a ceiling.",
    )
    headroom_slow_c: float = Field(
        15.0, ge=1, le=60, title="Headroom: slow (°C)", description="Work slows when the card's own limit is this near."
    )
    headroom_resume_c: float = Field(
        13.0, ge=1, le=60, title="Headroom: go on (°C)", description="After a pause, work goes on at this headroom."
    )
    headroom_pause_c: float = Field(
        8.0,
        ge=1,
        le=60,
        title="Headroom: pause (°C)",
        description="Work pauses when the card's own limit is this near.",
    )
    headroom_stop_c: float = Field(
        3.0,
        ge=0,
        le=60,
        title="Headroom: stop (°C)",
        description="The run ends when the card's own limit is this near.",
    )
    min_duty: float = Field(
        0.1,
        gt=0,
        le=1,
        title="Least duty",
        description="Share of time that slowed work may still use; below it pauses.",
    )
    min_dwell_s: float = Field(
        5.0,
        ge=0,
        le=600,
        title="Least time in a zone (s)",
        description="Before a calmer zone; a safer one comes at once.",
    )
    max_pause_s: float = Field(
        3600.0, gt=0, le=86_400, title="Longest pause (s)", description="Then the run ends; a retry goes on from there."
    )
    override_s: float = Field(
        300.0, ge=0, le=3600, title="Resume by hand holds (s)", description="How long Resume outvotes the guard."
    )
    sample_s: float = Field(
        1.0, ge=0.05, le=60, title="Sample every (s)", description="How often the card is read and judged."
    )
    bad_readings: int = Field(
        5, ge=1, le=100, title="Bad readings tolerated", description="So many in a row, and the guard counts as blind."
    )
    frozen_s: float = Field(
        60.0, ge=5, le=3600, title="Frozen sensor after (s)", description="Same degree for so long while power changes."
    )
    blind_card: Literal["throttle", "pause", "run"] = Field(
        "throttle",
        title="Card without thermometer",
        description="throttle: run while the card itself reports no heat; pause: never run; run: guard the rest only.",
    )
    stall_s: float = Field(
        600.0, ge=1, le=86_400, title="Stalled after (s)", description="Windows wait but no GPU step ends for so long."
    )
    leak_gib: float = Field(
        1.0, gt=0, le=MOST_GIB, title="Leak from (GiB)", description="Growth of held memory over finished work."
    )
    power_cap: bool = Field(
        False, title="Lower the power limit", description="Cap watts instead of resting; needs rights on the card."
    )
    foreign: Literal["yield", "ignore"] = Field(
        "yield", title="Another program on the card", description="yield: pause while it is there; ignore: share."
    )
    foreign_mib: float = Field(
        256.0, ge=0, title="Another program from (MiB)", description="Less memory than this does not count as one."
    )

    @field_validator("power_w")
    @classmethod
    def _enough_to_work(cls, watts: float) -> float:
        if 0 < watts < LEAST_POWER_W:
            raise ValueError(f"A power ceiling is at least {LEAST_POWER_W:g} W; 0 takes the GPU's own limit")
        return watts

    @model_validator(mode="after")
    def _orders(self) -> Self:
        if not self.headroom_stop_c < self.headroom_pause_c < self.headroom_resume_c <= self.headroom_slow_c:
            raise ValueError(
                "The headrooms must grow from stop over pause and resume to slow, as in 3, 8, 13, 15 °C; now they are "
                f"{self.headroom_stop_c:g}, {self.headroom_pause_c:g}, {self.headroom_resume_c:g} and "
                f"{self.headroom_slow_c:g} °C."
            )
        if self.vram_budget_gib and self.collect_above_gib > self.vram_budget_gib:
            raise ValueError(
                f"Memory is tidied above {self.collect_above_gib:g} GiB, which must not be more than the budget of "
                f"{self.vram_budget_gib:g} GiB."
            )
        if self.sample_s > self.power_window_s:
            raise ValueError(
                f"A sample every {self.sample_s:g} s gives no average over {self.power_window_s:g} s of power; "
                "sample more often or widen the power window."
            )
        return self
