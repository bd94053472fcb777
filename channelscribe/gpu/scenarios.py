"""Named days in the life of a simulated card, and the knobs by which a file can turn it while it runs.

Read by gpu/sim.py (a reader for demos and tests) and gpu/backtest.py (policies beside each other).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from channelscribe.gpu.plant import GIB, Build

HOUR_S = 3600.0
_TENANT_BYTES = 6 * 1024**3


class Knobs(BaseModel):
    """What plant.json may say; every knob has a default, unknown ones are refused. Units as in the names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    scenario: str = ""
    uuid: str = Field("GPU-simulated-0", min_length=1)
    ambient_c: float | None = Field(None, ge=-40, le=80)
    forced_temp_c: float | None = Field(None, ge=-50, le=200)
    sensor: Literal["ok", "missing", "frozen", "impossible"] = "ok"
    lost: bool = False
    foreign_bytes: int = Field(0, ge=0)
    fan_failed: bool = False
    speed: float = Field(1.0, gt=0, le=1000)
    start_temp_c: float | None = Field(None, ge=0, le=120)
    leak_bytes_s: float = Field(0.0, ge=0)
    throttle_mask: int = Field(0, ge=0)
    xids: tuple[int, ...] = ()
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """From this second of the plant on, these knobs are turned."""

    at_s: float
    knobs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A card, its air (mean, and a swing over 24 h), its work (seconds per GPU step) and what happens when."""

    name: str
    about: str
    build: Build = Build()  # noqa: RUF009  frozen
    ambient_c: float = 25.0
    swing_c: float = 0.0
    start_temp_c: float = 35.0
    step_s: float = 1.0
    duration_s: float = 2 * HOUR_S
    changes: tuple[Change, ...] = ()

    def ambient(self, at_s: float) -> float:
        """Warmest at the start, coldest twelve hours later."""
        return self.ambient_c + self.swing_c * math.cos(2 * math.pi * at_s / (24 * HOUR_S))

    def changed(self, at_s: float) -> int:
        """How many of the changes have happened."""
        return sum(change.at_s <= at_s for change in self.changes)

    def knobs(self, at_s: float) -> dict[str, Any]:
        """The knobs as the changes so far have left them."""
        turned: dict[str, Any] = {}
        for change in self.changes:
            if change.at_s <= at_s:
                turned |= change.knobs
        return turned


_PEERS = Build(
    name="First-order card of research/peers.md, B3",
    busy_w=350.0,
    limit_w=350.0,
    limit_max_w=400.0,
    slowdown_c=100.0,
    shutdown_c=107.0,
    cooler_k_per_w=0.175,
    cooler_tau_s=45.0,
    die_k_per_w=0.0,
    memory_k_per_w=0.0,
    fan_matters=False,
)
_QUICK = Build(name="Simulated card, quick", cooler_k_per_w=0.14, cooler_tau_s=8.0, die_k_per_w=0.006)

_CABINET = Build(name="Simulated card, cabinet", cooler_k_per_w=0.12, cooler_tau_s=8.0, die_k_per_w=0.006)

# Wants more than its 700 W all the time, and its server's fans do not heed it; settles at 67 °C in air of 28 °C.
_SERVER = Build(
    name="Simulated GPU 80 GiB, 700 W",
    busy_w=800.0,
    idle_w=70.0,
    limit_w=700.0,
    limit_min_w=200.0,
    limit_max_w=700.0,
    overshoot=0.01,
    cooler_k_per_w=0.04,
    die_k_per_w=0.015,
    memory_k_per_w=0.02,
    fan_matters=False,
    total_bytes=80 * GIB,
    work_bytes=58 * GIB,
)

SCENARIOS = {
    s.name: s
    for s in (
        Scenario(
            "demo",
            "Too hot within seconds, cool again within seconds; the fan fails from second 12 to 20.",
            _QUICK,
            ambient_c=27.0,
            start_temp_c=52.0,
            step_s=0.3,
            duration_s=120.0,
            changes=(Change(12.0, {"fan_failed": True}), Change(20.0, {"fan_failed": False})),
        ),
        Scenario(
            "cabinet",
            "A small card in a closed cabinet: warm at rest, too hot after two seconds of work, cool again within ten.",
            _CABINET,
            ambient_c=58.0,
            start_temp_c=62.0,
            step_s=0.3,
            duration_s=120.0,
        ),
        Scenario("cool", "A card in a cold room; nothing to guard.", ambient_c=10.0),
        Scenario("hot", "A hot day: unguarded, the card settles above its ceiling.", ambient_c=35.0, step_s=2.0),
        Scenario(
            "peers",
            "The plant of research/peers.md, B3: 6 s steps, 32 C, two hours.",
            _PEERS,
            ambient_c=32.0,
            start_temp_c=32.0,
            step_s=6.0,
        ),
        Scenario(
            "server", "A server's GPU at its own power limit for three hours.", _SERVER, 28.0, duration_s=3 * HOUR_S
        ),
        Scenario(
            "server-hot",
            "The same for two hours; the room is 48 °C hot from minute 40 to 60.",
            _SERVER,
            ambient_c=28.0,
            changes=(Change(2400.0, {"ambient_c": 48.0}), Change(3600.0, {"ambient_c": 28.0})),
        ),
        Scenario("long-steps", "A hot day and GPU steps of 6 s.", ambient_c=33.0, step_s=6.0),
        Scenario(
            "night",
            "Twelve hours: the weather turns, the fan fails, the thermometer is lost, a second tenant comes and goes.",
            ambient_c=24.0,
            swing_c=10.0,
            duration_s=12 * HOUR_S,
            changes=(
                Change(3.0 * HOUR_S, {"fan_failed": True}),
                Change(4.0 * HOUR_S, {"fan_failed": False}),
                Change(5.5 * HOUR_S, {"sensor": "missing"}),
                Change(5.6 * HOUR_S, {"sensor": "ok"}),
                Change(7.0 * HOUR_S, {"foreign_bytes": _TENANT_BYTES}),
                Change(7.5 * HOUR_S, {"foreign_bytes": 0}),
                Change(9.0 * HOUR_S, {"sensor": "frozen"}),
                Change(9.1 * HOUR_S, {"sensor": "ok"}),
            ),
        ),
        Scenario(
            "fan-failure",
            "The fan stops after 10 minutes for 20 minutes.",
            ambient_c=26.0,
            duration_s=HOUR_S,
            changes=(Change(600.0, {"fan_failed": True}), Change(1800.0, {"fan_failed": False})),
        ),
        Scenario(
            "sensor-loss",
            "The thermometer is missing from minute 10 to 15.",
            ambient_c=32.0,
            duration_s=0.5 * HOUR_S,
            changes=(Change(600.0, {"sensor": "missing"}), Change(900.0, {"sensor": "ok"})),
        ),
        Scenario(
            "tenant",
            "Another program uses the card from minute 10 to 20.",
            duration_s=0.5 * HOUR_S,
            changes=(Change(600.0, {"foreign_bytes": _TENANT_BYTES}), Change(1200.0, {"foreign_bytes": 0})),
        ),
    )
}


def with_knobs(scenario: Scenario, at_s: float, turned: dict[str, Any]) -> Knobs:
    """All knobs at that second of the plant; the file's word outranks the scenario's."""
    return Knobs(**{**scenario.knobs(at_s), **turned})


def started_at(scenario: Scenario, start_temp_c: float | None) -> Scenario:
    """The scenario with another temperature to begin with."""
    return scenario if start_temp_c is None else replace(scenario, start_temp_c=start_temp_c)
