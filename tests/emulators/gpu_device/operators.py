"""What the stand-in must know of an operator of torch: what it writes, whether the host waits for it, what is refused.

Read once from the operator's schema and kept; `tensor.dispatch` asks for every call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# Their result, or its shape, is known to the device only: the host waits, and a capture fails.
_WAITING = {
    "_local_scalar_dense", "item", "is_nonzero", "nonzero", "nonzero_numpy", "argwhere", "masked_select", "equal",
    "allclose", "bincount", "_unique", "_unique2", "unique_dim", "unique_consecutive", "unique_dim_consecutive",
}  # fmt: skip
_INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
_TRANSFERS = {"copy_", "_to_copy", "to"}
_EMPTY = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}
# They exchange the memory of a tensor, or are CUDA's own.
_REFUSED = {"set_", "resize_", "resize_as_", "_resize_output_", "record_stream", "is_pinned", "pin_memory"}


@dataclass(frozen=True, slots=True, eq=False)
class Operator:
    """`reshapes`: changes its first argument's shape in place and nothing else. `metadata`: looks at a shape only.
    `empty`: allocates and launches nothing."""

    name: str
    written: tuple[int, ...]
    written_names: tuple[str, ...]
    waits: Callable[[Sequence[Any], Mapping[str, Any]], bool] | None
    random: bool
    refused: bool
    reshapes: bool
    empty: bool
    metadata: bool
    transfers: bool
    non_blocking_at: int | None
    indexes: bool
    attends: bool

    @property
    def writes(self) -> bool:
        return bool(self.written or self.written_names)

    def is_non_blocking(self, args: Sequence[Any], named: Mapping[str, Any]) -> bool:
        at = self.non_blocking_at
        return bool(named.get("non_blocking", at is not None and len(args) > at and args[at]))


_KNOWN: dict[Any, Operator] = {}


def operator_of(func: Any) -> Operator:
    known = _KNOWN.get(func)
    return known if known is not None else _KNOWN.setdefault(func, _read(func))


def _read(func: Any) -> Operator:
    schema, base = func._schema, func._schema.name.rpartition("::")[2]
    written = [
        (at, argument.name, argument.kwarg_only)
        for at, argument in enumerate(schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    return Operator(
        name=str(func),
        written=tuple(at for at, _, by_name in written if not by_name),
        written_names=tuple(name for _, name, _ in written),
        waits=_waits(base, func._overloadname),
        random=torch.Tag.nondeterministic_seeded in func.tags and "attention" not in base,
        refused=base in _REFUSED,
        reshapes=torch.Tag.inplace_view in func.tags,
        empty=base in _EMPTY,
        metadata=base.endswith("_like") or base.startswith("new_") or base == "_has_compatible_shallow_copy_type",
        transfers=base in _TRANSFERS,
        non_blocking_at=next((at for at, each in enumerate(schema.arguments) if each.name == "non_blocking"), None),
        indexes=base in _INDEXING,
        attends=base == "scaled_dot_product_attention",
    )


def _waits(base: str, overload: str) -> Callable[[Sequence[Any], Mapping[str, Any]], bool] | None:
    if base in _WAITING or (base == "where" and overload == "default"):
        return lambda args, named: True
    if base == "repeat_interleave" and overload != "self_int":
        return lambda args, named: named.get("output_size") is None
    if base == "tensor_split" and overload == "tensor_indices_or_sections":
        return lambda args, named: True
    if base in _INDEXING:
        return _by_mask
    return None


def _by_mask(args: Sequence[Any], named: Mapping[str, Any]) -> bool:
    """A mask is turned into positions, which the host must count; but to put one number there is a masked fill."""
    masks = [index for index in args[1] if isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8)]
    accumulates = named.get("accumulate", args[3] if len(args) > 3 else False)
    fills = len(args) > 2 and args[2].numel() == 1 and not accumulates and len(masks) == 1
    return bool(masks) and not fills
