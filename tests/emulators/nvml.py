"""A stand-in for the driver's library: a module that speaks like `pynvml`, over cards that tests describe and change.

Names, constants, structures and error classes are those of the installed nvidia-ml-py, so a misspelt one fails; the
answers are ours. Every card keeps count of what it was asked. Put it in place with `installed(driver)`.
"""

from __future__ import annotations

import sys
import threading
import types
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pynvml as real

MIB, GIB = 1 << 20, 1 << 30
_KEPT = (
    "NVML_",
    "NVMLError",
    "NVMLLibrary",
    "nvmlEventType",
    "nvmlClocksEvent",
    "nvmlMemory_v2",
    "c_nvml",
    "nvmlFriendlyObject",
)


def error(name: str) -> real.NVMLError:
    """The error of that name, say "NOT_SUPPORTED"."""
    return real.NVMLError(getattr(real, f"NVML_ERROR_{name}"))


@dataclass
class FakeProcess:
    pid: int
    used_bytes: int | None = 512 * MIB
    name: str = "/usr/bin/python3"


@dataclass
class FakeInstance:
    """A MIG instance."""

    uuid: str
    gpu: int
    compute: int
    total: int = 10 * GIB
    used: int = 2 * GIB
    processes: list[FakeProcess] = field(default_factory=list)


@dataclass(eq=False)
class FakeCard:
    """A card. `refuses` maps a function's name (or "name(argument)") to the name of the error that it answers with;
    `fields` maps the name of a field number to (error name or "", value type, value)."""

    uuid: str = "GPU-5ad1c0de-0000-4000-8000-000000000001"
    name: str = "NVIDIA GeForce RTX 4090"
    temp_c: int = 61
    margin_c: int = 22
    slowdown_c: int = 90
    shutdown_c: int = 95
    power_mw: int = 300_000
    limit_mw: int = 450_000
    default_mw: int = 450_000
    constraints_mw: tuple[int, int] = (150_000, 480_000)
    energy_mj: int = 5_000_000
    throttle: int = 0
    thermal_ns: int = 3_500_000_000
    power_ns: int = 1_250_000_000
    clocks: dict[int, int] = field(default_factory=lambda: {real.NVML_CLOCK_SM: 2520, real.NVML_CLOCK_MEM: 10501})
    util: tuple[int, int] = (97, 41)
    total: int = 24 * GIB
    used: int = 9 * GIB
    reserved: int = 384 * MIB
    fan: int = 44
    pcie_kib_s: dict[int, int] = field(default_factory=lambda: {0: 1000, 1: 2000})
    ecc: dict[int, int] = field(default_factory=lambda: {0: 4, 1: 0})
    fields: dict[str, tuple[str, int, float]] = field(default_factory=dict)
    processes: list[FakeProcess] = field(default_factory=list)
    xids: deque[int] = field(default_factory=deque)
    mig: bool = False
    instances: list[FakeInstance | None] = field(default_factory=list)
    refuses: dict[str, str] = field(default_factory=dict)
    may_cap: bool = True
    step_mw: int = 1  # what the card rounds a limit to
    lost: bool = False
    asked: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.fields = {
            "NVML_FI_DEV_MEMORY_TEMP": ("", real.NVML_VALUE_TYPE_UNSIGNED_INT, 70),
            "NVML_FI_DEV_POWER_INSTANT": ("", real.NVML_VALUE_TYPE_UNSIGNED_INT, 310_000),
            "NVML_FI_DEV_POWER_AVERAGE": ("", real.NVML_VALUE_TYPE_UNSIGNED_INT, 295_000),
            **self.fields,
        }


@dataclass
class FakeDriver:
    """The machine's driver: its cards, and whether it can be talked to at all."""

    cards: list[FakeCard] = field(default_factory=lambda: [FakeCard()])
    broken: str = ""
    version: str = "580.95.05"
    opened: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)

    def module(self) -> types.ModuleType:
        """A module to stand in for pynvml."""
        module = types.ModuleType("pynvml")
        for name in dir(real):
            if name.startswith(_KEPT):
                setattr(module, name, getattr(real, name))
            elif name.startswith("nvml") and callable(getattr(real, name)):
                setattr(module, name, self._function(name))
        return module

    def _function(self, name: str) -> Any:
        own = getattr(_Functions, name, None)

        def call(*arguments: Any) -> Any:
            with self.lock:
                if name not in ("nvmlInit", "nvmlErrorString") and not self.opened:
                    raise error("UNINITIALIZED")
                if own is None:
                    raise error("FUNCTION_NOT_FOUND")
                self._judge(name, arguments)
                return own(self, *arguments)

        return call

    def _judge(self, name: str, arguments: tuple[Any, ...]) -> None:
        card = arguments[0] if arguments and isinstance(arguments[0], FakeCard) else None
        if card is None:
            return
        card.asked[name] += 1
        exact = f"{name}({', '.join(str(a) for a in arguments[1:])})"
        if card.lost and name not in ("nvmlDeviceGetUUID", "nvmlDeviceGetName", "nvmlDeviceGetMigMode"):
            raise error("GPU_IS_LOST")
        if refusal := card.refuses.get(name) or card.refuses.get(exact):
            raise error(refusal)


@contextmanager
def installed(driver: FakeDriver) -> Iterator[FakeDriver]:
    """For as long as this is open, `import pynvml` gives the stand-in."""
    before = sys.modules.get("pynvml")
    sys.modules["pynvml"] = driver.module()
    try:
        yield driver
    finally:
        sys.modules.pop("pynvml", None)
        if before is not None:
            sys.modules["pynvml"] = before


@dataclass(eq=False)
class _Events:
    cards: list[FakeCard] = field(default_factory=list)


def _processes(driver: FakeDriver, own: FakeCard | FakeInstance) -> list[Any]:
    return [
        real.nvmlFriendlyObject({"pid": p.pid, "usedGpuMemory": p.used_bytes, "gpuInstanceId": 0xFFFFFFFF})
        for p in own.processes
    ]


class _Functions:
    """What the driver answers; `self` is the FakeDriver, handles are its cards and instances."""

    def nvmlInit(self: Any) -> None:
        if self.broken:
            raise error(self.broken)
        self.opened += 1

    def nvmlShutdown(self: Any) -> None:
        self.opened -= 1

    def nvmlSystemGetDriverVersion(self: Any) -> str:
        return str(self.version)

    def nvmlSystemGetProcessName(self: Any, pid: int) -> str:
        everyone = [p for c in self.cards for o in (c, *filter(None, c.instances)) for p in o.processes]
        return str(next(p.name for p in everyone if p.pid == pid))

    def nvmlDeviceGetCount(self: Any) -> int:
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self: Any, index: int) -> FakeCard:
        card: FakeCard = self.cards[index]
        if refusal := card.refuses.get("nvmlDeviceGetHandleByIndex"):
            raise error(refusal)
        return card

    def nvmlDeviceGetUUID(self: Any, own: FakeCard | FakeInstance) -> str:
        return own.uuid

    def nvmlDeviceGetName(self: Any, card: FakeCard) -> str:
        return card.name

    def nvmlDeviceGetMigMode(self: Any, card: FakeCard) -> list[int]:
        return [int(card.mig), int(card.mig)]

    def nvmlDeviceGetMaxMigDeviceCount(self: Any, card: FakeCard) -> int:
        return 7 if card.mig else 0

    def nvmlDeviceGetMigDeviceHandleByIndex(self: Any, card: FakeCard, index: int) -> FakeInstance:
        instance = card.instances[index] if index < len(card.instances) else None
        if instance is None:
            raise error("NOT_FOUND")
        return instance

    def nvmlDeviceGetGpuInstanceId(self: Any, instance: FakeInstance) -> int:
        return instance.gpu

    def nvmlDeviceGetComputeInstanceId(self: Any, instance: FakeInstance) -> int:
        return instance.compute

    def nvmlDeviceGetTemperature(self: Any, card: FakeCard, sensor: int) -> int:
        assert sensor == real.NVML_TEMPERATURE_GPU
        return card.temp_c

    def nvmlDeviceGetMarginTemperature(self: Any, card: FakeCard) -> int:
        return card.margin_c

    def nvmlDeviceGetTemperatureThreshold(self: Any, card: FakeCard, which: int) -> int:
        return {
            real.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN: card.slowdown_c,
            real.NVML_TEMPERATURE_THRESHOLD_SHUTDOWN: card.shutdown_c,
        }[which]

    def nvmlDeviceGetFieldValues(self: Any, card: FakeCard, numbers: list[int]) -> Any:
        values = (real.c_nvmlFieldValue_t * len(numbers))()
        by_number = {getattr(real, name): answer for name, answer in card.fields.items()}
        for value, number in zip(values, numbers, strict=True):
            refusal, kind, content = by_number.get(number, ("NOT_SUPPORTED", 0, 0))
            value.fieldId = number
            value.nvmlReturn = getattr(real, f"NVML_ERROR_{refusal}") if refusal else real.NVML_SUCCESS
            value.valueType = kind
            if not refusal:
                part = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")[kind]
                setattr(value.value, part, content)
        return values

    def nvmlDeviceGetPowerUsage(self: Any, card: FakeCard) -> int:
        return card.power_mw

    def nvmlDeviceGetCurrentClocksEventReasons(self: Any, card: FakeCard) -> int:
        return card.throttle

    def nvmlDeviceGetCurrentClocksThrottleReasons(self: Any, card: FakeCard) -> int:
        return card.throttle

    def nvmlDeviceGetViolationStatus(self: Any, card: FakeCard, policy: int) -> Any:
        status = real.c_nvmlViolationTime_t()
        status.violationTime = card.thermal_ns if policy == real.NVML_PERF_POLICY_THERMAL else card.power_ns
        return status

    def nvmlDeviceGetTotalEnergyConsumption(self: Any, card: FakeCard) -> int:
        return card.energy_mj

    def nvmlDeviceGetClockInfo(self: Any, card: FakeCard, which: int) -> int:
        return card.clocks[which]

    def nvmlDeviceGetMaxClockInfo(self: Any, card: FakeCard, which: int) -> int:
        return card.clocks[which] + 500

    def nvmlDeviceGetUtilizationRates(self: Any, card: FakeCard) -> Any:
        rates = real.c_nvmlUtilization_t()
        rates.gpu, rates.memory = card.util
        return rates

    def nvmlDeviceGetMemoryInfo(self: Any, own: FakeCard | FakeInstance, version: int | None = None) -> Any:
        if version is not None and isinstance(own, FakeCard) and "memory v2" in own.refuses:
            raise error(own.refuses["memory v2"])
        reserved = own.reserved if isinstance(own, FakeCard) else 16 * MIB
        info = real.c_nvmlMemory_v2_t() if version else real.c_nvmlMemory_t()
        info.total, info.used = own.total, own.used if version else own.used + reserved
        info.free = own.total - own.used - reserved
        if version:
            assert version == real.nvmlMemory_v2
            info.reserved = reserved
        return info

    def nvmlDeviceGetFanSpeed(self: Any, card: FakeCard) -> int:
        return card.fan

    def nvmlDeviceGetEnforcedPowerLimit(self: Any, card: FakeCard) -> int:
        return card.limit_mw

    def nvmlDeviceGetPowerManagementLimit(self: Any, card: FakeCard) -> int:
        return card.limit_mw

    def nvmlDeviceGetPowerManagementDefaultLimit(self: Any, card: FakeCard) -> int:
        return card.default_mw

    def nvmlDeviceGetPowerManagementLimitConstraints(self: Any, card: FakeCard) -> list[int]:
        return list(card.constraints_mw)

    def nvmlDeviceSetPowerManagementLimit(self: Any, card: FakeCard, limit_mw: int) -> None:
        if not card.may_cap:
            raise error("NO_PERMISSION")
        least, most = card.constraints_mw
        if not least <= limit_mw <= most:
            raise error("INVALID_ARGUMENT")
        card.limit_mw = limit_mw - limit_mw % card.step_mw

    def nvmlDeviceGetPcieThroughput(self: Any, card: FakeCard, which: int) -> int:
        return card.pcie_kib_s[which]

    def nvmlDeviceGetCurrPcieLinkGeneration(self: Any, card: FakeCard) -> int:
        return 4

    def nvmlDeviceGetCurrPcieLinkWidth(self: Any, card: FakeCard) -> int:
        return 16

    def nvmlDeviceGetPcieReplayCounter(self: Any, card: FakeCard) -> int:
        return 3

    def nvmlDeviceGetTotalEccErrors(self: Any, card: FakeCard, kind: int, counter: int) -> int:
        assert counter == real.NVML_VOLATILE_ECC
        return card.ecc[kind]

    def nvmlDeviceGetComputeRunningProcesses_v3(self: Any, own: FakeCard | FakeInstance) -> list[Any]:
        return _processes(self, own)

    def nvmlDeviceGetComputeRunningProcesses_v2(self: Any, own: FakeCard | FakeInstance) -> list[Any]:
        return _processes(self, own)

    def nvmlDeviceGetMPSComputeRunningProcesses_v3(self: Any, own: FakeCard | FakeInstance) -> list[Any]:
        return []

    def nvmlEventSetCreate(self: Any) -> _Events:
        return _Events()

    def nvmlDeviceRegisterEvents(self: Any, card: FakeCard, kinds: int, events: _Events) -> None:
        assert kinds & real.nvmlEventTypeXidCriticalError
        events.cards.append(card)

    def nvmlEventSetWait_v2(self: Any, events: _Events, timeout_ms: int) -> Any:
        assert timeout_ms == 0, "the reader must not wait"
        for card in events.cards:
            if card.xids:
                data = real.c_nvmlEventData_t()
                data.eventType, data.eventData = real.nvmlEventTypeXidCriticalError, card.xids.popleft()
                return data
        raise error("TIMEOUT")

    def nvmlEventSetFree(self: Any, events: _Events) -> None:
        events.cards.clear()
