"""A reader of a simulated card: samples like a real one's, on any clock, steered by a scenario and a file of knobs.

`open_reader("sim:...")` opens it for demos and tests; the backtest runs it on a virtual clock.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pydantic import ValidationError

from channelscribe.core.clock import Clock, SystemClock
from channelscribe.core.errors import UsageError
from channelscribe.core.gpu import Card, GpuProcess, GpuSample
from channelscribe.gpu.plant import GIB, Plant
from channelscribe.gpu.scenarios import SCENARIOS, Knobs, Scenario, started_at, with_knobs

_FORCED_C_S = 20.0  # a thermometer that is forced still moves believably
_DRIVER_BYTES = GIB // 2
_STRANGER = 4242


@runtime_checkable
class LoadedReader(Protocol):
    """A reader whose card feels the run's load. Call `load` right before `sample`, with the busy share since the
    sample before."""

    def load(self, busy_share: float) -> None: ...


class SimReader:
    """One simulated card. `sample` never raises; a knobs file that cannot be read leaves the knobs as they were."""

    def __init__(self, scenario: Scenario, clock: Clock, knobs_file: Path | None = None) -> None:
        self._clock, self._file = clock, knobs_file
        self._stamp: tuple[int, int] | None = None
        self._turned_at: tuple[int, tuple[int, int] | None] | None = None
        self._turned: dict[str, Any] = {}
        self._complaint = ""
        self._reread()
        self._scenario = started_at(scenario, Knobs(**self._turned).start_temp_c)
        self._plant_s, self._last_s = 0.0, clock.monotonic()
        self._knobs = with_knobs(self._scenario, 0.0, self._turned)
        self.plant = Plant(self._scenario.build, self._scenario.start_temp_c, self._knobs.seed)
        self._busy, self._leaked, self._shown_c, self._work_s = 0.0, 0.0, self.plant.temp_c, 0.0
        self._pid = os.getpid()
        self._turn()

    @property
    def card(self) -> Card:
        build = self.plant.build
        return Card(self._knobs.uuid, build.name, None, "simulated", build.total_bytes)

    @property
    def knobs(self) -> Knobs:
        return self._knobs

    @property
    def plant_s(self) -> float:
        """Seconds that the plant has lived."""
        return self._plant_s

    def load(self, busy_share: float) -> None:
        """The busy share of the time since the sample before; it heats the card when the next sample is taken."""
        self._busy = min(max(busy_share, 0.0), 1.0)

    def cap(self, watts: float | None) -> None:
        """The power limit, as an actuator would set it; None gives the card's own back."""
        build = self.plant.build
        self.plant.around.limit_w = None if watts is None else min(max(watts, build.limit_min_w), build.limit_max_w)

    def pass_time(self) -> None:
        """Lets the plant live until now, under the load last given."""
        now = self._clock.monotonic()
        passed, self._last_s = max(now - self._last_s, 0.0), max(now, self._last_s)
        seconds = passed * self._knobs.speed
        self.plant.advance(seconds, self._busy)
        self._plant_s += seconds
        self._leaked += self._knobs.leak_bytes_s * seconds * self._busy
        self._turn()
        self._show(passed)

    def sample(self) -> GpuSample:
        self._reread()
        self.pass_time()
        if self._knobs.lost:
            return GpuSample(self._knobs.uuid, self.plant.build.name, self._clock.now(), self._last_s, lost=True)
        return self._measured()

    def close(self) -> None:
        return None

    def _turn(self) -> None:
        """Brings what is around the plant to the knobs of this second."""
        now = (self._scenario.changed(self._plant_s), self._stamp)
        if now != self._turned_at:
            self._knobs, self._turned_at = with_knobs(self._scenario, self._plant_s, self._turned), now
        knobs, around = self._knobs, self.plant.around
        around.ambient_c = self._scenario.ambient(self._plant_s) if knobs.ambient_c is None else knobs.ambient_c
        around.fan_failed, around.tenant = knobs.fan_failed, knobs.foreign_bytes > 0

    def _show(self, passed_s: float) -> None:
        """What the thermometer shows: whole degrees like a driver's, frozen or forced if a knob says so."""
        if self._knobs.sensor == "frozen":
            return
        goal = self.plant.temp_c if self._knobs.forced_temp_c is None else self._knobs.forced_temp_c
        most = _FORCED_C_S * max(passed_s, 0.0)
        if self._knobs.forced_temp_c is None and abs(goal - self._shown_c) <= max(most, 5.0):
            self._shown_c = goal
        else:
            self._shown_c += min(max(goal - self._shown_c, -most), most)

    def _reread(self) -> None:
        """Takes the knobs file anew when it has changed; a file in the middle of being written is tried again."""
        if self._file is None:
            return
        try:
            status = self._file.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                self._turned, self._complaint, self._stamp = _read_knobs(self._file), "", stamp
        except (OSError, UsageError) as error:
            self._complaint = f"the knobs file cannot be read: {error}"

    def _temperature(self) -> float | None:
        if self._knobs.sensor == "missing":
            return None
        return 0.0 if self._knobs.sensor == "impossible" else float(round(self._shown_c))

    def _measured(self) -> GpuSample:
        plant, build, temp_c = self.plant, self.plant.build, self._temperature()
        watts = plant.power_w * (1.0 + plant.jitter(0.01))
        used, allocated = self._memory()
        clock_mhz = 2500.0 * plant.throttle
        return GpuSample(
            uuid=self._knobs.uuid,
            name=build.name,
            at=self._clock.now(),
            monotonic_s=self._last_s,
            temp_c=temp_c,
            mem_temp_c=float(round(plant.memory_c)) if build.memory_k_per_w else None,
            slowdown_c=build.slowdown_c,
            shutdown_c=build.shutdown_c,
            headroom_c=None if temp_c is None else build.slowdown_c - temp_c,
            fan_percent=plant.fan_percent,
            power_w=watts,
            limit_w=plant.limit_w,
            limit_min_w=build.limit_min_w,
            limit_max_w=build.limit_max_w,
            limit_default_w=build.limit_w,
            energy_j=plant.energy_j,
            sm_clock_mhz=clock_mhz,
            sm_clock_max_mhz=2500.0,
            throttle_mask=self._mask(),
            thermal_violation_s=plant.throttled_s,
            util_gpu_percent=float(round(100 * plant.busy_share)),
            mem_total_bytes=build.total_bytes,
            mem_used_bytes=used,
            mem_free_bytes=build.total_bytes - used,
            mem_reserved_bytes=_DRIVER_BYTES,
            torch_allocated_bytes=allocated,
            torch_reserved_bytes=int(allocated * 1.03),
            ecc_uncorrected=0,
            xids=self._knobs.xids,
            processes=self._processes(allocated),
            errors=(self._complaint,) if self._complaint else (),
        )

    def _mask(self) -> int:
        plant = self.plant
        capped = 0x4 if plant.busy_share > 0 and plant.build.busy_w > plant.limit_w else 0
        hot = 0x20 if plant.throttle < 0.99 else 0
        burning = 0x48 if plant.temp_c >= plant.build.slowdown_c + 3.0 else 0
        idle = 0x1 if plant.busy_share == 0 and not hot else 0
        return idle | capped | hot | burning | self._knobs.throttle_mask

    def _memory(self) -> tuple[int, int]:
        """Bytes used on the card, and those that our allocator holds."""
        build = self.plant.build
        own = (build.work_bytes if self.plant.has_worked else 0) + int(self._leaked)
        own = min(own, build.total_bytes - _DRIVER_BYTES)
        return min(own + _DRIVER_BYTES + self._knobs.foreign_bytes, build.total_bytes), own

    def _processes(self, allocated: int) -> tuple[GpuProcess, ...]:
        own = (GpuProcess(self._pid, allocated, True, "channelscribe"),) if self.plant.has_worked else ()
        if not self._knobs.foreign_bytes:
            return own
        return (*own, GpuProcess(_STRANGER, self._knobs.foreign_bytes, False, "another-program"))


def open_sim(scenario: str, clock: Clock | None = None) -> SimReader:
    """A simulated card: a scenario by name (see scenarios.py; empty is "demo"), or a .json file of knobs.

    Raises UsageError for a scenario that does not exist and for a file that is missing or wrong.
    """
    clock = clock or SystemClock()
    if not scenario.endswith(".json"):
        return SimReader(find_scenario(scenario or "demo"), clock)
    file = Path(scenario)
    knobs = Knobs(**_read_knobs(file))
    return SimReader(find_scenario(knobs.scenario or "hot"), clock, file)


def find_scenario(name: str) -> Scenario:
    """The scenario of that name. Raises UsageError that lists all names."""
    if name not in SCENARIOS:
        known = ", ".join(sorted(SCENARIOS))
        raise UsageError(f"There is no simulated card '{name}'; choose {known}, or a .json file.", code="no_scenario")
    return SCENARIOS[name]


def _read_knobs(file: Path) -> dict[str, Any]:
    try:
        turned = json.loads(file.read_text(encoding="utf-8"))
        Knobs(**turned)
    except OSError as error:
        raise UsageError(f"The plant file {file} cannot be read: {error.strerror}.", code="bad_plant") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"The plant file {file} is wrong at '{where}': {first['msg']}.", code="bad_plant") from error
    except (ValueError, TypeError) as error:
        raise UsageError(f"The plant file {file} is not a JSON object of knobs: {error}.", code="bad_plant") from error
    return {str(k): v for k, v in turned.items()}
