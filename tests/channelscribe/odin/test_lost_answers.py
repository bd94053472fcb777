"""Lost, late, broken and repeated answers: nothing is stored twice, and every failure has its class."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from email.utils import format_datetime

import pytest

from channelscribe.core.errors import EnvironmentFailure, Throttled, Transient
from channelscribe.odin.client import OdinClient
from channelscribe.odin.config import OdinConfig
from tests.channelscribe.odin.conftest import MakeClient
from tests.channelscribe.odin.parts import START, VirtualClock, Work, make_work
from tests.emulators.odin import OdinEmulator

ADD = "/add/file"


@pytest.mark.parametrize("cut", ["after", "during"])
def test_an_answer_lost_after_storing_does_not_store_twice(
    odin: OdinEmulator, client: OdinClient, work: Work, cut: str
) -> None:
    odin.faults.add(path=ADD, cut=cut)
    published = work.publish(client)
    assert published.sent
    assert published.upload.verified_at is not None
    assert odin.sends() == odin.uploads(work.key) == 1


def test_a_replacement_whose_answer_is_lost_is_not_sent_twice(
    odin: OdinEmulator, client: OdinClient, work: Work
) -> None:
    known = work.publish(client).upload
    odin.faults.add(path=ADD, cut="after")
    changed = work.saying("[00:00 - 00:01] changed\n")
    assert changed.publish(client, known=known).sent
    assert odin.documents[work.key].content == changed.content
    assert odin.uploads(work.key) == 2


def test_a_replacement_lost_before_storing_is_sent_again(odin: OdinEmulator, client: OdinClient, work: Work) -> None:
    known = work.publish(client).upload
    odin.faults.add(path=ADD, cut="before")
    changed = work.saying("[00:00 - 00:01] changed\n")
    assert changed.publish(client, known=known).sent
    assert odin.documents[work.key].content == changed.content
    assert odin.uploads(work.key) == 2


def test_the_last_try_is_looked_after_too(odin: OdinEmulator, make_client: MakeClient, work: Work) -> None:
    odin.faults.add(path=ADD, cut="after", times=-1)
    assert work.publish(make_client(max_retries=0)).sent
    assert odin.sends() == odin.uploads(work.key) == 1


def test_a_connection_cut_before_storing_is_tried_again(odin: OdinEmulator, client: OdinClient, work: Work) -> None:
    odin.faults.add(path=ADD, cut="before", times=2)
    assert work.publish(client).sent
    assert (odin.sends(), odin.uploads(work.key)) == (3, 1)


def test_a_look_that_fails_too_shares_the_tries_of_the_upload(
    odin: OdinEmulator, client: OdinClient, work: Work
) -> None:
    odin.faults.add(path=ADD, cut="after")
    odin.faults.add(path="/knowledgebase", cut="before", times=2, skip=1)
    assert work.publish(client).sent
    assert odin.sends() == odin.uploads(work.key) == 1


@pytest.mark.parametrize("status", [408, 425, 500, 502, 503, 504, 599])
@pytest.mark.parametrize(
    "body", [None, "<html><body>Bad gateway</body></html>", {"detail": "later"}, '{"status": "que']
)
def test_trouble_at_the_other_end_passes(
    odin: OdinEmulator, client: OdinClient, work: Work, status: int, body: str | dict[str, str] | None
) -> None:
    for path in (ADD, "/knowledgebase", "/status", "/chunks"):
        odin.faults.add(path=path, status=status, body=body, times=2)
    assert work.publish(client).upload.status == "synced"
    assert odin.uploads(work.key) == 1


@pytest.mark.parametrize("body", ["", "{", "[]", "null", "<html>login</html>", '"text"', "[" * 100_000])
def test_a_success_that_cannot_be_read_is_looked_after(
    odin: OdinEmulator, client: OdinClient, work: Work, body: str
) -> None:
    odin.faults.add(path=ADD, status=200, body=body)
    odin.faults.add(path="/chunks", status=200, body=body)
    assert work.publish(client).upload.chunks == 1
    assert odin.uploads(work.key) == 1


@pytest.mark.parametrize(("status", "kind"), [(429, Throttled), (500, Transient), (408, Transient)])
def test_trouble_that_stays_ends_after_bounded_tries(
    odin: OdinEmulator, client: OdinClient, work: Work, status: int, kind: type[Exception]
) -> None:
    odin.faults.add(path=ADD, status=status, times=-1)
    with pytest.raises(kind) as caught:
        work.publish(client)
    assert type(caught.value) is kind
    assert str(status) in str(caught.value)
    assert odin.sends() == client.config.max_retries + 1


def test_pauses_grow_and_differ(odin: OdinEmulator, client: OdinClient, work: Work, clock: VirtualClock) -> None:
    odin.faults.add(path="/knowledgebase", status=503, times=-1)
    with pytest.raises(Transient):
        client.find(work.key)
    assert len(clock.sleeps) == client.config.max_retries
    for index, pause_s in enumerate(clock.sleeps):
        assert 0.5 * 2**index <= pause_s <= 2**index


def test_retry_after_in_seconds_is_obeyed(
    odin: OdinEmulator, client: OdinClient, work: Work, clock: VirtualClock
) -> None:
    odin.faults.throttle("17", path="/knowledgebase")
    work.publish(client)
    assert max(clock.sleeps) >= 17.0
    assert odin.uploads() == 1


def test_a_throttled_upload_was_not_stored_and_is_not_looked_for(
    odin: OdinEmulator, client: OdinClient, work: Work
) -> None:
    odin.faults.throttle("1", path=ADD, times=3)
    client.add(work.key, work.content, {"sha256": "1"}, force=False)
    assert [(r.method, r.status) for r in odin.log] == [("POST", 429)] * 3 + [("POST", 200)]


def test_retry_after_as_a_date_is_obeyed(
    odin: OdinEmulator, client: OdinClient, work: Work, clock: VirtualClock
) -> None:
    odin.faults.throttle(format_datetime(START + timedelta(seconds=40), usegmt=True), path="/knowledgebase")
    work.publish(client)
    assert max(clock.sleeps) >= 39.0


@pytest.mark.parametrize("value", ["soon", "-5", "nan", "1e9", "", "Mon, 99 Foo 2026", "٣"])
def test_a_retry_after_that_nobody_can_read_is_no_obstacle(
    odin: OdinEmulator, client: OdinClient, work: Work, value: str
) -> None:
    odin.faults.add(path=ADD, status=503, headers={"Retry-After": value.encode().decode("latin-1")})
    assert work.publish(client).sent


def test_a_long_retry_after_ends_the_tries_at_once_and_names_the_moment(
    odin: OdinEmulator, client: OdinClient, work: Work, clock: VirtualClock
) -> None:
    odin.faults.throttle("7200", path=ADD, times=-1)
    with pytest.raises(Throttled) as caught:
        work.publish(client)
    assert caught.value.retry_after == START + timedelta(seconds=7200 + clock.monotonic())
    assert odin.sends() == 1
    assert clock.monotonic() < 60


class FrozenClock(VirtualClock):
    """Time stands still, so that a pause stays in force however long one thread slept."""

    def monotonic(self) -> float:
        return 0.0


def test_a_pause_that_one_thread_is_told_holds_for_all(odin: OdinEmulator) -> None:
    clock = FrozenClock()
    key, secret = odin.credentials
    odin.faults.throttle("30", path="/knowledgebase")
    with OdinClient(OdinConfig(key, secret, odin.project_id, odin.base_url), clock=clock) as client:
        client.find("one.txt")
        clock.sleeps.clear()
        with ThreadPoolExecutor(1) as other:
            other.submit(client.find, "two.txt").result()
    assert clock.sleeps
    assert clock.sleeps[0] >= 30.0


def test_a_refused_connection_is_transient_and_names_the_setting(
    odin: OdinEmulator, client: OdinClient, work: Work
) -> None:
    odin.stop()
    with pytest.raises(Transient, match="ODIN_BASE_URL") as caught:
        work.publish(client)
    assert caught.value.code == "odin_connection"


def test_a_host_that_restarts_between_two_uploads_is_met_again(odin: OdinEmulator, client: OdinClient) -> None:
    one, two = make_work("aaaaaaaaaaa"), make_work("bbbbbbbbbbb")
    one.publish(client)
    odin.stop()
    odin.start()
    two.publish(client)
    assert odin.uploads() == 2


class HurryingClock(VirtualClock):
    """Each look at the clock finds it 5 s later, so that an answer in many pieces takes too long on any machine."""

    def monotonic(self) -> float:
        self.sleep(5.0)
        return super().monotonic()


def test_a_trickling_answer_to_an_upload_is_looked_after(work: Work) -> None:
    with OdinEmulator(processing_s=0.0) as odin:
        odin.faults.add(path=ADD, slow_body_s=0.01)
        key, secret = odin.credentials
        with OdinClient(OdinConfig(key, secret, odin.project_id, odin.base_url), clock=HurryingClock()) as client:
            assert work.publish(client).sent
        assert odin.sends() == odin.uploads(work.key) == 1


def test_a_trickling_answer_cannot_hold_the_thread(odin: OdinEmulator) -> None:
    odin.faults.add(path="/project/", slow_body_s=0.05, times=-1)
    key, secret = odin.credentials
    config = OdinConfig(key, secret, odin.project_id, odin.base_url, read_timeout_s=0.3, max_retries=0)
    with OdinClient(config) as client, pytest.raises(Transient) as caught:
        client.check()
    assert caught.value.code == "odin_timeout"


def test_silence_on_the_line_times_out(odin: OdinEmulator, make_client: MakeClient) -> None:
    odin.faults.add(path="/project/", delay_s=1.0, times=-1)
    with pytest.raises(Transient) as caught:
        make_client(read_timeout_s=0.1, max_retries=1).check()
    assert caught.value.code == "odin_timeout"


def test_a_huge_answer_is_not_read_to_its_end(odin: OdinEmulator, make_client: MakeClient, work: Work) -> None:
    odin.faults.add(path="/knowledgebase", status=200, body_bytes=3_000_000, times=-1)
    with pytest.raises(Transient, match="too large"):
        make_client(max_answer_bytes=1_000_000, max_retries=1).find(work.key)


def test_a_huge_answer_to_an_upload_is_looked_after(odin: OdinEmulator, make_client: MakeClient, work: Work) -> None:
    client = make_client(max_answer_bytes=100_000)
    client.add(work.key, work.content, {"sha256": "0"}, force=False)
    odin.faults.add(path=ADD, status=200, body_bytes=3_000_000)
    assert work.publish(client).sent
    assert odin.documents[work.key].content == work.content


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_keys_never_follow_a_redirect_to_another_host(
    odin: OdinEmulator, client: OdinClient, work: Work, status: int
) -> None:
    with OdinEmulator() as stranger:
        headers = {"Location": f"{stranger.base_url}/project/{odin.project_id}"}
        odin.faults.add(status=status, headers=headers, times=-1)
        for action in (client.check, lambda: work.publish(client)):
            with pytest.raises(EnvironmentFailure, match="ODIN_BASE_URL") as caught:
                action()
            assert caught.value.code == "odin_redirect"
        assert stranger.log == []


@pytest.mark.parametrize("location", ["", "http://[bad", "https://host:99999999/x", "//", "\x07", "ftp://x/y"])
def test_a_redirect_to_nowhere_is_a_clear_failure(odin: OdinEmulator, client: OdinClient, location: str) -> None:
    odin.faults.add(status=302, headers={"Location": location}, times=-1)
    with pytest.raises(EnvironmentFailure, match="ODIN_BASE_URL"):
        client.check()


def test_a_redirect_on_the_same_host_keeps_method_and_body(odin: OdinEmulator, client: OdinClient, work: Work) -> None:
    odin.faults.add(path=f"/project/{odin.project_id}/document/chunks", status=307, headers={"Location": "chunks/"})
    odin.faults.add(path="/chunks/", status=308, headers={"Location": f"/project/{odin.project_id}/document/chunks"})
    assert work.publish(client).upload.chunks == 1


def test_redirects_in_circles_end(odin: OdinEmulator, client: OdinClient) -> None:
    odin.faults.add(status=307, headers={"Location": "/a"}, times=-1)
    with pytest.raises(EnvironmentFailure):
        client.check()
    assert len(odin.log) <= 5


_PUBLISH = """
import sys
from channelscribe.core.settings import Settings
from channelscribe.odin.client import OdinClient
from channelscribe.odin.config import OdinConfig
from tests.channelscribe.odin.parts import make_work
make_work().publish(OdinClient(OdinConfig.from_settings(Settings(_env_file=None), poll_s=0.05)))
"""


def test_a_kill_between_sending_and_recording_does_not_send_again() -> None:
    with OdinEmulator(processing_s=3600.0) as odin:
        process = subprocess.Popen([sys.executable, "-c", _PUBLISH], env={**os.environ, **odin.environment()})
        try:
            deadline_s = time.monotonic() + 60
            while not odin.uploads() and time.monotonic() < deadline_s and process.poll() is None:
                time.sleep(0.01)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert odin.uploads() == 1
        key, secret = odin.credentials
        config = OdinConfig(key, secret, odin.project_id, odin.base_url, verify_timeout_s=1.0)
        with OdinClient(config, clock=VirtualClock()) as client, pytest.raises(Transient) as caught:
            make_work().publish(client)
        assert caught.value.code == "odin_unfinished"
        assert odin.sends() == odin.uploads() == 1
