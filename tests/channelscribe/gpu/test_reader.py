"""A sample says what the card says, no more: each field for itself, unknown is None, and nothing ever raises."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

import pynvml
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channelscribe.core.gpu import GpuSample
from channelscribe.gpu.cards import list_cards, visible
from channelscribe.gpu.nvml import Nvml
from channelscribe.gpu.panel import REST_S
from channelscribe.gpu.reader import REOPEN_S, NvmlReader
from tests.emulators.nvml import GIB, MIB, FakeCard, FakeDriver, FakeInstance, FakeProcess, _Functions, installed

ERRORS = [n.removeprefix("NVML_ERROR_") for n in dir(pynvml) if n.startswith("NVML_ERROR_")]
_FINDING = ("nvmlDeviceGetHandleByIndex", "nvmlDeviceGetUUID", "nvmlDeviceGetName")
ASKED = [n for n in vars(_Functions) if n.startswith("nvmlDeviceGet") and n not in _FINDING]
UINT, SIGNED = pynvml.NVML_VALUE_TYPE_UNSIGNED_INT, pynvml.NVML_VALUE_TYPE_SIGNED_INT


class Hands:
    """A clock that goes only when told."""

    def __init__(self) -> None:
        self.at_s = 1000.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.at_s, UTC)

    def monotonic(self) -> float:
        return self.at_s

    def sleep(self, seconds: float) -> None:
        self.at_s += seconds


@contextmanager
def reading(card: FakeCard) -> Iterator[tuple[NvmlReader, Hands]]:
    clock = Hands()
    with installed(FakeDriver([card])) as driver:
        nvml = Nvml()
        (seen,) = visible(list_cards(nvml), {})
        reader = NvmlReader(nvml, seen, 0, clock=clock)
        yield reader, clock
        reader.close()
        assert driver.opened == 0


def sampled(card: FakeCard) -> GpuSample:
    with reading(card) as (reader, _):
        return reader.sample()


def told(sample: GpuSample) -> dict[str, Any]:
    passing = {"at", "monotonic_s", "errors", "torch_allocated_bytes", "torch_reserved_bytes"}
    return {f.name: getattr(sample, f.name) for f in fields(sample) if f.name not in passing}


def test_a_card_that_says_everything_fills_every_field_in_its_unit() -> None:
    sample = sampled(FakeCard())
    assert told(sample) == {
        "uuid": FakeCard().uuid, "name": "NVIDIA GeForce RTX 4090", "lost": False,
        "temp_c": 61, "mem_temp_c": 70, "slowdown_c": 90, "shutdown_c": 95, "headroom_c": 22, "fan_percent": 44,
        "power_w": 310, "power_average_w": 295, "limit_w": 450, "limit_min_w": 150, "limit_max_w": 480,
        "limit_default_w": 450, "energy_j": 5000, "sm_clock_mhz": 2520, "sm_clock_max_mhz": 3020,
        "mem_clock_mhz": 10501, "mem_clock_max_mhz": 11001, "throttle_mask": 0,
        "thermal_violation_s": 3.5, "power_violation_s": 1.25, "util_gpu_percent": 97, "util_mem_percent": 41,
        "mem_total_bytes": 24 * GIB, "mem_used_bytes": 9 * GIB, "mem_free_bytes": 15 * GIB - 384 * MIB,
        "mem_reserved_bytes": 384 * MIB, "pcie_tx_kib_s": 1000, "pcie_rx_kib_s": 2000, "pcie_generation": 4,
        "pcie_width": 16, "pcie_replays": 3, "ecc_corrected": 4, "ecc_uncorrected": 0, "xids": (), "processes": (),
    }  # fmt: skip
    assert sample.errors == ()
    assert sample.at.tzinfo is UTC


@pytest.mark.parametrize("function", ASKED)
@pytest.mark.parametrize("refusal", ["NOT_SUPPORTED", "NO_PERMISSION", "FUNCTION_NOT_FOUND", "UNKNOWN", "TIMEOUT"])
def test_a_refused_call_takes_only_its_own_fields(function: str, refusal: str) -> None:
    """A value is either what the card says, or None; never another number, and never 0 for unknown."""
    whole, sample = told(sampled(FakeCard())), sampled(FakeCard(refuses={function: refusal}))
    differing = {name: value for name, value in told(sample).items() if value != whole[name]}
    replaced = {"headroom_c": 29, "mem_used_bytes": 9 * GIB + 384 * MIB, "power_w": 300}
    assert not [name for name, value in differing.items() if value is not None and replaced.get(name) != value]
    assert not sample.lost
    unsupported = refusal in ("NOT_SUPPORTED", "FUNCTION_NOT_FOUND")
    if function not in ("nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetMPSComputeRunningProcesses_v3"):
        assert bool(sample.errors) is (bool(differing) and not unsupported)


@settings(max_examples=60, deadline=None)
@given(refuses=st.dictionaries(st.sampled_from(ASKED), st.sampled_from(ERRORS), max_size=6))
def test_no_mixture_of_errors_raises(refuses: dict[str, str]) -> None:
    with reading(FakeCard()) as (reader, clock):
        card = reader._device.card
        for _ in range(3):
            card.refuses = dict(refuses)
            sample = reader.sample()
            assert sample.lost <= bool(sample.errors)
            if sample.lost:
                assert sample.temp_c is None
            clock.sleep(31)
        card.refuses = {}
        clock.sleep(REST_S)
        reader.sample()
        clock.sleep(REST_S)
        assert reader.sample().errors == ()


class TestTheFieldCall:
    """One call, many values, each with its own return code: the call succeeds if one of them does."""

    def test_a_failed_value_is_unknown_though_the_call_succeeded(self) -> None:
        sample = sampled(FakeCard(fields={"NVML_FI_DEV_MEMORY_TEMP": ("NOT_SUPPORTED", UINT, 0)}))
        assert sample.mem_temp_c is None
        assert sample.power_average_w == 295

    def test_a_memory_temperature_of_zero_is_no_reading(self) -> None:
        assert sampled(FakeCard(fields={"NVML_FI_DEV_MEMORY_TEMP": ("", UINT, 0)})).mem_temp_c is None

    @pytest.mark.parametrize("kind", range(7))
    def test_each_type_of_value_is_read_as_such(self, kind: int) -> None:
        assert sampled(FakeCard(fields={"NVML_FI_DEV_MEMORY_TEMP": ("", kind, 66)})).mem_temp_c == 66

    def test_without_an_instant_field_the_old_call_answers_and_the_average_stays_unknown(self) -> None:
        missing = ("NOT_SUPPORTED", UINT, 0)
        card = FakeCard(fields={"NVML_FI_DEV_POWER_INSTANT": missing, "NVML_FI_DEV_POWER_AVERAGE": missing})
        sample = sampled(card)
        assert (sample.power_w, sample.power_average_w) == (300, None)
        assert sample.mem_temp_c == 70

    def test_a_driver_without_the_call_still_tells_the_power(self) -> None:
        sample = sampled(FakeCard(refuses={"nvmlDeviceGetFieldValues": "FUNCTION_NOT_FOUND"}))
        assert (sample.power_w, sample.mem_temp_c, sample.errors) == (300, None, ())


class TestHeadroom:
    def test_the_cards_own_margin_counts(self) -> None:
        assert sampled(FakeCard(temp_c=61, margin_c=22, slowdown_c=90)).headroom_c == 22

    def test_without_a_margin_it_is_the_way_to_the_threshold(self) -> None:
        assert sampled(FakeCard(refuses={"nvmlDeviceGetMarginTemperature": "NOT_SUPPORTED"})).headroom_c == 29

    def test_without_both_it_is_unknown(self) -> None:
        refuses = dict.fromkeys(
            ("nvmlDeviceGetMarginTemperature", "nvmlDeviceGetTemperatureThreshold"), "NOT_SUPPORTED"
        )
        sample = sampled(FakeCard(refuses=refuses))
        assert (sample.headroom_c, sample.slowdown_c) == (None, None)

    @pytest.mark.parametrize(("kind", "minus"), [(SIGNED, 0), (UINT, 1 << 32)])
    def test_thresholds_relative_to_the_margin_are_made_absolute(self, kind: int, minus: int) -> None:
        limits = {"NVML_FI_DEV_TEMPERATURE_SLOWDOWN_TLIMIT": -2, "NVML_FI_DEV_TEMPERATURE_SHUTDOWN_TLIMIT": -8}
        card = FakeCard(
            temp_c=41,
            margin_c=46,
            refuses={"nvmlDeviceGetTemperatureThreshold": "NOT_SUPPORTED"},
            fields={name: ("", kind, value + minus) for name, value in limits.items()},
        )
        sample = sampled(card)
        assert (sample.slowdown_c, sample.shutdown_c, sample.headroom_c) == (89, 95, 46)


def test_older_drivers_name_the_throttle_reasons_differently() -> None:
    card = FakeCard(throttle=0x20, refuses={"nvmlDeviceGetCurrentClocksEventReasons": "FUNCTION_NOT_FOUND"})
    assert sampled(card).throttle_mask == 0x20


def test_memory_of_an_older_driver_cannot_tell_its_own_share() -> None:
    sample = sampled(FakeCard(refuses={"memory v2": "FUNCTION_NOT_FOUND"}))
    assert sample.mem_reserved_bytes is None
    assert sample.mem_used_bytes == 9 * GIB + 384 * MIB


def test_violations_come_from_counters_where_the_call_is_gone() -> None:
    big = pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG
    card = FakeCard(
        refuses={"nvmlDeviceGetViolationStatus": "NOT_SUPPORTED"},
        fields={
            "NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN": ("", big, 1_000_000_000),
            "NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN": ("", big, 500_000_000),
        },
    )
    sample = sampled(card)
    assert (sample.thermal_violation_s, sample.power_violation_s) == (1.5, None)


class TestCost:
    def test_what_a_card_never_says_is_asked_once_and_then_not_for_a_while(self) -> None:
        card = FakeCard(refuses={"nvmlDeviceGetTotalEnergyConsumption": "NOT_SUPPORTED"})
        with reading(card) as (reader, clock):
            for _ in range(int(REST_S) - 1):
                assert reader.sample().energy_j is None
                clock.sleep(1)
            assert card.asked["nvmlDeviceGetTotalEnergyConsumption"] == 1
            card.refuses.clear()
            clock.sleep(2)
            assert reader.sample().energy_j == 5000

    def test_what_it_has_said_before_is_asked_again_at_once(self) -> None:
        with reading(FakeCard()) as (reader, clock):
            card = reader._device.card
            assert reader.sample().temp_c == 61
            card.refuses["nvmlDeviceGetTemperature"] = "NOT_SUPPORTED"
            clock.sleep(1)
            sample = reader.sample()
            assert sample.temp_c is None
            assert any(said.startswith("temp_c:") for said in sample.errors)
            card.refuses.clear()
            clock.sleep(1)
            assert reader.sample().temp_c == 61

    def test_slow_calls_are_rare_and_keep_their_answer_meanwhile(self) -> None:
        with reading(FakeCard()) as (reader, clock):
            card = reader._device.card
            for _ in range(60):
                assert reader.sample().pcie_tx_kib_s == 1000
                clock.sleep(1)
            assert card.asked["nvmlDeviceGetPcieThroughput"] == 2 * 2
            assert card.asked["nvmlDeviceGetTemperature"] == 60
            assert card.asked["nvmlDeviceGetTemperatureThreshold"] == 2
            assert card.asked["nvmlDeviceGetComputeRunningProcesses_v3"] == 12

    def test_a_second_of_the_card_is_a_second_of_news(self) -> None:
        with reading(FakeCard()) as (reader, clock):
            card = reader._device.card
            reader.sample()
            card.temp_c, card.energy_mj, card.throttle = 83, 6_000_000, 0x40
            clock.sleep(1)
            sample = reader.sample()
            assert (sample.temp_c, sample.energy_j, sample.throttle_mask) == (83, 6000, 0x40)


class TestLoss:
    @pytest.mark.parametrize("how", ["GPU_IS_LOST", "RESET_REQUIRED", "UNINITIALIZED"])
    def test_a_lost_card_says_so_and_nothing_else(self, how: str) -> None:
        with reading(FakeCard()) as (reader, clock):
            reader.sample()
            reader._device.card.refuses["nvmlDeviceGetTemperature"] = how
            clock.sleep(1)
            sample = reader.sample()
            assert sample.lost
            assert sample.errors
            empty = GpuSample(sample.uuid, sample.name, sample.at, sample.monotonic_s)
            assert sample == replace(empty, lost=True, errors=sample.errors)

    def test_its_last_xid_is_heard(self) -> None:
        with reading(FakeCard()) as (reader, _):
            card = reader._device.card
            card.lost = True
            card.xids.append(79)
            assert reader.sample().xids == (79,)

    def test_a_card_that_comes_back_is_read_again(self) -> None:
        with reading(FakeCard()) as (reader, clock):
            card = reader._device.card
            card.lost = True
            assert reader.sample().lost
            card.lost, card.temp_c = False, 35
            clock.sleep(1)
            sample = reader.sample()
            assert (sample.lost, sample.temp_c, sample.limit_w) == (False, 35, 450)

    def test_a_driver_that_was_closed_under_us_is_opened_again(self) -> None:
        clock = Hands()
        with installed(FakeDriver()) as driver:
            nvml = Nvml()
            reader = NvmlReader(nvml, visible(list_cards(nvml), {})[0], 0, clock=clock)
            driver.opened = 0
            assert reader.sample().lost
            clock.sleep(1)
            assert not reader.sample().lost
            assert driver.opened == 1
            driver.opened, driver.broken = 0, "DRIVER_NOT_LOADED"
            for _ in range(3):
                clock.sleep(REOPEN_S)
                assert reader.sample().lost
            driver.broken = ""
            clock.sleep(REOPEN_S)
            assert reader.sample().lost
            assert not reader.sample().lost

    def test_closing_twice_and_sampling_after_it_raise_nothing(self) -> None:
        with installed(FakeDriver()):
            nvml, other = Nvml(), Nvml()
            reader = NvmlReader(nvml, visible(list_cards(nvml), {})[0])
            reader.close()
            assert reader.sample().lost
            reader.close()
            reader.close()
            assert other.driver()


def test_xids_are_those_since_the_last_sample() -> None:
    with reading(FakeCard()) as (reader, clock):
        card = reader._device.card
        card.xids.extend([13, 43])
        assert reader.sample().xids == (13, 43)
        clock.sleep(1)
        assert reader.sample().xids == ()


@pytest.mark.parametrize("function", ["nvmlEventSetCreate", "nvmlDeviceRegisterEvents"])
def test_a_system_without_events_is_read_all_the_same(function: str) -> None:
    with installed(FakeDriver()):
        broken = sys.modules["pynvml"]

        def refuse(*_: Any) -> None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

        setattr(broken, function, refuse)
        nvml = Nvml()
        reader = NvmlReader(nvml, visible(list_cards(nvml), {})[0])
        sample = reader.sample()
        assert (sample.temp_c, sample.xids, sample.errors) == (61, (), ())


def test_an_instance_has_its_own_memory_and_processes_and_the_cards_heat() -> None:
    part = FakeInstance("MIG-1", 1, 0, total=10 * GIB, used=2 * GIB, processes=[FakeProcess(4_000_000_000)])
    with reading(FakeCard(mig=True, instances=[part])) as (reader, _):
        sample = reader.sample()
        assert (reader.card.uuid, reader.card.instance) == (FakeCard().uuid, "MIG-1")
        assert reader.card.total_bytes == 10 * GIB
        assert (sample.uuid, sample.temp_c, sample.power_w) == (FakeCard().uuid, 61, 310)
        assert (sample.mem_total_bytes, sample.mem_used_bytes) == (10 * GIB, 2 * GIB)
        assert sample.processes is not None
        assert [p.pid for p in sample.processes] == [4_000_000_000]


@pytest.fixture
def torch() -> Iterator[types.SimpleNamespace]:
    """A running torch with two cards, the second of them ours."""
    ours = FakeCard().uuid.removeprefix("GPU-")
    stats = {"allocated_bytes": {"all": {"current": 3 * GIB}}, "reserved_bytes": {"all": {"current": 4 * GIB}}}
    cuda = types.SimpleNamespace(
        is_initialized=lambda: True,
        device_count=lambda: 2,
        get_device_properties=lambda n: types.SimpleNamespace(uuid=(ours if n else "other")),
        memory_stats_as_nested_dict=lambda n: stats if n else {},
    )
    before = sys.modules.get("torch")
    module: Any = types.SimpleNamespace(cuda=cuda)
    sys.modules["torch"] = module
    yield module
    sys.modules.pop("torch")
    if before is not None:
        sys.modules["torch"] = before


class TestTorch:
    def test_its_memory_is_that_of_our_card_by_uuid_whatever_we_reckoned(self, torch: types.SimpleNamespace) -> None:
        with reading(FakeCard()) as (reader, _):
            sample = reader.sample()
            assert reader.card.ordinal == 1
            assert (sample.torch_allocated_bytes, sample.torch_reserved_bytes) == (3 * GIB, 4 * GIB)
            assert sample.torch_fragmentation == 0.25

    def test_a_torch_that_has_not_started_cuda_is_left_alone(self, torch: types.SimpleNamespace) -> None:
        def never(*_: Any) -> Any:
            raise AssertionError("this would start CUDA")

        torch.cuda.is_initialized = lambda: False
        torch.cuda.device_count = torch.cuda.get_device_properties = torch.cuda.memory_stats_as_nested_dict = never
        sample = sampled(FakeCard())
        assert (sample.torch_allocated_bytes, sample.errors) == (None, ())

    @pytest.mark.parametrize("error", [RuntimeError("CUDA error: unspecified launch failure\nhint"), AssertionError()])
    def test_a_broken_cuda_is_said_and_hides_nothing_else(self, torch: types.SimpleNamespace, error: Exception) -> None:
        def fail(*_: Any) -> Any:
            raise error

        torch.cuda.memory_stats_as_nested_dict = fail
        sample = sampled(FakeCard())
        assert sample.temp_c == 61
        assert len(sample.errors) == 1
        assert "\n" not in sample.errors[0]

    def test_an_allocator_without_numbers_leaves_them_unknown(self, torch: types.SimpleNamespace) -> None:
        torch.cuda.memory_stats_as_nested_dict = lambda n: {}
        assert sampled(FakeCard()).torch_reserved_bytes is None

    def test_the_reader_brings_no_torch_with_it(self) -> None:
        import subprocess

        script = "import sys, channelscribe.gpu.open; sys.exit('torch' in sys.modules or 'pynvml' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_many_threads_may_ask_one_reader() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with reading(FakeCard()) as (reader, _), ThreadPoolExecutor(8) as pool:
        ask: Callable[[int], GpuSample] = lambda _: reader.sample()  # noqa: E731
        assert all(sample.errors == () and sample.temp_c == 61 for sample in pool.map(ask, range(200)))
