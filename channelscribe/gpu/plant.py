"""A card in small: heat follows load, air, fan and the card's own throttling; energy, memory and a second tenant too.

Behind gpu/sim.py, which makes samples of it. Two thermal masses: the die moves within seconds, the cooler within a
minute. The constants are chosen to look like a large consumer card and are measured on none.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

_LONGEST_TICK_S = 1.0
_THROTTLE_TAU_S = 2.0
_LEAST_SPEED = 0.3
_FAN_FAILED = 2.2  # a cooler without its fan resists so much more
_TENANT_LOAD = 0.6
GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Build:
    """What a simulated card is made of. `exponent`: work per second grows with power to this (assumed, peers.md B3).
    `overshoot`: by which share of its power limit it draws more while the limit holds it (assumed)."""

    name: str = "Simulated card 24 GiB"
    busy_w: float = 400.0
    idle_w: float = 28.0
    limit_w: float = 450.0
    limit_min_w: float = 150.0
    limit_max_w: float = 600.0
    overshoot: float = 0.0
    slowdown_c: float = 90.0
    shutdown_c: float = 97.0
    cooler_k_per_w: float = 0.125
    cooler_tau_s: float = 60.0
    die_k_per_w: float = 0.02
    die_tau_s: float = 1.5
    memory_k_per_w: float = 0.03
    fan_matters: bool = True
    exponent: float = 0.45
    total_bytes: int = 24 * GIB
    work_bytes: int = 9 * GIB


@dataclass(slots=True)
class Surroundings:
    """What may change around the card while it works."""

    ambient_c: float = 25.0
    fan_failed: bool = False
    tenant: bool = False
    limit_w: float | None = None


class Plant:
    """The physical state; `advance` is the only way in which it changes. Deterministic by seed."""

    def __init__(self, build: Build, start_temp_c: float, seed: int = 0) -> None:
        self.build = build
        self.around = Surroundings()
        self.cooler_c = start_temp_c
        self.die_rise_c = 0.0
        self.energy_j = 0.0
        self.power_w = build.idle_w
        self.busy_share = 0.0
        self.throttle = 1.0
        self.throttled_s = 0.0
        self.has_worked = False
        self._noise = random.Random(seed)

    @property
    def temp_c(self) -> float:
        return self.cooler_c + self.die_rise_c

    @property
    def memory_c(self) -> float:
        return self.cooler_c + self.build.memory_k_per_w * self.power_w

    @property
    def limit_w(self) -> float:
        return self.around.limit_w if self.around.limit_w is not None else self.build.limit_w

    @property
    def fan_percent(self) -> float:
        if self.around.fan_failed:
            return 0.0
        return min(max(30.0 + 3.5 * (self.temp_c - 50.0), 30.0), 100.0) if self.build.fan_matters else 100.0

    @property
    def speed(self) -> float:
        """Work per busy second, 1.0 for the free card; a tenant takes its part."""
        own = float((self._busy_w() / self.build.busy_w) ** self.build.exponent)
        return own * (1.0 - _TENANT_LOAD / 2 if self.around.tenant else 1.0)

    def resistance(self) -> float:
        """K/W from cooler to air at the present fan."""
        if self.around.fan_failed:
            return self.build.cooler_k_per_w * _FAN_FAILED
        return self.build.cooler_k_per_w / (0.55 + 0.45 * self.fan_percent / 100.0)

    def jitter(self, spread: float) -> float:
        return self._noise.uniform(-spread, spread)

    def advance(self, seconds: float, busy_share: float) -> None:
        """Lets time pass with that share of it under our load."""
        self.busy_share = min(max(busy_share, 0.0), 1.0)
        self.has_worked = self.has_worked or self.busy_share > 0
        while seconds > 0:
            tick = min(seconds, _LONGEST_TICK_S)
            self._tick(tick)
            seconds -= tick

    def _busy_w(self) -> float:
        return min(self.build.busy_w, self.limit_w * (1.0 + self.build.overshoot)) * self.throttle

    def _tick(self, dt: float) -> None:
        share = self.busy_share
        if self.around.tenant:
            share += _TENANT_LOAD * (1.0 - share)
        self.power_w = self.build.idle_w + share * max(self._busy_w() - self.build.idle_w, 0.0)
        self.energy_j += self.power_w * dt
        settled = self.around.ambient_c + self.power_w * self.resistance()
        self.cooler_c += (settled - self.cooler_c) * -math.expm1(-dt / self.build.cooler_tau_s)
        rise = self.power_w * self.build.die_k_per_w
        self.die_rise_c += (rise - self.die_rise_c) * -math.expm1(-dt / self.build.die_tau_s)
        self._protect(dt)

    def _protect(self, dt: float) -> None:
        """The card's own protection: slower above its threshold, faster again below it."""
        hot = self.temp_c >= self.build.slowdown_c
        goal = _LEAST_SPEED if hot else 1.0
        self.throttle += (goal - self.throttle) * -math.expm1(-dt / _THROTTLE_TAU_S)
        if self.throttle < 0.99:
            self.throttled_s += dt

    def steady_duty(self, ceiling_c: float) -> float:
        """The greatest constant share of work whose steady temperature stays at the ceiling, 0 to 1: what the plant
        allows. Fan as at the ceiling; ripple of single steps left out, so no policy can quite reach it."""
        percent = min(max(30.0 + 3.5 * (ceiling_c - 50.0), 30.0), 100.0) if self.build.fan_matters else 100.0
        per_watt = self.build.cooler_k_per_w / (0.55 + 0.45 * percent / 100.0)
        if self.around.fan_failed:
            per_watt = self.build.cooler_k_per_w * _FAN_FAILED
        allowed_w = (ceiling_c - self.around.ambient_c) / (per_watt + self.build.die_k_per_w)
        span_w = min(self.build.busy_w, self.limit_w) - self.build.idle_w
        return min(max((allowed_w - self.build.idle_w) / span_w, 0.0), 1.0)
