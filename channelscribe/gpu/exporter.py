"""The last reading for Prometheus, through its official client: an endpoint that is off unless a port is given.

Reads what the guard already knows and never asks the card. What is unknown is absent, never 0; names and base units
follow the Prometheus naming practices (celsius, watts, joules, bytes, hertz, ratios from 0 to 1, _total on counters).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from channelscribe.core.gpu import Reading

log = logging.getLogger(__name__)
LOOPBACK = "127.0.0.1"
Latest = Callable[[], Reading | None]

# (name, help, field of GpuSample, factor to the base unit)
_GAUGES: tuple[tuple[str, str, str, float], ...] = (
    ("gpu_temperature_celsius", "Temperature of the chip.", "temp_c", 1),
    ("gpu_memory_temperature_celsius", "Temperature of the memory.", "mem_temp_c", 1),
    ("gpu_slowdown_threshold_celsius", "Where the card slows itself down.", "slowdown_c", 1),
    ("gpu_shutdown_threshold_celsius", "Where the card switches itself off.", "shutdown_c", 1),
    ("gpu_headroom_celsius", "Degrees left to the card's own slowdown.", "headroom_c", 1),
    ("gpu_fan_speed_ratio", "Fan speed.", "fan_percent", 0.01),
    ("gpu_power_watts", "Power draw.", "power_w", 1),
    ("gpu_power_limit_watts", "Power limit in force.", "limit_w", 1),
    ("gpu_sm_clock_hertz", "Clock of the multiprocessors.", "sm_clock_mhz", 1e6),
    ("gpu_memory_clock_hertz", "Clock of the memory.", "mem_clock_mhz", 1e6),
    ("gpu_utilization_ratio", "Share of time in which a kernel ran.", "util_gpu_percent", 0.01),
    ("gpu_memory_utilization_ratio", "Share of time in which memory was read or written.", "util_mem_percent", 0.01),
    ("gpu_memory_size_bytes", "Memory of the card.", "mem_total_bytes", 1),
    ("gpu_memory_used_bytes", "Memory in use.", "mem_used_bytes", 1),
    ("gpu_memory_free_bytes", "Memory free.", "mem_free_bytes", 1),
    ("gpu_memory_reserved_bytes", "Memory that the driver keeps.", "mem_reserved_bytes", 1),
    ("gpu_torch_allocated_bytes", "Memory in tensors of PyTorch.", "torch_allocated_bytes", 1),
    ("gpu_torch_reserved_bytes", "Memory held by PyTorch's allocator.", "torch_reserved_bytes", 1),
    ("gpu_pcie_transmit_bytes_per_second", "Bytes sent over PCIe.", "pcie_tx_kib_s", 1024),
    ("gpu_pcie_receive_bytes_per_second", "Bytes received over PCIe.", "pcie_rx_kib_s", 1024),
    ("gpu_throttle_reasons_mask", "NVML's clock event reasons, as a bit mask.", "throttle_mask", 1),
)
_COUNTERS: tuple[tuple[str, str, str, float], ...] = (
    ("gpu_energy_joules", "Energy drawn since the driver was loaded.", "energy_j", 1),
    ("gpu_thermal_violation_seconds", "Time held back by heat.", "thermal_violation_s", 1),
    ("gpu_power_violation_seconds", "Time held back by the power limit.", "power_violation_s", 1),
    ("gpu_pcie_replays", "Repeated PCIe transfers.", "pcie_replays", 1),
    ("gpu_ecc_corrected_errors", "Memory errors that the card corrected.", "ecc_corrected", 1),
    ("gpu_ecc_uncorrected_errors", "Memory errors that the card could not correct.", "ecc_uncorrected", 1),
)


class ReadingCollector(Collector):
    """Turns the last reading into metrics at each scrape. Labels: the card's UUID and name, for the guard the UUID."""

    def __init__(self, latest: Latest) -> None:
        self._latest = latest

    def collect(self) -> Iterator[Metric]:
        reading = self._latest()
        if reading is None:
            return
        card = {"uuid": reading.sample.uuid, "name": reading.sample.name}
        yield _gauge("gpu_up", "1 while the card answers, 0 while it is lost.", card, float(not reading.sample.lost))
        yield _gauge("gpu_last_reading_timestamp_seconds", "When it was read.", card, reading.sample.at.timestamp())
        for name, says, field, factor in _GAUGES:
            if (value := getattr(reading.sample, field)) is not None:
                yield _gauge(name, says, card, value * factor)
        for name, says, field, factor in _COUNTERS:
            if (value := getattr(reading.sample, field)) is not None:
                counter = CounterMetricFamily(f"channelscribe_{name}", says, labels=list(card))
                counter.add_metric(list(card.values()), value * factor)
                yield counter
        yield from _guard(reading)


def _guard(reading: Reading) -> Iterator[Metric]:
    card = {"uuid": reading.sample.uuid}
    yield _state("guard_zone", "1 for the zone the guard is in, 0 for the others.", "zone", reading.decision.zone, card)
    yield _state("guard_cause", "1 for why it is there, 0 for the others.", "cause", reading.decision.cause, card)
    yield _gauge("guard_duty_ratio", "Share of time in which steps may run.", card, reading.decision.duty)
    yield _gauge("guard_batch_ratio", "Share of the wished batch.", card, reading.decision.batch_share)
    yield _gauge("engine_busy_ratio", "Share of time in which a GPU step ran.", card, reading.load.busy_share)
    yield _gauge("engine_windows_waiting", "Windows in the queue.", card, reading.load.waiting)
    yield _gauge("engine_videos_in_flight", "Videos that share batches.", card, reading.load.videos)


def _state(name: str, says: str, label: str, state: StrEnum, card: dict[str, str]) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(f"channelscribe_{name}", says, labels=[*card, label])
    for value in type(state):
        gauge.add_metric([*card.values(), str(value)], float(value is state))
    return gauge


def _gauge(name: str, says: str, labels: dict[str, str], value: float) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(f"channelscribe_{name}", says, labels=list(labels))
    gauge.add_metric(list(labels.values()), value)
    return gauge


class Exporter:
    """An open endpoint. `port` is the one it listens on, also where 0 was asked for."""

    def __init__(self, server: Any, thread: threading.Thread) -> None:
        self._server, self._thread = server, thread
        self.address: str = server.server_address[0]
        self.port: int = server.server_address[1]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def open_exporter(latest: Latest, *, port: int | None, address: str = LOOPBACK) -> Exporter | None:
    """Serves `latest()` at http://ADDRESS:PORT/metrics from a thread of its own; None for no port, and for a port that
    cannot be had, which is said in the log: a run does not end because nobody can watch it."""
    if port is None:
        return None
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ReadingCollector(latest))
    try:
        server, thread = start_http_server(port, addr=address, registry=registry)
    except (OSError, OverflowError) as error:
        log.warning("no metrics for Prometheus: %s:%s cannot be listened on (%s)", address, port, error)
        return None
    return Exporter(server, thread)
