"""Attention of one query: the kernel, in Triton's interpreter, says what its twin says, and that what PyTorch says."""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from channelscribe.asr import single_query
from channelscribe.asr.single_query import TWIN, Quantised, SingleQuery, attend_one, choose, quantise
from channelscribe.core.errors import EnvironmentFailure, UsageError
from tests.channelscribe.asr.kernel_cases import CASES, COMPILED, Case

ROOT = Path(__file__).parents[3]
HAS_TRITON = importlib.util.find_spec("triton") is not None
needs_triton = pytest.mark.skipif(not HAS_TRITON, reason="Triton is not installed")
# Half a step of the type at 4 and more, where the greatest values are.
NEAR = {torch.float32: 2e-6, torch.float16: 2.0**-9, torch.bfloat16: 2.0**-6}
CPU, AMPERE = torch.device("cpu"), (8, 0)


def of_a_process(what: str, folder: Path, **environment: str) -> Any:
    file = folder / f"{what}.pt"
    given = {name: value for name, value in os.environ.items() if not name.startswith("TRITON_")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.channelscribe.asr.kernel_cases", what, str(file)],
        cwd=ROOT, env={**given, "TRITON_CACHE_DIR": str(folder), **environment}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return torch.load(file)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """What the kernel makes of every case."""
    found: dict[str, Tensor] = of_a_process("interpret", tmp_path_factory.mktemp("triton"), TRITON_INTERPRET="1")
    return found


def exact(case: Case) -> Tensor:
    """In float64, row by row, over just the positions that count."""
    query, keys, values, lengths = case.inputs()
    rows = []
    for row in range(len(query)):
        key, value = (
            c.numbers[row] * c.scales[row, ..., None].double() if isinstance(c, Quantised) else c[row].double()
            for c in (keys, values)
        )
        end = case.positions if lengths is None else int(lengths[row])
        odds = (query[row].double()[:, None] @ key[:, :end].transpose(1, 2) * case.size**-0.5).softmax(-1)
        rows.append((odds @ value[:, :end]).reshape(-1))
    return torch.stack(rows)


def of_twin(case: Case) -> Tensor:
    query, keys, values, lengths = case.inputs()
    return attend_one(query, keys, values, scale=case.size**-0.5, lengths=lengths)


@needs_triton
@pytest.mark.parametrize("name", CASES)
def test_the_kernel_says_what_the_twin_says(kernel: dict[str, Tensor], name: str) -> None:
    case, found = CASES[name], kernel[name]
    wanted = of_twin(case)
    assert found.shape == wanted.shape and found.dtype == wanted.dtype and found.is_contiguous()
    near = NEAR[case.dtype]
    assert torch.allclose(found.float(), wanted.float(), atol=2 * near, rtol=near, equal_nan=True)
    assert torch.allclose(found.double(), exact(case), atol=near, rtol=near, equal_nan=True)


@needs_triton
def test_a_row_gives_the_same_bits_in_any_company(kernel: dict[str, Tensor]) -> None:
    assert torch.equal(kernel["audio, one row"][0], kernel["audio"][1])
    assert torch.equal(kernel["audio, another row"][0], kernel["audio"][2])
    assert torch.equal(kernel["tokens, one row"][0], kernel["tokens"][2])


@needs_triton
def test_a_row_gives_the_same_bits_whatever_the_cache_behind_its_length(kernel: dict[str, Tensor]) -> None:
    assert torch.equal(kernel["tokens, a longer cache"], kernel["tokens"])
    assert torch.equal(kernel["tokens, two programs"], kernel["tokens"])


@needs_triton
def test_the_split_changes_nothing_but_rounding(kernel: dict[str, Tensor]) -> None:
    for other in ("audio, one program", "audio, many programs"):
        assert torch.allclose(kernel[other], kernel["audio"], atol=1e-6, rtol=1e-6)


@needs_triton
@pytest.mark.parametrize("name", ["not a number", "not a number, 8 bits"])
def test_what_is_not_a_number_stays_visible_in_its_row_alone(kernel: dict[str, Tensor], name: str) -> None:
    for found in (kernel[name], of_twin(CASES[name])):
        assert found[1].isnan().all() and found[[0, 2]].isfinite().all()


@needs_triton
def test_it_compiles_for_the_gpus_it_is_meant_for_and_reads_16_bytes_at_once(tmp_path: Path) -> None:
    made: dict[str, str] = of_a_process("compile", tmp_path)
    assert {int(name.split()[0]) for name in made} == {capability for capability, *_ in COMPILED}
    for name, text in made.items():
        blocks = 4 if "bf16" in name else 2  # 64 x 64 numbers over 128 threads, keys and values
        assert text.count("ld.global.v4.b32") >= 2 * blocks, name
        assert ".local" not in text, f"{name} spills registers"


@pytest.mark.parametrize("name", ["audio", "tokens", "tokens, 8 bits", "size 80", "size 128, 8 bits"])
def test_the_twin_is_attention(name: str) -> None:
    near = NEAR[CASES[name].dtype]
    assert torch.allclose(of_twin(CASES[name]).double(), exact(CASES[name]), atol=2 * near, rtol=near)


def test_without_lengths_and_with_full_ones_the_twin_is_what_pytorch_has() -> None:
    query, keys, values, _ = Case(150, strided=True).inputs()
    assert isinstance(keys, Tensor) and isinstance(values, Tensor)
    wanted = scaled_dot_product_attention(query[:, :, None], keys[:3], values[:3], scale=0.125).reshape(3, -1)
    assert torch.equal(attend_one(query, keys, values, scale=0.125), wanted)
    full = attend_one(query, keys, values, scale=0.125, lengths=torch.tensor([150, 150, 150], dtype=torch.int32))
    assert torch.allclose(full, wanted, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("scales", [torch.float16, torch.float32])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_eight_bits_are_off_by_half_a_step(dtype: torch.dtype, scales: torch.dtype) -> None:
    size = torch.tensor([1e-3, 1.0, 30.0, 0.0])[:, None, None]
    vectors = (torch.randn(4, 50, 64, generator=torch.Generator().manual_seed(3)) * size).to(dtype)
    numbers, steps = quantise(vectors, scales)
    assert numbers.dtype == torch.int8 and steps.dtype == scales and steps.shape == (4, 50)
    assert numbers.min() >= -127 and numbers[1:3].abs().amax(-1).min() >= 126
    back = numbers.float() * steps.float()[..., None]
    # Half a step, and 127 times the rounding of the step itself: 2**-11 of it in float16.
    assert ((back - vectors.float()).abs() <= steps.float()[..., None] * 0.563).all()
    assert (numbers[3] == 0).all() and (steps > 0).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_eight_bits_hide_no_broken_number(bad: float) -> None:
    vectors = torch.ones(1, 1, 3, 8)
    vectors[0, 0, 1, 2] = bad
    query, clean = torch.ones(1, 1, 8), torch.ones(1, 1, 3, 8)
    for keys, values in ((vectors, clean), (clean, vectors)):
        assert attend_one(query, quantise(keys), quantise(values), scale=1.0).isnan().any()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"keys": torch.zeros(2, 2, 9, 8)}, "does not hold"),
        ({"values": torch.zeros(3, 2, 8, 8)}, "does not hold"),
        ({"keys": torch.zeros(3, 2, 9, 8, dtype=torch.float16)}, "does not go with"),
        ({"keys": quantise(torch.zeros(3, 2, 9, 8))}, "together"),
        ({"keys": torch.zeros(3, 2, 8, 9).transpose(2, 3)}, "contiguous"),
        ({"lengths": torch.ones(2, dtype=torch.int64)}, "one integer for each row"),
        ({"lengths": torch.ones(3)}, "one integer for each row"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], says: str) -> None:
    given = {"query": torch.zeros(3, 2, 8), "keys": torch.zeros(3, 2, 9, 8), "values": torch.zeros(3, 2, 9, 8)}
    attend_one(**given, scale=1.0)
    with pytest.raises(ValueError, match=says):
        attend_one(**{**given, **change}, scale=1.0)


def chosen(monkeypatch: pytest.MonkeyPatch, kernel: str, **given: Any) -> SingleQuery:
    """The choice on a machine where the kernel is the `attend_one` of that module."""
    monkeypatch.delenv(single_query.OVERRIDE, raising=False)
    monkeypatch.setattr(single_query, "_KERNEL", kernel)
    return choose(CPU, torch.float32, **{"capability": AMPERE, **given})


def test_the_kernel_is_taken_where_it_says_what_the_twin_says(monkeypatch: pytest.MonkeyPatch) -> None:
    found = chosen(monkeypatch, "channelscribe.asr.single_query", eight_bits=True)
    assert found.name == "kernel" and found.attend is attend_one


@pytest.mark.parametrize("capability", [None, (7, 5)])
def test_other_devices_get_the_twin_without_a_word(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capability: tuple[int, int] | None
) -> None:
    assert chosen(monkeypatch, "channelscribe.asr.single_query", capability=capability) is TWIN
    assert not caplog.records


WRONG = (
    "from channelscribe.asr.single_query import attend_one as a\ndef attend_one(*g, **k): return 1.01 * a(*g, **k)\n"
)
BROKEN = "def attend_one(*g, **k): raise RuntimeError('no compiler')\n"
ABSENT = "import triton_that_nobody_has\n"


@pytest.mark.parametrize(
    ("module", "says", "level"),
    [
        (WRONG, "off by", logging.WARNING),
        (BROKEN, "no compiler", logging.WARNING),
        (ABSENT, "No module named 'triton_that_nobody", logging.INFO),  # as on Windows, where nothing is to be mended
    ],
)
def test_a_kernel_that_does_not_work_is_left_out_and_said_once(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    module: str,
    says: str,
    level: int,
) -> None:
    (tmp_path / "a_kernel_of_tests.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "a_kernel_of_tests", raising=False)
    with caplog.at_level(logging.INFO, "channelscribe.asr.single_query"):
        assert chosen(monkeypatch, "a_kernel_of_tests") is TWIN
    assert [record.levelno for record in caplog.records] == [level]
    assert says in caplog.text
    with pytest.raises(EnvironmentFailure, match=r"twin"):
        chosen(monkeypatch, "a_kernel_of_tests", wanted="kernel")
    monkeypatch.delitem(sys.modules, "a_kernel_of_tests", raising=False)


def test_a_person_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    there = "channelscribe.asr.single_query"
    assert chosen(monkeypatch, there, wanted="twin") is TWIN
    assert chosen(monkeypatch, there, wanted="kernel", capability=None).name == "kernel"
    monkeypatch.setenv(single_query.OVERRIDE, "twin")
    assert choose(CPU, torch.float32, capability=AMPERE) is TWIN
    monkeypatch.setenv(single_query.OVERRIDE, "fastest")
    with pytest.raises(UsageError, match="auto, kernel or twin"):
        choose(CPU, torch.float32, capability=AMPERE)
