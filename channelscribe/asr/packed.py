"""The linear layers of a float32 model on a CPU, through oneDNN with weights in the layout that its kernels want.

Loading calls it once. PyTorch sends float32 products on CPUs to MKL, which on AMD processors leaves half of the vector
unit idle and packs the weights again at every call; for the few rows of a decode step packing is most of the work. The
modules of transformers stay as they are, only their `nn.Linear` parts are exchanged; GELU after one is part of it.

The operators are those that `torch.compile` uses for frozen weights. They are not public: where they are missing or
answer differently, the model stays on MKL and the log says so.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor, nn

from channelscribe.asr.attention import put_into

log = logging.getLogger(__name__)
_ROWS = 16  # a hint for the layout; measured: 16 suits decode steps and is no worse for the encoder's 1,500
_PLAUSIBLE_ERROR = 1e-3


class PackedLinear(nn.Module):
    """Stands in for `nn.Linear`, without gradients. `activation` is "none" or "gelu" (the exact one)."""

    def __init__(self, linear: nn.Linear, activation: str = "none") -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), _ROWS)
        self._bias = None if linear.bias is None else linear.bias.detach()
        self._activation = activation
        self._product = torch.ops.mkldnn._linear_pointwise.default

    @property
    def weight(self) -> Tensor:
        """A copy in the usual layout [out, in]; for looking at, not for work."""
        dense: Tensor = self._packed.to_dense()
        return dense

    @property
    def bias(self) -> Tensor | None:
        return self._bias

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self._product(x, self._packed, self._bias, self._activation, [], "none")
        return made


def pack(model: Any) -> bool:
    """Exchanges every linear layer of a Whisper model in place. False if it is not for this model or machine."""
    weight = model.proj_out.weight
    if weight.device.type != "cpu" or weight.dtype != torch.float32 or not _works():
        return False
    for side in (model.model.encoder, model.model.decoder):
        for layer in side.layers:
            _pack_layer(layer)
    put_into(model.model.encoder)
    model.proj_out = PackedLinear(model.proj_out)
    return True


def _pack_layer(layer: Any) -> None:
    for attention in (layer.self_attn, getattr(layer, "encoder_attn", None)):
        if attention is not None:
            for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
                setattr(attention, name, PackedLinear(getattr(attention, name)))
    fused = _is_exact_gelu(layer.activation_fn)
    layer.fc1 = PackedLinear(layer.fc1, "gelu" if fused else "none")
    layer.activation_fn = nn.Identity() if fused else layer.activation_fn
    layer.fc2 = PackedLinear(layer.fc2)


def _is_exact_gelu(activation: Any) -> bool:
    x = torch.linspace(-6, 6, 49)
    return type(activation).__name__ == "GELUActivation" and torch.equal(activation(x), nn.functional.gelu(x))


def _works() -> bool:
    """One product compared with MKL's, so that an operator that changed its meaning is noticed."""
    linear: nn.Linear = nn.utils.skip_init(nn.Linear, 48, 80)  # type: ignore[no-untyped-call]
    x = torch.linspace(-1, 1, 3 * 48).view(1, 3, 48)
    try:
        with torch.no_grad():
            linear.weight.copy_(torch.linspace(-1, 1, 48 * 80).view(80, 48).roll(7, 1))
            linear.bias.copy_(torch.linspace(-1, 1, 80))
            made, wanted = PackedLinear(linear, "gelu")(x), nn.functional.gelu(linear(x))
    except (AttributeError, RuntimeError, TypeError) as error:
        log.info("float32 products stay with PyTorch's own choice: %s", str(error).splitlines()[0])
        return False
    if not torch.allclose(made, wanted, atol=_PLAUSIBLE_ERROR):
        log.warning("float32 products stay with PyTorch's own choice: oneDNN gave other results")
        return False
    return True
