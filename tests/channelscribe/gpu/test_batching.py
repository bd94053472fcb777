"""How many windows at once: halved when refused, shrunk at once and won back slowly, never above what is wished."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from channelscribe.gpu.batching import PROBE_S, REFUSED_S, BatchControl


def grow(control: BatchControl, now_s: float, wished: int, steps: int) -> tuple[list[int], float]:
    sizes = []
    for _ in range(steps):
        now_s += PROBE_S
        control.roomy(now_s)
        sizes.append(control.most(wished))
    return sizes, now_s


def test_undisturbed_it_is_what_was_wished() -> None:
    control = BatchControl()
    assert [control.most(n) for n in (1, 16, 512)] == [1, 16, 512]
    assert control.most(0) == 1


def test_a_share_counts_at_once_and_is_won_back_in_steps() -> None:
    control = BatchControl()
    control.most(16)
    control.share(0.25, 0.0)
    assert control.most(16) == 4
    control.share(1.0, 10.0)
    assert control.most(16) == 4
    sizes, _ = grow(control, 10.0, 16, 8)
    assert sizes == [6, 8, 10, 12, 14, 16, 16, 16]


def test_growth_has_its_own_pace_however_often_there_is_room() -> None:
    control = BatchControl()
    control.most(16)
    control.share(0.5, 0.0)
    control.share(1.0, 0.0)
    for tenth in range(int(PROBE_S * 10)):
        control.roomy(tenth / 10)
    assert control.most(16) == 8
    control.roomy(PROBE_S)
    assert control.most(16) == 10


def test_a_refused_size_is_halved_and_not_tried_again_for_long() -> None:
    control = BatchControl()
    control.most(32)
    control.refused(32, 0.0)
    assert control.most(32) == 16
    sizes, now_s = grow(control, 0.0, 32, 20)
    assert sizes[:4] == [20, 24, 28, 31] and sizes[-1] == 31
    sizes, _ = grow(control, now_s, 32, int(REFUSED_S / PROBE_S))
    assert sizes[-1] == 32


def test_refused_again_and_again_it_ends_at_one() -> None:
    control = BatchControl()
    size = control.most(64)
    sizes = []
    while size > 1:
        control.refused(size, 0.0)
        size = control.most(64)
        sizes.append(size)
    assert sizes == [32, 16, 8, 4, 2, 1]
    control.refused(1, 0.0)
    assert control.most(64) == 1


EVENTS = st.one_of(
    st.tuples(st.just("share"), st.floats(allow_nan=False)),
    st.tuples(st.just("refused"), st.integers(0, 600)),
    st.tuples(st.just("roomy"), st.none()),
)


@given(st.lists(st.tuples(EVENTS, st.integers(-3, 600), st.floats(0, 100)), max_size=60))
def test_whatever_happens_the_answer_lies_between_one_and_what_was_wished(
    story: list[tuple[tuple[str, float | int | None], int, float]],
) -> None:
    control, now_s = BatchControl(), 0.0
    for (what, value), wished, passed_s in story:
        now_s += passed_s
        arguments = (now_s,) if value is None else (value, now_s)
        getattr(control, what)(*arguments)
        assert 1 <= control.most(wished) <= max(1, wished)
