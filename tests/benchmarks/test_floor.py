"""The computed floor is the one of the research page, and behaves as a floor must."""

from __future__ import annotations

import pytest

from benchmarks.clocked import ARCHITECTURES
from benchmarks.floor import CARDS, floor_rtfx, floor_s, work_of

# research/asr.md, section 3, "Physical limit": 120 tokens a window, by batch.
BATCHES = (1, 8, 32, 128, 256, 512)
PAGE = {
    ("H200", "turbo"): (2327, 6030, 7269, 7663, 7733, 7768),
    ("H200", "large-v3"): (532, 1837, 2492, 2736, 2782, 2805),
    ("RTX 4090", "turbo"): (531, 1319, 1568, 1646, 1659, 1666),
    ("RTX 4090", "large-v3"): (124, 420, 565, 619, 629, 634),
    ("L4", "turbo"): (185, 619, 826, 902, 916, 923),
    ("L4", "large-v3"): (38, 144, 204, 228, 233, 235),
}


@pytest.mark.parametrize(("card", "arch"), PAGE, ids=lambda name: name)
def test_the_floor_is_the_pages(card: str, arch: str) -> None:
    found = [round(floor_rtfx(arch, CARDS[card], tokens=120, batch=batch)) for batch in BATCHES]
    assert found == list(PAGE[card, arch])


def test_the_work_of_a_window_is_the_pages() -> None:
    large, turbo = work_of("large-v3"), work_of("turbo")
    assert large.encoder_flop == pytest.approx(2.274e12, rel=1e-3)
    assert large.attention_flop == pytest.approx(0.369e12, rel=2e-3)
    assert (large.cross_flop, turbo.cross_flop) == pytest.approx((0.315e12, 0.039e12), rel=1e-2)
    assert (2 * large.cross_read, 2 * turbo.cross_read) == pytest.approx((245.8e6, 30.7e6), rel=1e-2)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_more_tokens_cost_more_and_larger_batches_less(arch: str) -> None:
    for rates in CARDS.values():
        times = [floor_s(arch, rates, tokens=tokens, batch=32) for tokens in (1, 60, 214)]
        assert times == sorted(times)
        assert floor_s(arch, rates, tokens=60, batch=64) < floor_s(arch, rates, tokens=60, batch=1)
