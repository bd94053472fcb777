"""The picture of a card: sound XML of bounded size that keeps peaks and pauses, whatever the readings are."""

from __future__ import annotations

import base64
import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channelscribe.core.curve import Ceilings, Moment, moment
from channelscribe.core.gpu import Cause, Zone
from channelscribe.export.curves import Track
from channelscribe.export.gpu_chart import data_uri, gpu_chart
from tests.channelscribe.cards import BEGIN, recorded

LIMITS = Ceilings(75.0, 450.0, 22 << 30)
MOST_BYTES = 60_000


def night(count: int, step_s: float = 1.0) -> list[Moment]:
    return [
        Moment(
            BEGIN + timedelta(seconds=n * step_s),
            "GPU-a",
            n * step_s,
            temp_c=60.0 + 12 * math.sin(n / 900) + (n * 7919 % 5),
            mem_temp_c=80.0,
            slowdown_c=88.0,
            power_w=250.0 + (n * 104_729 % 180),
            limit_w=450.0,
            util_gpu_percent=float(n % 100),
            mem_used_bytes=(9 << 30) + n * 1_000_003 % (1 << 33),
            mem_total_bytes=24 << 30,
            busy_share=(n % 10) / 10,
            zone=(Zone.RUN, Zone.SLOW, Zone.PAUSE)[n // 37 % 3],
            cause=Cause.TEMPERATURE,
        )
        for n in range(count)
    ]


def texts(svg: str) -> str:
    return " | ".join(ET.fromstring(svg).itertext())


@pytest.mark.parametrize("count", [0, 1, 2, 599, 100_000])
def test_any_length_gives_a_picture_of_bounded_size(count: int) -> None:
    svg = gpu_chart(night(count), LIMITS, title="A card")
    assert len(svg.encode()) < MOST_BYTES
    words = texts(svg)
    assert ("No reading of a card was taken." in words) == (count == 0)
    assert ("Temperature" in words) == (count > 0)


def test_every_number_in_it_is_inside_it() -> None:
    root = ET.fromstring(gpu_chart(night(3000), LIMITS))
    height = float(root.attrib["viewBox"].split()[3])
    for element in root.iter():
        path = element.attrib.get("d", "")
        for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path):
            assert 0 <= float(x) <= 960
            assert 0 <= float(y) <= height
        assert "nan" not in path
        assert "inf" not in path


def test_one_hot_second_in_a_night_is_not_lost() -> None:
    moments = night(10_000)
    moments[3001] = replace(moments[3001], temp_c=97.0)
    assert "Temperature, at most 97 °C" in texts(gpu_chart(moments, LIMITS))


def test_one_second_of_pause_in_a_night_is_seen_with_its_cause() -> None:
    calm = [replace(m, zone=Zone.RUN, cause=Cause.NONE) for m in night(10_000)]
    assert 'class="pause" d=' not in gpu_chart(calm, LIMITS)
    calm[777] = replace(calm[777], zone=Zone.PAUSE, cause=Cause.MEMORY_TEMPERATURE)
    svg = gpu_chart(calm, LIMITS)
    assert svg.count('class="pause" d=') == 1
    assert "memory temperature" in texts(svg)


def test_the_limits_are_drawn_where_they_are_known() -> None:
    words = texts(gpu_chart(night(60), LIMITS))
    for label in ("ceiling 75", "the card's own limit 88", "ceiling 450", "budget 22", "card 24"):
        assert label in words
    assert "ceiling" not in texts(gpu_chart(night(60)))


def test_a_card_that_reports_nothing_says_so() -> None:
    bare = [Moment(BEGIN + timedelta(seconds=n), "GPU-a", float(n)) for n in range(60)]
    assert texts(gpu_chart(bare, LIMITS)).count("not reported by this card") == 3


def test_a_line_is_broken_where_the_run_was_not_there() -> None:
    early, late = night(300), [replace(m, at=m.at + timedelta(hours=8)) for m in night(300)]
    track = Track.of([*early, *late], 300)
    assert track is not None
    line = track.line(lambda m: m.temp_c, -20, 150)
    assert [p.value for p in line].count(None) == 1
    ends = [s.end_s for s in track.stretches() if s.begin_s < 400]
    assert max(ends) < 1000, "a zone does not last through the hours in which nobody looked"


def test_a_title_cannot_break_out_of_the_picture() -> None:
    svg = gpu_chart(night(5), title='</text><script>alert("x")</script>\x00\x1b[0m\ud800 & ' + "x" * 500)
    assert "<script" not in svg
    assert "</svg>" in svg
    ET.fromstring(svg)
    assert base64.b64decode(data_uri(svg).split(",")[1]).decode() == svg


def test_it_can_be_read_on_light_and_on_dark() -> None:
    svg = gpu_chart(night(5))
    assert "prefers-color-scheme:dark" in svg
    assert '<rect class="g" width="100%" height="100%"' in svg, "it brings its own ground"


def test_a_simulated_run() -> None:
    svg = gpu_chart(map(moment, recorded("demo", 60)), LIMITS)
    assert "temperature" in texts(svg)
    assert 'class="pause" d=' in svg


wild = st.none() | st.floats() | st.sampled_from([0.0, -1.0, 1e308, 149.9])


@given(
    st.lists(
        st.builds(
            Moment,
            at=st.integers(0, 10**9).map(lambda s: BEGIN + timedelta(seconds=s)),
            uuid=st.just("a"),
            monotonic_s=st.just(0.0),
            temp_c=wild,
            mem_temp_c=wild,
            slowdown_c=wild,
            power_w=wild,
            limit_w=wild,
            util_gpu_percent=wild,
            mem_used_bytes=st.none() | st.integers(-(2**63), 2**63 - 1),
            mem_total_bytes=st.none() | st.integers(-(2**63), 2**63 - 1),
            busy_share=st.floats(),
            zone=st.sampled_from(Zone),
            cause=st.sampled_from(Cause),
        ),
        max_size=15,
    ),
    st.builds(Ceilings, wild, wild, st.none() | st.integers(-(2**70), 2**70)),
)
@settings(max_examples=80, deadline=None)
def test_hostile_readings_give_a_sound_picture(found: list[Moment], limits: Ceilings) -> None:
    svg = gpu_chart(found, limits)
    root = ET.fromstring(svg)
    drawn = " ".join(e.attrib.get("d", "") for e in root.iter())
    assert not re.search(r"nan|inf|e\+", drawn)
    assert len(svg.encode()) < MOST_BYTES
