"""What the ceilings are on this GPU or that: the table of docs/guard.md, the whole guard through the driver's stand-in,
and a GPU that works at its own power limit for hours."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pynvml
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channelscribe.core.gpu import Cause, GpuSample, Load, Reading, Zone
from channelscribe.core.guard import GIB, GuardPolicy
from channelscribe.gpu.cards import list_cards, visible
from channelscribe.gpu.ceilings import Figures, Limits, figures, resolve
from channelscribe.gpu.closed import Moment, run_closed
from channelscribe.gpu.gate import GuardGate
from channelscribe.gpu.guard import Guard
from channelscribe.gpu.nvml import Nvml
from channelscribe.gpu.policy import decide, start
from channelscribe.gpu.reader import NvmlReader
from channelscribe.gpu.reference import ours
from channelscribe.gpu.scenarios import SCENARIOS
from tests.channelscribe.gpu.bench import START, StepClock
from tests.emulators.nvml import FakeCard, FakeDriver, FakeProcess, installed

MIB = 1 << 20
PAGE = Path(__file__).resolve().parents[3] / "docs" / "guard.md"
WORK = Load("decode", 16, 40, 8, 1.0, 0.0, 0.3)


@dataclass(frozen=True)
class Gpu:
    """A GPU by what it reports, and the figures that nobody has to name on it."""

    name: str
    mib: int
    limit_w: int
    budget_gib: float
    collect_gib: float

    @property
    def limits(self) -> Limits:
        return Limits(float(self.limit_w), float(self.limit_w), float(self.mib * MIB))

    def sample(self, monotonic_s: float = 0.0, **said: Any) -> GpuSample:
        told: dict[str, Any] = {"temp_c": 60.0, "slowdown_c": 90.0, "power_w": 0.6 * self.limit_w, "throttle_mask": 0}
        told |= {"limit_w": float(self.limit_w), "limit_default_w": float(self.limit_w)}
        told |= {"mem_total_bytes": self.mib * MIB, "mem_used_bytes": self.mib * MIB // 3}
        return GpuSample("GPU-1", self.name, START, monotonic_s, **(told | said))


RTX_4090 = Gpu("RTX 4090", 24_564, 450, 22.0, 18.0)
H100 = Gpu("H100 SXM", 81_559, 700, 73.0, 59.7)
TABLE = [
    RTX_4090,
    Gpu("RTX 3090", 24_576, 350, 22.0, 18.0),
    Gpu("L4", 23_034, 72, 20.6, 16.9),
    Gpu("A10", 23_028, 150, 20.6, 16.9),
    Gpu("L40S", 46_068, 350, 41.2, 33.7),
    Gpu("A100 80 GB SXM", 81_920, 400, 73.3, 60.0),
    H100,
    Gpu("H200 SXM", 143_771, 700, 128.7, 105.3),
    Gpu("RTX 3060 12 GB", 12_288, 170, 11.0, 9.0),
]


@pytest.mark.parametrize("gpu", TABLE, ids=lambda gpu: gpu.name)
def test_what_nobody_names_follows_from_the_gpu_as_the_page_says(gpu: Gpu) -> None:
    known = resolve(GuardPolicy(), gpu.limits)
    assert (known.temp_c, known.power_w) == (75, gpu.limit_w)
    assert (known.vram_budget_gib, known.collect_above_gib) == (gpu.budget_gib, gpu.collect_gib)
    row = f"| {gpu.name} | {gpu.mib:,} | {gpu.limit_w} | 75 | {gpu.limit_w} | {gpu.budget_gib} | {gpu.collect_gib} |"
    assert row in PAGE.read_text(encoding="utf-8")


def test_the_page_has_no_gpu_that_is_not_worked_out_here() -> None:
    rows = re.findall(r"^\| ([^|]+) \| [\d,]+ \|.*\|$", PAGE.read_text(encoding="utf-8"), re.M)
    assert {row for row in rows if not row.startswith("laptop")} == {gpu.name for gpu in TABLE}


def test_a_laptops_limit_moves_and_its_highest_counts() -> None:
    limits = Limits()
    for watts in (80.0, 115.0, 95.0):
        limits = limits.told(GpuSample("GPU-1", "Laptop", START, 0.0, limit_w=watts, mem_total_bytes=8188 * MIB))
    known = resolve(GuardPolicy(), limits)
    assert (known.power_w, known.vram_budget_gib, known.collect_above_gib) == (115, 7.3, 6.0)


def test_a_gpu_that_says_nothing_gets_the_figures_of_the_one_they_come_from() -> None:
    known = resolve(GuardPolicy(), Limits())
    assert (known.temp_c, known.power_w, known.vram_budget_gib, known.collect_above_gib) == (75, 450, 22, 18)
    assert resolve(GuardPolicy(vram_budget_gib=40), Limits()).vram_budget_gib == 40, "nothing is known against it"
    small = resolve(GuardPolicy(), Limits(total_bytes=6144.0 * MIB))
    assert (small.power_w, small.vram_budget_gib, small.collect_above_gib) == (450, 5.5, 4.5)


def test_a_limit_that_its_owner_raised_is_still_held_to_the_default_and_a_lowered_one_counts() -> None:
    raised, lowered = RTX_4090.sample(limit_w=600.0), RTX_4090.sample(limit_w=300.0)
    assert figures(GuardPolicy(), Limits(), raised).power_w == 450
    assert figures(GuardPolicy(), Limits(), lowered).power_w == 300


def test_the_figures_shown_are_bounded_by_the_gpu() -> None:
    policy = GuardPolicy(temp_c=90, power_w=900, vram_budget_gib=500, collect_above_gib=400)
    assert figures(policy, Limits(), H100.sample()) == Figures(82, 700, 73.0, 73.0)
    assert str(figures(GuardPolicy(), Limits(), H100.sample())) == (
        "75 °C, 700 W, 73 GiB of memory, unused memory given back above 59.7 GiB"
    )


TOLD = st.one_of(st.none(), st.floats(), st.integers(-1, 10**13), st.just("much"))
NAMED = st.fixed_dictionaries(
    {
        "power_w": st.one_of(st.just(0.0), st.floats(10, 2000)),
        "vram_budget_gib": st.one_of(st.just(0.0), st.floats(0.5, 1024)),
    }
)


@settings(max_examples=200, deadline=None)
@given(NAMED, st.lists(st.tuples(TOLD, TOLD, TOLD), max_size=4))
def test_whatever_a_driver_says_the_figures_are_whole_and_never_above_what_is_named(
    named: dict[str, float], said: list[tuple[Any, Any, Any]]
) -> None:
    policy, limits = GuardPolicy(**named), Limits()
    for default, enforced, total in said:
        sample = GpuSample("GPU-1", "GPU", START, 0.0, limit_default_w=default, limit_w=enforced, mem_total_bytes=total)
        limits = limits.told(sample)
    known = resolve(policy, limits)
    assert known.power_w > 0 and 0 < known.collect_above_gib <= known.vram_budget_gib
    assert known.power_w == (policy.power_w or known.power_w)
    assert known.vram_budget_gib <= (policy.vram_budget_gib or known.vram_budget_gib)
    if limits.total_bytes is not None and limits.total_bytes > GIB:
        assert known.vram_budget_gib <= 22 / 24 * limits.total_bytes / GIB + 0.05
    assert resolve(known, limits) == known, "what is resolved stays"
    GuardPolicy.model_validate(known.model_dump())


def play(policy: GuardPolicy, samples: list[GpuSample], every_s: float = 1.0) -> list[Reading]:
    state, readings = start(), []
    for i, sample in enumerate(samples, 1):
        moved = replace(sample, monotonic_s=i * every_s, temp_c=(sample.temp_c or 0.0) + i % 2)
        state, decision = decide(policy, state, moved, WORK)
        readings.append(Reading("run-1", moved, WORK, decision))
    return readings


def zones(readings: list[Reading]) -> set[Zone]:
    return {r.decision.zone for r in readings}


def test_on_an_rtx_4090_what_is_not_named_is_what_was_always_meant() -> None:
    """The numbers of before, named, and nothing named: the same decision at every sample of a rough half hour."""
    before = GuardPolicy(power_w=450, vram_budget_gib=22, collect_above_gib=18)
    rough = [
        RTX_4090.sample(
            temp_c=58.0 + 9 * (i // 200) % 19,
            power_w=300.0 + (i * 37) % 190,
            limit_w=600.0 if i > 900 else 450.0,
            torch_reserved_bytes=(14 + (i // 60) % 9) * GIB,
        )
        for i in range(1800)
    ]
    named, unnamed = play(before, rough), play(GuardPolicy(), rough)
    assert [r.decision for r in named] == [r.decision for r in unnamed]
    assert {Zone.RUN, Zone.SLOW, Zone.PAUSE} <= zones(unnamed)
    assert any(r.decision.collect for r in unnamed)


def test_watts_about_the_own_limit_pause_nothing_and_five_percent_over_it_do() -> None:
    spiky = [H100.sample(power_w=700.0 + (-30, 45, -12, 9)[i % 4], throttle_mask=4) for i in range(3600)]
    assert zones(play(GuardPolicy(), spiky)) == {Zone.RUN}
    mean = [H100.sample(power_w=(1100.0, 300.0)[i // 30 % 2], power_average_w=703.0) for i in range(600)]
    assert zones(play(GuardPolicy(), mean)) == {Zone.RUN}, "the mean of a second, where the GPU gives one"
    beyond = play(GuardPolicy(), [H100.sample(power_w=745.0)] * 120)
    assert (beyond[-1].decision.zone, beyond[-1].decision.cause) == (Zone.PAUSE, Cause.POWER)


@pytest.mark.parametrize("every_s", [1.0, 10.0, 25.0])
def test_the_way_up_to_the_own_limit_pauses_nothing_however_seldom_it_is_read(every_s: float) -> None:
    idle, full = H100.sample(power_w=70.0), H100.sample(power_w=705.0, throttle_mask=4)
    assert zones(play(GuardPolicy(), [*[idle] * 40, *[full] * 40] * 3, every_s)) == {Zone.RUN}


def test_a_limit_that_is_lowered_pauses_nothing_if_the_gpu_follows() -> None:
    low = H100.sample(power_w=402.0, limit_w=400.0, throttle_mask=4)
    full = H100.sample(power_w=702.0, throttle_mask=4)
    assert zones(play(GuardPolicy(), [*[full] * 60, *[low] * 60, *[full] * 60])) == {Zone.RUN}
    deaf = play(GuardPolicy(), [*[full] * 60, *[replace(full, limit_w=400.0)] * 60])
    assert (deaf[-1].decision.zone, deaf[-1].decision.cause) == (Zone.PAUSE, Cause.POWER)
    laptop = [replace(full, limit_default_w=None, power_w=w, limit_w=w) for w in (80.0, 115.0)]
    assert zones(play(GuardPolicy(), [laptop[i // 20 % 2] for i in range(600)])) == {Zone.RUN}


def test_a_named_ceiling_under_the_own_limit_pauses_as_ever() -> None:
    held = play(GuardPolicy(power_w=450), [H100.sample(power_w=700.0)] * 60)
    assert (held[-1].decision.zone, held[-1].decision.limit) == (Zone.PAUSE, 450)


def test_what_a_sample_leaves_out_stays_known() -> None:
    full = H100.sample(power_w=702.0, torch_reserved_bytes=50 * GIB)
    dumb = replace(full, limit_w=None, limit_default_w=None, mem_total_bytes=None)
    readings = play(GuardPolicy(), [*[full] * 40, *[dumb] * 40])
    assert zones(readings) == {Zone.RUN}
    assert not any(r.decision.collect for r in readings)


def test_a_gpu_that_tells_only_its_default_limit_works_at_it() -> None:
    quiet = [H100.sample(power_w=705.0, limit_w=None, throttle_mask=4)] * 120
    assert zones(play(GuardPolicy(), quiet)) == {Zone.RUN}


def test_a_limit_that_the_guard_has_set_itself_is_no_ceiling() -> None:
    """Here the GPU tells the lower limit and draws more: slow to follow is no reason for a pause for power."""
    policy, state, asked = GuardPolicy(power_cap=True), start(), set()
    for i in range(1, 300):
        limit_w = state.caps.asked_w or 700.0
        sample = H100.sample(
            power_w=690.0, limit_w=limit_w, limit_min_w=200.0, temp_c=74.0 + i % 2 / 2, monotonic_s=float(i)
        )
        state, decision = decide(policy, state, sample, WORK)
        asked.add(decision.cap_w)
        assert decision.cause is not Cause.POWER, decision.reason
    assert any(watts is not None and watts < 600 for watts in asked)


def simulated(name: str, policy: GuardPolicy) -> list[Moment]:
    return list(run_closed(SCENARIOS[name], ours(policy), policy))


def test_three_hours_at_the_own_limit_are_never_slowed_or_paused() -> None:
    moments = simulated("server", GuardPolicy())
    assert {(m.decision.zone, m.decision.cause) for m in moments} == {(Zone.RUN, Cause.NONE)}
    drawn = [m.reading.sample.power_w or 0.0 for m in moments[-7200:] if m.reading is not None]
    assert sum(drawn) / len(drawn) > 700, "it works at its limit, and a little over it"
    assert sum(m.work for m in moments) > 0
    short, before = replace(SCENARIOS["server"], duration_s=600.0), GuardPolicy(power_w=450)
    causes = {(m.decision.zone, m.decision.cause) for m in run_closed(short, ours(before), before)}
    assert (Zone.PAUSE, Cause.POWER) in causes, "the ceiling of another GPU would"


@pytest.mark.parametrize("cap", [False, True])
def test_its_temperature_ceiling_pauses_it_as_any_other(cap: bool) -> None:
    moments = simulated("server-hot", GuardPolicy(power_cap=cap))
    causes = {(m.decision.zone, m.decision.cause) for m in moments}
    assert (Zone.PAUSE, Cause.TEMPERATURE) in causes
    assert not [zone for zone, cause in causes if cause is Cause.POWER]
    assert max(m.temp_c - m.ceiling_c for m in moments) <= moments[-1].heating_c
    assert all(m.decision.zone is Zone.RUN for m in moments if m.at_s < 2400 or m.at_s > 4200)


GPUS = [RTX_4090, TABLE[4], H100, TABLE[7]]


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.name)
def test_the_whole_guard_reads_the_driver_and_lets_a_full_gpu_work_until_it_is_hot(
    gpu: Gpu, caplog: pytest.LogCaptureFixture
) -> None:
    milliwatts = gpu.limit_w * 1000
    own = FakeProcess(7, int((gpu.collect_gib - 1) * GIB))
    card = FakeCard(
        name=gpu.name, total=gpu.mib * MIB, used=own.used_bytes or 0, limit_mw=milliwatts, default_mw=milliwatts,
        constraints_mw=(milliwatts // 4, milliwatts), throttle=4, processes=[own],
        fields={
            "NVML_FI_DEV_POWER_INSTANT": ("", pynvml.NVML_VALUE_TYPE_UNSIGNED_INT, milliwatts + 9000),
            "NVML_FI_DEV_POWER_AVERAGE": ("", pynvml.NVML_VALUE_TYPE_UNSIGNED_INT, milliwatts + 3000),
        },
    )  # fmt: skip
    clock, readings = StepClock(), list[Reading]()
    with installed(FakeDriver([card])), caplog.at_level(logging.INFO):
        nvml = Nvml()
        (seen,) = visible(list_cards(nvml), {})
        reader = NvmlReader(nvml, seen, 0, clock=clock, whose=lambda pid: pid == own.pid)
        guard = Guard(reader, GuardPolicy(), GuardGate(clock), clock=clock, on_reading=readings.append)

        def pass_s(seconds: int) -> list[Reading]:
            for second in range(seconds):
                card.temp_c = min(max(card.temp_c, 61 + second % 2), 62) if card.temp_c < 70 else card.temp_c
                clock.sleep(1.0)
                guard.tick()
            return readings[-seconds:]

        assert guard.policy.power_w == 450, "before the first sample nothing is known"
        assert {(r.decision.zone, r.decision.collect) for r in pass_s(300)} == {(Zone.RUN, False)}
        known = guard.policy
        assert (known.power_w, known.vram_budget_gib) == (gpu.limit_w, gpu.budget_gib)
        assert f"the guard holds {gpu.name} to 75 °C, {gpu.limit_w} W, {gpu.budget_gib:g} GiB" in caplog.text

        own.used_bytes = card.used = int((gpu.collect_gib + 0.5) * GIB)
        assert pass_s(10)[-1].decision.collect, "above the collection mark"
        own.used_bytes = card.used = int((gpu.budget_gib + 0.5) * GIB)
        over = pass_s(10)[-1].decision
        assert (over.zone, over.cause) == (Zone.SLOW, Cause.MEMORY)
        own.used_bytes = card.used = GIB
        card.temp_c, card.margin_c = 76, 14
        hot = pass_s(10)[-1].decision
        assert (hot.zone, hot.cause, hot.limit) == (Zone.PAUSE, Cause.TEMPERATURE, 75)
        guard.stop()
