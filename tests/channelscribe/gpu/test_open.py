"""The one door to readers: what a setting names is opened, what cannot be opened is said in one sentence."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from channelscribe.core.errors import GpuFailure, UsageError
from channelscribe.core.gpu import Reader
from channelscribe.gpu.capping import CappedReader, ReaderCap, open_cap
from channelscribe.gpu.lease import Lease, LeaseFile
from channelscribe.gpu.open import open_reader
from channelscribe.gpu.reader import NvmlReader
from tests.emulators.nvml import FakeCard, FakeDriver, FakeInstance, installed

A, B = "GPU-aaaaaaaa-0000-4000-8000-000000000000", "GPU-bbbbbbbb-0000-4000-8000-000000000001"
MIG = "MIG-11111111-2222-4333-8444-555555555555"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def driver() -> Iterator[FakeDriver]:
    with installed(FakeDriver([FakeCard(uuid=A), FakeCard(uuid=B)])) as installed_driver:
        yield installed_driver
        assert installed_driver.opened == 0


def opened(spec: str, device: str = "auto") -> tuple[str, int | None] | None:
    reader = open_reader(spec, device=device)
    if reader is None:
        return None
    assert reader.sample().temp_c == 61
    card = reader.card
    reader.close()
    return card.instance or card.uuid, card.ordinal


@pytest.mark.parametrize(
    ("spec", "device", "card"),
    [
        ("auto", "auto", (A, 0)),
        ("", "auto", (A, 0)),
        (" AUTO ", "cuda", (A, 0)),
        ("auto", "cuda:1", (B, 1)),
        ("auto", "cuda:7", None),
        ("auto", "cpu", None),
        ("auto", "mps", None),
        ("off", "cuda", None),
        ("1", "auto", (B, 1)),
        (B, "auto", (B, 1)),
        (B.upper(), "cpu", (B, 1)),
        ("GPU-bb", "auto", (B, 1)),
    ],
)
def test_a_setting_names_a_card(
    driver: FakeDriver, spec: str, device: str, card: tuple[str, int | None] | None
) -> None:
    assert opened(spec, device) == card


def test_numbers_are_cudas_and_a_hidden_card_can_still_be_named(
    driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "CUDA_VISIBLE_DEVICES", "1")
    assert opened("auto") == (B, 0)
    assert opened("0") == (B, 0)
    assert opened(A) == (A, None)
    with pytest.raises(GpuFailure, match=f"sees no card 1 in this process; it sees 0: {B}"):
        open_reader("1")
    monkeypatch.setitem(os.environ, "CUDA_VISIBLE_DEVICES", "")
    assert opened("auto") is None


def test_an_instance_is_opened_by_its_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    card = FakeCard(uuid=A, mig=True, instances=[FakeInstance("MIG-0", 1, 0), FakeInstance(MIG, 2, 0)])
    with installed(FakeDriver([card])):
        assert opened(MIG) == (MIG, None)
        monkeypatch.setitem(os.environ, "CUDA_VISIBLE_DEVICES", MIG)
        assert opened("auto") == (MIG, 0)


@pytest.mark.parametrize("spec", ["GPU-cc", "gpu-", "5", "MIG-1"])
def test_a_card_that_is_not_there_is_said_with_those_that_are(driver: FakeDriver, spec: str) -> None:
    if spec == "gpu-":
        with pytest.raises(UsageError):
            open_reader(spec)
        return
    with pytest.raises(GpuFailure, match=A) as caught:
        open_reader(spec)
    assert caught.value.code == "no_card"


@pytest.mark.parametrize("spec", ["cuda", "cuda:0", "-1", "1:2", "GPU-x y", "auto:1", "0x1", "٣", "a" * 10_000])
def test_a_setting_that_names_nothing_is_refused(driver: FakeDriver, spec: str) -> None:
    with pytest.raises(UsageError, match="names no card") as caught:
        open_reader(spec)
    assert caught.value.code == "bad_reader"


@pytest.mark.parametrize("broken", ["LIBRARY_NOT_FOUND", "DRIVER_NOT_LOADED"])
def test_a_machine_without_a_driver_has_no_reader_and_no_fuss(broken: str, caplog: pytest.LogCaptureFixture) -> None:
    with installed(FakeDriver(broken=broken)), caplog.at_level(logging.INFO):
        assert open_reader("auto") is None
        assert caplog.text == ""
        assert open_reader("auto", device="cuda") is None
        assert "no card is guarded" in caplog.text
        with pytest.raises(GpuFailure, match="no NVIDIA driver"):
            open_reader("0")


def test_a_broken_driver_stops_a_run_on_the_card_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    with installed(FakeDriver(broken="LIB_RM_VERSION_MISMATCH")):
        assert open_reader("auto") is None
        assert "does not answer" in caplog.text
        assert open_reader("auto", device="cpu") is None
        for spec, device in (("auto", "cuda"), ("auto", "cuda:0"), ("0", "auto")):
            with pytest.raises(GpuFailure, match="mend it") as caught:
                open_reader(spec, device=device)
            assert caught.value.code == "no_driver"


def test_a_driver_without_cards_has_no_reader() -> None:
    with installed(FakeDriver([])) as driver:
        assert open_reader("auto") is None
        with pytest.raises(GpuFailure, match="there is none"):
            open_reader("GPU-12")
        assert driver.opened == 0


def test_without_the_package_there_is_no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert open_reader("auto") is None


def test_opening_a_card_takes_off_a_cap_that_a_crash_has_left(driver: FakeDriver) -> None:
    file = LeaseFile(A)
    with file.locked():
        file.write(Lease(450.0, (300.0,)))
    driver.cards[0].limit_mw = 300_000
    assert opened("auto") == (A, 0)
    assert driver.cards[0].limit_mw == 450_000
    assert not file.exists()


def test_a_simulated_card_is_a_reader_like_the_others_and_can_be_capped() -> None:
    reader = open_reader("sim")
    assert reader is not None
    assert isinstance(reader, CappedReader)
    cap = open_cap(reader)
    assert isinstance(cap, ReaderCap)
    full_w = reader.sample().limit_w
    cap.apply(200.0)
    assert reader.sample().limit_w == 200
    cap.restore()
    assert reader.sample().limit_w == full_w
    reader.close()


def test_a_recorded_card_is_opened_by_its_path(tmp_path: Path) -> None:
    from channelscribe.core.gpu import Decision, Load, Reading, Zone
    from channelscribe.gpu.replay import write_trace

    with installed(FakeDriver([FakeCard(uuid=A)])):
        real = open_reader("auto")
        assert isinstance(real, NvmlReader)
        readings = [Reading("run", real.sample(), Load(), Decision(Zone.RUN)) for _ in range(3)]
        real.close()
    write_trace(tmp_path / "trace.parquet", readings)
    replayed: Reader | None = open_reader(f"replay:{tmp_path / 'trace.parquet'}")
    assert replayed is not None
    assert replayed.card.uuid == A
    assert replayed.sample().temp_c == 61
    assert open_cap(replayed) is None
    with pytest.raises(UsageError):
        open_reader(f"replay:{tmp_path / 'none.parquet'}")


def test_every_real_part_of_this_machine_agrees() -> None:
    """With the unmodified library: either there is no card, or it is read without a word of complaint about types."""
    reader = open_reader("auto")
    if reader is not None:
        sample = reader.sample()
        assert sample.uuid.startswith("GPU-")
        assert not [error for error in sample.errors if "argument" in error.lower()]
        reader.close()
