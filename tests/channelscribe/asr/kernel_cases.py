"""What the attention kernel is asked in tests, and a process of its own in which Triton's interpreter answers.

Triton reads TRITON_INTERPRET when it is imported, which a test process cannot rely on to be the first to do.

`python -m tests.channelscribe.asr.kernel_cases interpret FILE` writes each case's result, `compile FILE` the machine's
text (PTX) of the kernel for the GPUs it is meant for.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from channelscribe.asr.single_query import Cached, quantise

# Compute capability, type of the numbers, with lengths.
COMPILED = ((80, "bf16", True), (89, "i8", False), (90, "bf16", False))
NAN = float("nan")


@dataclass(frozen=True)
class Case:
    """`heads` of `size` over `positions`, with rows 0 to 2 of 4 slots; `only` asks for one of these rows by itself."""

    positions: int
    size: int = 64
    heads: int = 2
    dtype: torch.dtype = torch.float32
    eight_bits: bool = False
    lengths: tuple[int, ...] | None = None
    only: int | None = None
    chunk: int = 512
    whole: int = 640
    strided: bool = False
    spoilt: int | None = None

    def inputs(self) -> tuple[Tensor, Cached, Cached, Tensor | None]:
        """The same numbers for the same size and type, whatever the rest: a longer cache only goes on further."""
        chance = torch.Generator().manual_seed(self.size)
        asked = torch.randn(3, 3, self.heads, self.size, generator=chance).to(self.dtype)
        held = torch.randn(4, 2, self.heads, self.whole, self.size, generator=chance).to(self.dtype)
        lengths = None if self.lengths is None else torch.tensor(self.lengths)
        for row, length in enumerate(self.lengths or ()):
            held[row, :, :, length:] = NAN
        if self.spoilt is not None:
            held[self.spoilt, :, :, 1] = NAN
        query, keys, values = asked[:, 0], held[:, 0, :, : self.positions], held[:, 1, :, : self.positions]
        if not self.strided:
            query, keys, values = query.contiguous(), keys.contiguous(), values.contiguous()
        if self.only is not None:
            one = slice(self.only, self.only + 1)
            query, keys, values, lengths = query[one], keys[one], values[one], None if lengths is None else lengths[one]
        if self.eight_bits:
            return query, quantise(keys), quantise(values), lengths
        return query, keys, values, lengths


CASES = {
    "audio": Case(330, heads=1, chunk=128),
    "audio, 8 bits": Case(520, heads=1, dtype=torch.bfloat16, eight_bits=True),
    "audio, one program": Case(330, heads=1),
    "audio, many programs": Case(330, heads=1, chunk=64),
    "audio, one row": Case(330, heads=1, chunk=128, only=1),
    "audio, another row": Case(330, heads=1, chunk=128, only=2),
    "tokens": Case(150, lengths=(1, 150, 37), dtype=torch.bfloat16, strided=True),
    "tokens, one row": Case(150, lengths=(1, 150, 37), dtype=torch.bfloat16, strided=True, only=2),
    "tokens, a longer cache": Case(232, lengths=(1, 150, 37), dtype=torch.bfloat16, strided=True),
    "tokens, two programs": Case(520, lengths=(1, 150, 37), dtype=torch.bfloat16, strided=True),
    "tokens, 8 bits": Case(150, lengths=(1, 150, 37), dtype=torch.float16, eight_bits=True),
    "tokens, float16": Case(150, lengths=(64, 65, 128), dtype=torch.float16),
    "one position": Case(1, size=32, heads=3),
    "size 32": Case(33, size=32, dtype=torch.float16),
    "size 80": Case(101, size=80),
    "size 128": Case(70, size=128, dtype=torch.bfloat16),
    "size 128, 8 bits": Case(70, size=128, eight_bits=True, heads=1),
    "not a number": Case(130, heads=1, spoilt=1),
    "not a number, 8 bits": Case(130, heads=1, spoilt=1, eight_bits=True),
}


def interpret(file: str) -> None:
    from channelscribe.asr.single_query_triton import attend_one

    torch.set_num_threads(1)
    made: dict[str, Tensor] = {}
    for name, case in CASES.items():
        query, keys, values, lengths = case.inputs()
        made[name] = attend_one(query, keys, values, scale=case.size**-0.5, lengths=lengths, chunk=case.chunk)
    torch.save(made, file)


def compile_(file: str) -> None:
    from channelscribe.asr.single_query_triton import _attend, _combine

    made: dict[str, str] = {}
    for capability, numbers, bounded in COMPILED:
        fixed = {"SIZE": 64, "PADDED": 64, "BLOCK": 64, "CHUNK": 512, "SPLITS": 1 if bounded else 3}
        constants = {**fixed, "QUANTISED": numbers == "i8", "BOUNDED": bounded}
        made[f"{capability} {numbers}"] = _ptx(_attend, capability, numbers, constants, warps=4)
    _ptx(_combine, 90, "bf16", {"SIZE": 64, "PADDED": 64, "SPLITS": 3, "PADDED_SPLITS": 4}, warps=1)
    torch.save(made, file)


def _ptx(kernel: Any, capability: int, numbers: str, constants: dict[str, Any], warps: int) -> str:
    """As a call compiles it: pointers and strides are known to be multiples of 16, other integers are not."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    pointers = {"query": "bf16", "keys": numbers, "values": numbers, "key_scales": "fp16", "value_scales": "fp16"}
    pointers |= {"lengths": "i64", "made": "fp32", "peaks": "fp32", "totals": "fp32", "parts": "fp32", "out": "bf16"}
    types: dict[str, str] = {name: f"*{kind}" for name, kind in pointers.items()}
    types |= {"scale": "fp32"} | dict.fromkeys(constants, "constexpr")
    signature = {name: types.get(name, "i32") for name in kernel.arg_names}
    loose = ("scale", "heads", "positions", "key_scale_head", "value_scale_head", *constants)
    known = {(at,): [["tt.divisibility", 16]] for at, name in enumerate(kernel.arg_names) if name not in loose}
    target: Any = GPUTarget("cuda", capability, 32)
    options = {"num_warps": warps, "enable_fp_fusion": True}
    source = ASTSource(kernel, signature, constants, known)
    ptx: str = triton.compile(source, target=target, options=options).asm["ptx"]
    return ptx


if __name__ == "__main__":
    if (sys.argv[1] == "interpret") != (os.environ.get("TRITON_INTERPRET") == "1"):
        raise SystemExit("TRITON_INTERPRET=1 goes with `interpret` and with nothing else")
    {"interpret": interpret, "compile": compile_}[sys.argv[1]](sys.argv[2])
