"""The words that the rooms of the card use are NVML's own, and every return code has a meaning."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from pathlib import Path

import pynvml
import pytest

import channelscribe.gpu
from channelscribe.gpu.nvml import _KINDS, Kind, Nvml, NvmlError, attempt
from tests.emulators.nvml import FakeDriver, _Functions, installed

ROOM = Path(str(channelscribe.gpu.__file__)).parent


def words() -> set[str]:
    found = set()
    for path in ROOM.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= {node.value} if re.fullmatch(r"(nvml|NVML_)[A-Za-z0-9_]*[A-Za-z0-9]", node.value) else set()
    return found


def test_every_name_of_nvml_that_we_use_exists_in_the_installed_library() -> None:
    assert len(words()) > 40
    assert not [word for word in words() if not hasattr(pynvml, word)]


def test_every_return_code_that_we_tell_apart_exists() -> None:
    told_apart = [f"NVML_ERROR_{name}" for names in _KINDS.values() for name in names]
    assert len(set(told_apart)) == len(told_apart)
    assert not [name for name in told_apart if not hasattr(pynvml, name)]


@pytest.mark.parametrize("name", [n for n in vars(_Functions) if n.startswith("nvml")])
def test_the_stand_in_takes_what_the_library_takes(name: str) -> None:
    real, ours = (list(inspect.signature(f).parameters) for f in (getattr(pynvml, name), getattr(_Functions, name)))
    decorated = real == ["args", "kwargs"]
    assert decorated or len(real) == len(ours) - 1


@pytest.mark.parametrize("code", [n for n in dir(pynvml) if n.startswith("NVML_ERROR_")])
def test_every_return_code_becomes_a_trouble_in_words(code: str) -> None:
    with installed(FakeDriver()):
        trouble = Nvml().trouble(getattr(pynvml, code))
    assert trouble.text
    assert trouble.kind in Kind


@pytest.mark.parametrize(
    ("broken", "kind"),
    [("LIBRARY_NOT_FOUND", Kind.ABSENT), ("DRIVER_NOT_LOADED", Kind.ABSENT), ("LIB_RM_VERSION_MISMATCH", Kind.FAILED)],
)
def test_a_driver_that_is_not_there_is_told_from_one_that_is_broken(broken: str, kind: Kind) -> None:
    with installed(FakeDriver(broken=broken)), pytest.raises(NvmlError) as caught:
        Nvml()
    assert caught.value.trouble.kind is kind


def test_a_library_too_old_or_an_argument_of_the_wrong_type_is_an_answer_and_no_crash() -> None:
    with installed(FakeDriver()):
        nvml = Nvml()
        assert attempt(nvml.ask, "nvmlDeviceGetTomorrow", 1).kind is Kind.UNSUPPORTED
        assert attempt(nvml.constant, "NVML_NO_SUCH_THING").kind is Kind.UNSUPPORTED
        assert attempt(nvml.ask, "nvmlDeviceGetFieldValues", 1).kind is Kind.FAILED


def test_a_package_newer_than_the_driver_says_so_in_a_way_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def mismatch(*_: object) -> None:
        raise pynvml.NVMLLibraryMismatchError("use a versioned function")

    with installed(FakeDriver()):
        monkeypatch.setattr(sys.modules["pynvml"], "nvmlDeviceGetFanSpeed", mismatch)
        nvml = Nvml()
        assert attempt(nvml.ask, "nvmlDeviceGetFanSpeed", 1).kind is Kind.UNSUPPORTED


def test_closing_counts() -> None:
    with installed(FakeDriver()) as driver:
        first, second = Nvml(), Nvml()
        first.close()
        assert second.driver() == driver.version
        second.close()
        assert driver.opened == 0
