"""What is asked of a card, how often, and in which unit the answer is: one table.

`panel.py` asks the table and the reader makes a GpuSample of the answers. Each name is a field of GpuSample; each
answer stands for itself: one that is missing says why (Trouble) and takes no other with it. Sources: the NVML API
reference; "GPU margin" in NVIDIA's NVSentinel runbooks for T.Limit; research/peers.md B2 for the traps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from channelscribe.gpu.nvml import Kind, Nvml, NvmlError, Trouble, attempt

Value = float | int
Answers = Mapping[str, Value | Trouble]

SOON_S, SELDOM_S, ONCE_S = 5.0, 30.0, 300.0
_NS = 1e-9
_MEGAHERTZ, _MILLI = 1.0, 1e-3


@dataclass(frozen=True, slots=True)
class Device:
    """Where to ask: `card` is the whole card; `own` the MIG instance in use, else the card."""

    nvml: Nvml
    card: Any
    own: Any


@dataclass(frozen=True, slots=True)
class Question:
    """One call and the fields it fills. `ask` gets the names that are wanted; `every_s` 0 is every sample."""

    names: tuple[str, ...]
    ask: Callable[[Device, Sequence[str]], Answers]
    every_s: float = 0.0


def one(
    name: str, *functions: str, arguments: Sequence[str] = (), scale: float | None = None, every_s: float = 0.0
) -> Question:
    """A question with one answer; later functions are older names of the first, `arguments` name constants."""

    def ask(device: Device, names: Sequence[str]) -> Answers:
        return {name: attempt(_first, device, functions, arguments, scale)}

    return Question((name,), ask, every_s)


def several(function: str, picks: Mapping[str, Callable[[Any], Value]], every_s: float = 0.0) -> Question:
    """A question whose one answer has several parts."""

    def ask(device: Device, names: Sequence[str]) -> Answers:
        answer = attempt(device.nvml.ask, function, device.card)
        return {name: answer if isinstance(answer, Trouble) else picks[name](answer) for name in names}

    return Question(tuple(picks), ask, every_s)


def _first(device: Device, functions: Sequence[str], arguments: Sequence[str], scale: float | None) -> Value:
    constants = [device.nvml.constant(name) for name in arguments]
    answer: Any = None
    for function in functions:
        answer = attempt(device.nvml.ask, function, device.card, *constants)
        if not isinstance(answer, Trouble) or answer.kind is not Kind.UNSUPPORTED:
            break
    if isinstance(answer, Trouble):
        raise NvmlError(answer)
    value: Value = answer if scale is None else answer * scale
    return value


_FIELDS = {
    "mem_temp_c": ("NVML_FI_DEV_MEMORY_TEMP", 1.0),
    "power_w": ("NVML_FI_DEV_POWER_INSTANT", _MILLI),
    "power_average_w": ("NVML_FI_DEV_POWER_AVERAGE", _MILLI),
}


def _fields(device: Device, names: Sequence[str]) -> Answers:
    """Temperatures and watts that have numbers instead of functions, in one call.

    Cards without an instant power field answer with nvmlDeviceGetPowerUsage, which is an average over one second on
    Ampere and newer (except GA100). A memory temperature of 0 is what cards without that sensor were seen to say.
    """
    answers = dict(zip(names, field_values(device, [_FIELDS[name][0] for name in names]), strict=True))
    scaled = {n: a if isinstance(a, Trouble) else a * _FIELDS[n][1] for n, a in answers.items()}
    if isinstance(scaled.get("power_w"), Trouble):
        scaled["power_w"] = attempt(_first, device, ("nvmlDeviceGetPowerUsage",), (), _MILLI)
    if scaled.get("mem_temp_c") == 0:
        scaled["mem_temp_c"] = Trouble(Kind.UNSUPPORTED, "a memory temperature of 0 is no reading")
    return scaled


def field_values(device: Device, constants: Sequence[str]) -> list[Value | Trouble]:
    """The values of those field numbers, each with its own return code: the call succeeds if only one of them does."""
    numbers = [attempt(device.nvml.constant, name) for name in constants]
    known = [number for number in numbers if not isinstance(number, Trouble)]
    answers = attempt(device.nvml.ask, "nvmlDeviceGetFieldValues", device.card, known) if known else []
    if isinstance(answers, Trouble):
        return [number if isinstance(number, Trouble) else answers for number in numbers]
    decoded = iter([_decode(device.nvml, answer) for answer in answers])
    return [number if isinstance(number, Trouble) else next(decoded) for number in numbers]


def _decode(nvml: Nvml, answer: Any) -> Value | Trouble:
    if answer.nvmlReturn != nvml.constant("NVML_SUCCESS"):
        return nvml.trouble(answer.nvmlReturn)
    part = _PARTS.get(answer.valueType)
    if part is None:
        return Trouble(Kind.UNSUPPORTED, f"a value of unknown type {answer.valueType}")
    value: Value = getattr(answer.value, part)
    return value


# nvmlValueType_t 0 to 6 and the members of nvmlValue_t.
_PARTS = dict(enumerate(("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")))


def _memory(device: Device, names: Sequence[str]) -> Answers:
    """Bytes of the card or its MIG instance; only version 2 tells the driver's own share from what is used."""
    parts = {"mem_total_bytes": "total", "mem_used_bytes": "used", "mem_free_bytes": "free"}
    version = attempt(device.nvml.constant, "nvmlMemory_v2")
    answer: Any = version
    if not isinstance(version, Trouble):
        answer = attempt(device.nvml.ask, "nvmlDeviceGetMemoryInfo", device.own, version)
    if not isinstance(answer, Trouble):
        parts["mem_reserved_bytes"] = "reserved"
    elif answer.kind is Kind.UNSUPPORTED:
        answer = attempt(device.nvml.ask, "nvmlDeviceGetMemoryInfo", device.own)
    missing = answer if isinstance(answer, Trouble) else Trouble(Kind.UNSUPPORTED, "only in version 2")
    return {
        name: getattr(answer, parts[name]) if name in parts and answer is not missing else missing for name in names
    }


_THRESHOLDS = {
    "slowdown_c": ("NVML_TEMPERATURE_THRESHOLD_SLOWDOWN", "NVML_FI_DEV_TEMPERATURE_SLOWDOWN_TLIMIT"),
    "shutdown_c": ("NVML_TEMPERATURE_THRESHOLD_SHUTDOWN", "NVML_FI_DEV_TEMPERATURE_SHUTDOWN_TLIMIT"),
}


def _thresholds(device: Device, names: Sequence[str]) -> Answers:
    """Where the card slows and switches itself off.

    Newer cards say it only relative to their margin (T.Limit: slowdown when the margin falls to that number, say -2);
    then it is temperature plus margin less that number.
    """
    answers: dict[str, Value | Trouble] = {}
    for name in names:
        threshold, relative = _THRESHOLDS[name]
        answers[name] = attempt(_first, device, ("nvmlDeviceGetTemperatureThreshold",), (threshold,), None)
        if isinstance(answers[name], Trouble):
            (limit,) = field_values(device, [relative])
            here = attempt(_first, device, ("nvmlDeviceGetTemperature",), ("NVML_TEMPERATURE_GPU",), None)
            margin = attempt(_first, device, ("nvmlDeviceGetMarginTemperature",), (), None)
            if not any(isinstance(part, Trouble) for part in (limit, here, margin)):
                answers[name] = here + margin - _signed(limit)
    return answers


def _signed(value: Any) -> int:
    """Some drivers hand out these negative numbers as unsigned 32-bit ones."""
    return int(value) - (1 << 32) if value >= 1 << 31 else int(value)


_VIOLATIONS = {
    "thermal_violation_s": (
        "NVML_PERF_POLICY_THERMAL",
        ("NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN", "NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN"),
    ),
    "power_violation_s": ("NVML_PERF_POLICY_POWER", ("NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_POWER_CAP",)),
}


def _violations(device: Device, names: Sequence[str]) -> Answers:
    """Seconds held back by heat and by the power limit since the driver was loaded: counters, so a short throttle
    between two samples shows. Both the call and the counters beside it are in nanoseconds."""
    answers: dict[str, Value | Trouble] = {}
    for name in names:
        policy, counters = _VIOLATIONS[name]
        status = attempt(_status, device, policy)
        if isinstance(status, Trouble) and status.kind is Kind.UNSUPPORTED:
            values = field_values(device, counters)
            unknown = [value for value in values if isinstance(value, Trouble)]
            status = unknown[0] if unknown else sum(v for v in values if not isinstance(v, Trouble))
        answers[name] = status if isinstance(status, Trouble) else status * _NS
    return answers


def _status(device: Device, policy: str) -> int:
    number = device.nvml.constant(policy)
    return int(device.nvml.ask("nvmlDeviceGetViolationStatus", device.card, number).violationTime)


QUESTIONS: tuple[Question, ...] = (
    one("temp_c", "nvmlDeviceGetTemperature", arguments=("NVML_TEMPERATURE_GPU",)),
    one("headroom_c", "nvmlDeviceGetMarginTemperature"),
    Question(tuple(_FIELDS), _fields),
    one("throttle_mask", "nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"),
    Question(tuple(_VIOLATIONS), _violations),
    one("limit_w", "nvmlDeviceGetEnforcedPowerLimit", scale=_MILLI),  # a laptop's moves with its processor's load
    one("energy_j", "nvmlDeviceGetTotalEnergyConsumption", scale=_MILLI),
    one("sm_clock_mhz", "nvmlDeviceGetClockInfo", arguments=("NVML_CLOCK_SM",), scale=_MEGAHERTZ),
    one("mem_clock_mhz", "nvmlDeviceGetClockInfo", arguments=("NVML_CLOCK_MEM",), scale=_MEGAHERTZ),
    several(
        "nvmlDeviceGetUtilizationRates",
        {"util_gpu_percent": lambda rates: rates.gpu, "util_mem_percent": lambda rates: rates.memory},
    ),
    Question(("mem_total_bytes", "mem_used_bytes", "mem_free_bytes", "mem_reserved_bytes"), _memory),
    one("fan_percent", "nvmlDeviceGetFanSpeed", every_s=SOON_S),
    # A byte counter over 20 ms, so two of these hold the caller for 40 ms.
    one("pcie_tx_kib_s", "nvmlDeviceGetPcieThroughput", arguments=("NVML_PCIE_UTIL_TX_BYTES",), every_s=SELDOM_S),
    one("pcie_rx_kib_s", "nvmlDeviceGetPcieThroughput", arguments=("NVML_PCIE_UTIL_RX_BYTES",), every_s=SELDOM_S),
    one("pcie_generation", "nvmlDeviceGetCurrPcieLinkGeneration", every_s=SELDOM_S),
    one("pcie_width", "nvmlDeviceGetCurrPcieLinkWidth", every_s=SELDOM_S),
    one("pcie_replays", "nvmlDeviceGetPcieReplayCounter", every_s=SELDOM_S),
    one(
        "ecc_corrected",
        "nvmlDeviceGetTotalEccErrors",
        arguments=("NVML_MEMORY_ERROR_TYPE_CORRECTED", "NVML_VOLATILE_ECC"),
        every_s=SELDOM_S,
    ),
    one(
        "ecc_uncorrected",
        "nvmlDeviceGetTotalEccErrors",
        arguments=("NVML_MEMORY_ERROR_TYPE_UNCORRECTED", "NVML_VOLATILE_ECC"),
        every_s=SELDOM_S,
    ),
    Question(tuple(_THRESHOLDS), _thresholds, ONCE_S),
    several(
        "nvmlDeviceGetPowerManagementLimitConstraints",
        {"limit_min_w": lambda pair: pair[0] * _MILLI, "limit_max_w": lambda pair: pair[1] * _MILLI},
        every_s=ONCE_S,
    ),
    one("limit_default_w", "nvmlDeviceGetPowerManagementDefaultLimit", scale=_MILLI, every_s=ONCE_S),
    one("sm_clock_max_mhz", "nvmlDeviceGetMaxClockInfo", arguments=("NVML_CLOCK_SM",), scale=1.0, every_s=ONCE_S),
    one("mem_clock_max_mhz", "nvmlDeviceGetMaxClockInfo", arguments=("NVML_CLOCK_MEM",), scale=1.0, every_s=ONCE_S),
)
