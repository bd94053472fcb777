"""What is known of a card at one moment, what the guard decides from it, and the gate between two GPU steps.

The gpu room reads, decides and holds; the engine only ever sees the gate; store and report see the readings.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class Zone(StrEnum):
    """The four states of the guard, from cool to unsafe."""

    RUN = "run"
    SLOW = "slow"
    PAUSE = "pause"
    STOP = "stop"


class Cause(StrEnum):
    """Why the guard is in its zone."""

    NONE = "none"
    TEMPERATURE = "temperature"
    MEMORY_TEMPERATURE = "memory_temperature"
    POWER = "power"
    MEMORY = "memory"
    THROTTLE = "throttle"
    SENSOR = "sensor"
    FOREIGN = "foreign"
    LEAK = "leak"
    STALL = "stall"
    XID = "xid"
    LOST = "lost"
    PERSON = "person"


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that holds memory on the card. `ours`: this run or one of its children; None where it cannot be told
    (in a container the driver names processes by numbers of the host), which is no proof of a foreign tenant."""

    pid: int
    used_bytes: int | None
    ours: bool | None
    name: str = ""


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One card at one moment. None where the card does not say; never 0 for unknown (research/peers.md, B2)."""

    uuid: str
    name: str
    at: datetime
    monotonic_s: float
    lost: bool = False
    temp_c: float | None = None
    mem_temp_c: float | None = None
    slowdown_c: float | None = None
    shutdown_c: float | None = None
    headroom_c: float | None = None
    fan_percent: float | None = None
    power_w: float | None = None
    power_average_w: float | None = None
    limit_w: float | None = None
    limit_min_w: float | None = None
    limit_max_w: float | None = None
    limit_default_w: float | None = None
    energy_j: float | None = None
    sm_clock_mhz: float | None = None
    sm_clock_max_mhz: float | None = None
    mem_clock_mhz: float | None = None
    mem_clock_max_mhz: float | None = None
    throttle_mask: int | None = None
    thermal_violation_s: float | None = None
    power_violation_s: float | None = None
    util_gpu_percent: float | None = None
    util_mem_percent: float | None = None
    mem_total_bytes: int | None = None
    mem_used_bytes: int | None = None
    mem_free_bytes: int | None = None
    mem_reserved_bytes: int | None = None
    torch_allocated_bytes: int | None = None
    torch_reserved_bytes: int | None = None
    pcie_tx_kib_s: float | None = None
    pcie_rx_kib_s: float | None = None
    pcie_generation: int | None = None
    pcie_width: int | None = None
    pcie_replays: int | None = None
    ecc_corrected: int | None = None
    ecc_uncorrected: int | None = None
    xids: tuple[int, ...] = ()
    processes: tuple[GpuProcess, ...] | None = None
    errors: tuple[str, ...] = ()

    @property
    def torch_fragmentation(self) -> float | None:
        """Share of the allocator's memory that holds nothing."""
        if not self.torch_reserved_bytes or self.torch_allocated_bytes is None:
            return None
        return 1.0 - self.torch_allocated_bytes / self.torch_reserved_bytes


@dataclass(frozen=True, slots=True)
class Card:
    """Which card a reader reads. `ordinal` is CUDA's number in this process, None where CUDA does not see it.

    `uuid` is always that of the whole card, which heats and draws power as one; `instance` is the UUID of the MIG
    instance of it that the run uses, and then memory and processes are those of the instance.
    """

    uuid: str
    name: str
    ordinal: int | None = None
    driver: str = ""
    total_bytes: int | None = None
    instance: str = ""


class Reader(Protocol):
    """The only source of samples. `sample` never raises: what cannot be read is None, a vanished card is `lost`."""

    @property
    def card(self) -> Card: ...

    def sample(self) -> GpuSample: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Decision:
    """What the guard wants now. `reason` says it in words and numbers; `duty` and `batch_share` are in (0, 1]."""

    zone: Zone
    cause: Cause = Cause.NONE
    reason: str = ""
    value: float | None = None
    limit: float | None = None
    resume_below: float | None = None
    unit: str = ""
    expected_wait_s: float | None = None
    duty: float = 1.0
    batch_share: float = 1.0
    cap_w: float | None = None
    collect: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    """What the run was doing since the sample before. `busy_share`: part of that time in which a GPU step ran.

    `longest_step_s`: the longest of the recent GPU steps, a step in flight counting as long as it has run; 0 when none.
    """

    stage: str = "idle"
    batch: int = 0
    waiting: int = 0
    videos: int = 0
    busy_share: float = 0.0
    held_s: float = 0.0
    longest_step_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Reading:
    """One row of `gpu_metrics/`: the card, the run and the guard at one moment."""

    run_id: str
    sample: GpuSample
    load: Load
    decision: Decision


class Gate(Protocol):
    """Stands between two GPU steps: a step in flight ends, the next one waits while the guard holds. Thread-safe."""

    def step(self, stage: str, batch: int, stopping: Callable[[], bool]) -> AbstractContextManager[None]:
        """Enter around each step ("load", "encode", "decode", "align"). Waits while held; also returns, without
        leave to work, when `stopping` says so: look at it before working."""
        ...

    def most(self, wished: int) -> int:
        """How many windows may be at work at once now, 1 to `wished`."""
        ...

    def note(self, *, waiting: int, videos: int) -> None:
        """The depth of the queue behind the engine, for the metrics and for telling a stall from a lull."""
        ...

    def out_of_memory(self) -> None:
        """The device refused memory; the next `most` is at most half of what was at work."""
        ...

    @property
    def slowed(self) -> bool:
        """Steps rest after each other, in proportion to how long they took: a step must not leave work behind."""
        ...

    @property
    def held_s(self) -> float:
        """Seconds for which steps have been held or slowed so far."""
        ...


class OpenGate:
    """No guard: everything may run."""

    held_s = 0.0
    slowed = False

    def step(self, stage: str, batch: int, stopping: Callable[[], bool]) -> AbstractContextManager[None]:
        return nullcontext()

    def most(self, wished: int) -> int:
        return wished

    def note(self, *, waiting: int, videos: int) -> None:
        return None

    def out_of_memory(self) -> None:
        return None
