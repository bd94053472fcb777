"""Prometheus gets what the guard last read, by its own rules: base units, counters that say so, unknown is absent."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import UTC, datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError

from channelscribe.core.gpu import Cause, Decision, GpuSample, Load, Reading, Zone
from channelscribe.core.settings import Settings
from channelscribe.gpu.exporter import _COUNTERS, _GAUGES, Exporter, open_exporter

AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
BARE = GpuSample("GPU-1", "NVIDIA \"GeForce\"\nRTX 4090", AT, 5.0)  # fmt: skip
HOT = Decision(Zone.PAUSE, Cause.TEMPERATURE, "82 C", duty=0.5, batch_share=0.25)
FULL = replace(BARE, temp_c=61.0, mem_used_bytes=9, energy_j=5000.0, sm_clock_mhz=2520.0, util_gpu_percent=97.0)


def reading(sample: GpuSample) -> Reading:
    return Reading("run-1", sample, Load("decode", 16, 3, 2, 0.75, 1.5), HOT)


@contextmanager
def served(last: Reading | None) -> Iterator[Exporter]:
    exporter = open_exporter(lambda: last, port=0)
    assert exporter is not None
    try:
        yield exporter
    finally:
        exporter.close()


def scrape(exporter: Exporter) -> dict[str, tuple[str, dict[tuple[tuple[str, str], ...], float]]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{exporter.port}/metrics", timeout=10) as answer:
        text = answer.read().decode("utf-8")
    return {
        family.name: (family.type, {tuple(sorted(s.labels.items())): s.value for s in family.samples})
        for family in text_string_to_metric_families(text)
    }


def only(values: dict[tuple[tuple[str, str], ...], float]) -> float:
    (value,) = values.values()
    return value


def test_the_last_reading_is_served_in_base_units() -> None:
    with served(reading(FULL)) as exporter:
        found = scrape(exporter)
    assert only(found["channelscribe_gpu_temperature_celsius"][1]) == 61
    assert only(found["channelscribe_gpu_sm_clock_hertz"][1]) == 2.52e9
    assert only(found["channelscribe_gpu_utilization_ratio"][1]) == pytest.approx(0.97)
    assert only(found["channelscribe_gpu_up"][1]) == 1
    assert only(found["channelscribe_gpu_last_reading_timestamp_seconds"][1]) == AT.timestamp()
    kind, values = found["channelscribe_gpu_energy_joules"]
    assert (kind, only(values)) == ("counter", 5000)
    labels = dict(next(iter(values)))
    assert labels == {"uuid": "GPU-1", "name": BARE.name}


def test_the_guards_zone_and_cause_are_one_of_all() -> None:
    with served(reading(FULL)) as exporter:
        found = scrape(exporter)
    zones = {dict(labels)["zone"]: value for labels, value in found["channelscribe_guard_zone"][1].items()}
    causes = {dict(labels)["cause"]: value for labels, value in found["channelscribe_guard_cause"][1].items()}
    assert zones == {zone.value: float(zone is Zone.PAUSE) for zone in Zone}
    assert causes == {cause.value: float(cause is Cause.TEMPERATURE) for cause in Cause}
    assert only(found["channelscribe_guard_duty_ratio"][1]) == 0.5
    assert only(found["channelscribe_engine_busy_ratio"][1]) == 0.75


def test_what_is_unknown_is_absent_and_what_is_zero_is_zero() -> None:
    with served(reading(replace(BARE, temp_c=0.0))) as exporter:
        found = scrape(exporter)
    assert only(found["channelscribe_gpu_temperature_celsius"][1]) == 0
    card = {name for name in found if name.startswith("channelscribe_gpu_")}
    assert card == {f"channelscribe_gpu_{n}" for n in ("temperature_celsius", "up", "last_reading_timestamp_seconds")}


def test_a_lost_card_is_down() -> None:
    with served(reading(replace(BARE, lost=True))) as exporter:
        assert only(scrape(exporter)["channelscribe_gpu_up"][1]) == 0


def test_before_the_first_reading_there_is_nothing() -> None:
    with served(None) as exporter:
        assert scrape(exporter) == {}


def test_every_name_follows_the_naming_practices() -> None:
    units = r"(celsius|ratio|watts|hertz|bytes|bytes_per_second|mask|joules|seconds|replays|errors)"
    for name, says, field, _ in (*_GAUGES, *_COUNTERS):
        assert re.fullmatch(rf"gpu_[a-z_]+_{units}", name)
        assert says.endswith(".")
        assert field in {f.name for f in fields(GpuSample)}
    assert len({name for name, *_ in (*_GAUGES, *_COUNTERS)}) == len(_GAUGES) + len(_COUNTERS)


def test_only_this_machine_is_served() -> None:
    with served(reading(FULL)) as exporter:
        assert exporter.address == "127.0.0.1"


def test_it_is_off_without_a_port() -> None:
    assert open_exporter(lambda: None, port=None) is None


@pytest.mark.parametrize("port", [-1, 70_000])
def test_a_port_that_is_none_is_said_and_ends_nothing(port: int, caplog: pytest.LogCaptureFixture) -> None:
    assert open_exporter(lambda: None, port=port) is None
    assert "no metrics for Prometheus" in caplog.text


def test_a_port_in_use_is_said_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with served(None) as first:
        assert open_exporter(lambda: None, port=first.port) is None
        assert "cannot be listened on" in caplog.text


def test_closing_gives_the_port_back() -> None:
    with served(None) as exporter:
        port = exporter.port
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5)
    again = open_exporter(lambda: None, port=port)
    assert again is not None
    again.close()


def test_the_environment_names_a_port_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for said, port in (("", None), ("9400", 9400)):
        monkeypatch.setenv("CHANNELSCRIBE_METRICS_PORT", said)
        assert Settings().metrics_port == port
    for wrong in ("0", "70000", "all"):
        monkeypatch.setenv("CHANNELSCRIBE_METRICS_PORT", wrong)
        with pytest.raises(ValidationError):
            Settings()
