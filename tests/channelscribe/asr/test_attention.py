"""The encoder's attention through oneDNN says what PyTorch's own says, for each row as if it were alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from channelscribe.asr.attention import attend
from tests.channelscribe.asr.models import SHIPPED, loaded

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")
MODULE = torch.nn.Identity()


def drawn(rows: int, heads: int, frames: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    chance = torch.Generator().manual_seed(frames + width)
    query, key, value = (torch.randn(rows, heads, frames, width, generator=chance) for _ in range(3))
    return query * width**-0.5, key, value


@pytest.mark.parametrize("shape", [(1, 1, 1, 8), (2, 3, 249, 16), (3, 2, 251, 64), (2, 6, 1500, 64), (1, 2, 400, 24)])
def test_it_says_what_pytorch_says(shape: tuple[int, int, int, int]) -> None:
    query, key, value = drawn(*shape)
    made, weights = attend(MODULE, query, key, value, None)
    wanted = scaled_dot_product_attention(query, key, value, scale=1.0).transpose(1, 2)
    assert weights is None and made.shape == wanted.shape and made.is_contiguous()
    assert torch.allclose(made, wanted, atol=1e-5, rtol=1e-5)


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    query, key, value = drawn(4, 6, 1500, 64)
    together = attend(MODULE, query, key, value, None)[0]
    for row in (0, 3):
        only = slice(row, row + 1)
        assert torch.equal(attend(MODULE, query[only], key[only], value[only], None)[0][0], together[row])


def test_a_mask_is_refused() -> None:
    query, key, value = drawn(1, 1, 8, 8)
    with pytest.raises(ValueError, match="mask"):
        attend(MODULE, query, key, value, torch.zeros(1, 1, 8, 8))


def test_only_the_encoder_of_a_loaded_model_attends_so() -> None:
    model = loaded(SHIPPED).model
    ways = {layer.self_attn.config._attn_implementation for layer in model.model.encoder.layers}
    others = {layer.self_attn.config._attn_implementation for layer in model.model.decoder.layers}
    assert ways == {"channelscribe_packed"} and not others & ways
