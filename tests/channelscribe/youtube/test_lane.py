"""The lane: places, spacing, pauses that double, and closing, on a clock that the test moves by hand."""

from __future__ import annotations

import threading
import time
from itertools import pairwise

import pytest

from channelscribe.core.errors import Blocked, Throttled, Transient
from channelscribe.youtube.lane import Lane
from tests.channelscribe.youtube.clocks import HandClock, JumpClock
from tests.channelscribe.youtube.conftest import quick


def test_no_more_threads_inside_than_places() -> None:
    lane = Lane(quick(max_downloads=3), JumpClock())
    inside, most, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal inside, most
        for _ in range(5):
            with lane.enter():
                with lock:
                    inside += 1
                    most = max(most, inside)
                threading.Event().wait(0.002)
                with lock:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (inside, most, lane.snapshot().active) == (0, 3, 0)


def test_starts_are_spaced() -> None:
    clock = JumpClock()
    lane = Lane(quick(spacing_s=5.0), clock)
    starts = []
    for _ in range(4):
        with lane.enter():
            starts.append(clock.monotonic())
    assert all(later - earlier >= 5.0 for earlier, later in pairwise(starts))


def test_waiting_threads_go_on_when_the_pause_ends_and_not_before() -> None:
    clock = HandClock()
    lane = Lane(quick(max_downloads=4), clock)
    assert lane.pause(reason="HTTP 429") == 900
    entered = threading.Semaphore(0)

    def work() -> None:
        with lane.enter():
            entered.release()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    clock.wait_for_sleepers(4)
    clock.advance(899)
    clock.wait_for_sleepers(4)
    assert not entered.acquire(blocking=False)
    assert lane.snapshot().paused_for_s == 1
    clock.advance(1)
    assert all(entered.acquire(timeout=30) for _ in threads)
    for thread in threads:
        thread.join(30)


def test_the_line_is_served_in_the_order_of_arrival() -> None:
    lane = Lane(quick(max_downloads=1))
    served: list[int] = []
    threads = []

    def work(number: int) -> None:
        with lane.enter():
            served.append(number)

    with lane.enter():
        for number in range(6):
            threads.append(threading.Thread(target=work, args=(number,), daemon=True))
            threads[-1].start()
            while lane.waiting() <= number:
                time.sleep(0.005)
    for thread in threads:
        thread.join(30)
    assert served == list(range(6))


def test_who_gives_up_does_not_hold_up_the_line() -> None:
    lane = Lane(quick(max_downloads=1))
    with lane.enter(), pytest.raises(Transient), lane.enter(lambda: True):
        raise AssertionError("a cancelled wait must not enter")
    assert lane.waiting() == 0
    with lane.enter():
        assert lane.snapshot().active == 1


def test_pauses_double_up_to_the_longest_and_then_the_lane_closes() -> None:
    clock = JumpClock()
    lane = Lane(quick(max_pauses=4), clock)
    lengths = []
    for _ in range(4):
        lengths.append(lane.pause(reason="HTTP 429"))
        with lane.enter():
            pass
    assert lengths == [900, 1800, 3600, 3600]
    with pytest.raises(Throttled) as worn_out:
        lane.pause()
    assert worn_out.value.retry_after and worn_out.value.retry_after > clock.now()
    with pytest.raises(Throttled), lane.enter():
        pass


def test_a_longer_wish_of_youtube_is_honoured() -> None:
    lane = Lane(quick(), JumpClock())
    assert lane.pause(7200) == 7200


def test_refusals_of_requests_in_flight_are_one_pause() -> None:
    lane = Lane(quick(max_pauses=1), JumpClock())
    for _ in range(10):
        lane.pause()
    assert lane.snapshot().pauses == 1 and not lane.snapshot().closed


def test_after_a_calm_hour_counting_begins_anew() -> None:
    clock = JumpClock()
    lane = Lane(quick(max_pauses=2), clock)
    for _ in range(6):
        assert lane.pause() == 900
        clock.sleep(900 + 3600)
    assert not lane.snapshot().closed


def test_a_closed_lane_raises_its_reason_for_those_who_wait_and_those_who_come() -> None:
    clock = HandClock()
    lane = Lane(quick(), clock)
    lane.pause()
    raised: list[BaseException] = []

    def work() -> None:
        try:
            with lane.enter():
                raised.append(AssertionError("entered a closed lane"))
        except Blocked as error:
            raised.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    clock.wait_for_sleepers(1)
    lane.close(Blocked("bot wall", code="bot_check"))
    lane.close(Blocked("a later reason", code="captcha"))
    clock.advance(1)
    thread.join(30)
    with pytest.raises(Blocked) as second, lane.enter():
        pass
    assert [getattr(e, "code", e) for e in (*raised, second.value)] == ["bot_check", "bot_check"]
    assert raised[0] is not second.value


def test_a_cancelled_wait_ends() -> None:
    clock = JumpClock()
    lane = Lane(quick(), clock)
    lane.pause(3600)
    with pytest.raises(Transient) as cancelled, lane.enter(lambda: clock.monotonic() > 5):
        pass
    assert cancelled.value.code == "cancelled" and clock.monotonic() < 3600


def test_an_error_inside_frees_the_place() -> None:
    lane = Lane(quick(max_downloads=1), JumpClock())
    for _ in range(3):
        with pytest.raises(RuntimeError), lane.enter():
            raise RuntimeError
    assert lane.snapshot().active == 0
