"""publish(): a document is stored once, replaced only for another content, and proven to be searchable."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from channelscribe.core.errors import Transient, UsageError
from channelscribe.core.names import file_stem
from channelscribe.odin.client import OdinClient
from channelscribe.odin.config import OdinConfig
from channelscribe.odin.publish import document_key, flat_metadata
from tests.channelscribe.odin.conftest import MakeClient
from tests.channelscribe.odin.parts import START, VirtualClock, Work, make_work
from tests.emulators.odin import OdinEmulator

STATUS, CHUNKS, FETCH = "/knowledge/status", "/document/chunks", "/fetch_documents"
BY_KEY, BY_NAME, LIST = "/knowledgebase", "/search/documents", "{pid}/knowledge"


def test_a_transcript_arrives_whole_and_is_proven_searchable(
    odin: OdinEmulator, client: OdinClient, work: Work
) -> None:
    published = work.publish(client)
    stored = odin.documents[work.key]
    assert published.sent
    assert stored.content == work.content
    assert published.upload.status == "synced"
    assert published.upload.chunks == len(odin.base.chunks(stored)) == 1
    assert published.upload.verified_at is not None
    assert published.upload.sent_at is not None
    assert published.upload.document_key == stored.document_key
    assert published.upload.content_sha256 == stored.sha256 == hashlib.sha256(work.content).hexdigest()


def test_the_metadata_are_the_flat_strings_that_the_seeds_and_we_promise(
    odin: OdinEmulator, make_client: MakeClient
) -> None:
    work = make_work(title='He said "no" \\ {}\nюникод 🦊')
    work.publish(make_client(author="Ann"))
    assert odin.documents[work.key].metadata == {
        "author_name": "Ann", "uploaded_by": "Ann", "added_by": "Ann", "category": "transcript",
        "last_upload": "2026-11-21", "videoId": "a_b-c_d-e_1", "publishedAt": "2026-03-04T05:06:07Z",
        "channelId": "UC0123456789012345678901", "title": 'He said "no" \\ {}\nюникод 🦊',
        "url": "https://www.youtube.com/watch?v=a_b-c_d-e_1", "sha256": hashlib.sha256(work.content).hexdigest(),
        "language": "en", "model": "tiny", "fingerprint": "cd" * 32,
    }  # fmt: skip


def test_publishing_twice_sends_once_and_a_recorded_upload_costs_no_request(
    odin: OdinEmulator, client: OdinClient, work: Work
) -> None:
    first = work.publish(client)
    unrecorded = work.publish(client)
    requests = len(odin.log)
    recorded = work.publish(client, known=first.upload)
    assert len(odin.log) == requests
    assert [first.sent, unrecorded.sent, recorded.sent] == [True, False, False]
    assert recorded.upload == first.upload
    assert replace(unrecorded.upload, sent_at=None, verified_at=None) == replace(
        first.upload, sent_at=None, verified_at=None
    )
    assert odin.sends() == odin.uploads(work.key) == 1


def test_a_changed_content_is_sent_once_more_over_the_old_one(
    odin: OdinEmulator, client: OdinClient, work: Work
) -> None:
    first = work.publish(client)
    changed = work.saying("[00:00 - 00:04] the river is red\n")
    second = changed.publish(client, known=first.upload)
    third = changed.publish(client, known=second.upload)
    assert (second.sent, third.sent) == (True, False)
    assert odin.documents[work.key].content == changed.content
    assert list(odin.documents) == [work.key]
    assert odin.uploads(work.key) == odin.sends() == 2
    assert odin.base.replaced[work.key] == 1


def test_a_changed_title_keeps_the_key_and_sends_nothing(odin: OdinEmulator, client: OdinClient, work: Work) -> None:
    first = work.publish(client)
    renamed = work.titled("Another title").publish(client)
    assert renamed.upload.key == first.upload.key
    assert not renamed.sent
    assert odin.uploads() == 1


def test_a_record_of_another_project_or_name_does_not_count(odin: OdinEmulator, client: OdinClient, work: Work) -> None:
    upload = work.publish(client).upload
    odin.base.delete(work.key)
    for stranger in (replace(upload, project_id="elsewhere"), replace(upload, key="other.txt")):
        assert work.publish(client, known=stranger).upload.project_id == odin.project_id
        assert work.key in odin.documents
        odin.base.delete(work.key)


def test_a_verified_record_follows_the_new_fingerprint_of_the_same_text(client: OdinClient, work: Work) -> None:
    upload = work.publish(client).upload
    again = replace(work, transcript=replace(work.transcript, fingerprint="ef" * 32))
    assert again.publish(client, known=upload).upload == replace(upload, fingerprint="ef" * 32)


def test_an_unverified_record_is_verified_later_without_sending(
    odin: OdinEmulator, client: OdinClient, work: Work
) -> None:
    upload = replace(work.publish(client).upload, verified_at=None, status="queued", chunks=None)
    later = work.publish(client, known=upload)
    assert (later.sent, later.upload.status, later.upload.chunks) == (False, "synced", 1)
    assert later.upload.sent_at == upload.sent_at
    assert odin.uploads() == 1


def test_silence_is_uploaded_as_its_text(odin: OdinEmulator, client: OdinClient, work: Work) -> None:
    silent = work.saying("[no speech]\n")
    assert silent.publish(client).upload.chunks == 1
    assert odin.documents[work.key].text == "[no speech]\n"


@pytest.mark.parametrize("content", [b"", b" \n"])
def test_nothing_at_all_is_refused_before_a_request(
    odin: OdinEmulator, client: OdinClient, work: Work, content: bytes
) -> None:
    with pytest.raises(UsageError):
        replace(work, content=content).publish(client)
    assert odin.log == []


@pytest.mark.parametrize("status", ["failed", "timeout"])
def test_a_failed_processing_is_mended_by_sending_once_more(
    odin: OdinEmulator, client: OdinClient, work: Work, status: str
) -> None:
    odin.faults.processing(status=status)
    published = work.publish(client)
    assert (published.upload.status, published.upload.chunks) == ("synced", 1)
    assert odin.uploads(work.key) == 2
    assert odin.base.deleted[work.key] == 1


def test_a_synced_document_without_chunks_is_sent_once_more(odin: OdinEmulator, client: OdinClient, work: Work) -> None:
    odin.faults.processing(chunks=False)
    assert work.publish(client).upload.chunks == 1
    assert odin.uploads(work.key) == 2


def test_processing_that_fails_twice_is_an_error_and_not_a_third_upload(
    odin: OdinEmulator, client: OdinClient, work: Work
) -> None:
    odin.faults.processing(status="failed", times=-1)
    with pytest.raises(Transient, match="twice") as caught:
        work.publish(client)
    assert caught.value.code == "odin_processing_failed"
    assert odin.uploads(work.key) == 2


def test_a_document_that_failed_in_an_earlier_run_is_replaced(
    odin: OdinEmulator, client: OdinClient, work: Work
) -> None:
    odin.faults.processing(status="failed", times=2)
    with pytest.raises(Transient):
        work.publish(client)
    assert work.publish(client).upload.status == "synced"
    assert odin.uploads(work.key) == 3


def test_where_nothing_can_be_deleted_a_broken_document_is_replaced_by_force(
    odin: OdinEmulator, client: OdinClient, work: Work
) -> None:
    odin.faults.missing("/project/knowledge/delete", "/project/knowledge/remove")
    odin.faults.processing(status="failed")
    assert work.publish(client).upload.status == "synced"
    assert odin.base.replaced[work.key] == 1
    assert odin.sends() == 2


def test_a_document_that_is_still_there_after_its_deletion_is_replaced(
    odin: OdinEmulator, client: OdinClient, work: Work
) -> None:
    odin.faults.add(method="DELETE", status=200, body={"message": "will be deleted"})
    odin.faults.processing(status="failed")
    assert work.publish(client).upload.status == "synced"
    assert odin.base.replaced[work.key] == 1


def test_chunks_of_a_failed_document_prove_nothing(odin: OdinEmulator, client: OdinClient, work: Work) -> None:
    odin.faults.processing(status="failed", times=-1)
    odin.faults.add(path="/chunks", status=200, body={"chunks": [], "total_chunks": 5}, times=-1)
    with pytest.raises(Transient):
        work.publish(client)


def test_a_record_of_the_same_content_counts_where_odin_hides_what_it_has(clock: VirtualClock, work: Work) -> None:
    with OdinEmulator(processing_s=8.0, monotonic=clock.monotonic, metadata_style="hidden") as odin:
        odin.faults.missing(FETCH)
        key, secret = odin.credentials
        with OdinClient(OdinConfig(key, secret, odin.project_id, odin.base_url), clock=clock) as client:
            known = replace(work.publish(client).upload, verified_at=None)
            assert not work.publish(client, known=known).sent
        assert odin.uploads() == 1


def test_an_endpoint_that_is_missing_is_asked_for_once(odin: OdinEmulator, client: OdinClient, work: Work) -> None:
    odin.faults.missing(STATUS)
    for number in range(3):
        work.saying(f"text {number}").publish(client)
    assert len([r for r in odin.log if STATUS in r.path]) == 1


def test_a_missing_document_is_not_taken_for_a_missing_project(
    odin: OdinEmulator, client: OdinClient, work: Work
) -> None:
    body = {"detail": f"Document {work.key} of project {odin.project_id} not found"}
    odin.faults.add(path=CHUNKS, status=404, body=body, times=-1)
    upload = work.publish(client).upload
    assert (upload.status, upload.chunks) == ("synced", None)
    assert upload.verified_at is not None


def test_the_older_way_to_delete_serves_where_the_newer_is_missing(
    odin: OdinEmulator, client: OdinClient, work: Work
) -> None:
    odin.faults.missing("/project/knowledge/delete")
    odin.faults.processing(status="failed")
    assert work.publish(client).sent
    assert odin.base.deleted[work.key] == 1


def test_a_queue_longer_than_our_patience_is_looked_at_again_and_not_sent_again(
    odin: OdinEmulator, client: OdinClient, work: Work, clock: VirtualClock
) -> None:
    odin.faults.processing(delay_s=500.0)
    with pytest.raises(Transient) as caught:
        work.publish(client)
    assert caught.value.code == "odin_unfinished"
    assert clock.monotonic() <= client.config.verify_timeout_s + client.config.poll_max_s
    later = work.publish(client)
    assert (later.sent, later.upload.status) == (False, "synced")
    assert odin.sends() == 1


def test_a_status_that_nobody_knows_is_no_obstacle(odin: OdinEmulator, client: OdinClient, work: Work) -> None:
    odin.faults.processing(status="Vectorised_v9")
    upload = work.publish(client).upload
    assert (upload.status, upload.chunks) == ("vectorised_v9", 1)
    assert upload.verified_at is not None


@pytest.mark.parametrize(
    ("missing", "chunks", "verified"),
    [
        ((STATUS,), 1, True),
        ((CHUNKS,), None, True),
        ((CHUNKS, FETCH), None, True),
        ((STATUS, CHUNKS), None, True),
        ((BY_KEY,), 1, True),
        ((BY_KEY, BY_NAME), 1, True),
        ((STATUS, CHUNKS, FETCH, BY_KEY, LIST), None, False),
        ((STATUS, CHUNKS, FETCH, BY_KEY, BY_NAME, LIST), None, False),
    ],
)
@pytest.mark.parametrize("answer", [404, 405])
def test_every_way_of_looking_is_optional(
    odin: OdinEmulator,
    client: OdinClient,
    work: Work,
    missing: tuple[str, ...],
    chunks: int | None,
    verified: bool,
    answer: int,
) -> None:
    detail = {404: "Not Found", 405: "Method Not Allowed"}[answer]
    for path in missing:
        odin.faults.add(path=path.format(pid=odin.project_id), status=answer, body={"detail": detail}, times=-1)
    first = work.publish(client)
    second = work.publish(client, known=first.upload)
    assert (first.sent, second.sent) == (True, False)
    assert second.upload.chunks == chunks
    assert (second.upload.verified_at is not None) == verified
    assert odin.uploads(work.key) == 1
    assert first.upload.status == ("synced" if verified else "unverified")  # not the word of the first answer


def test_a_host_that_cannot_list_is_told_of_once(
    odin: OdinEmulator, client: OdinClient, caplog: pytest.LogCaptureFixture
) -> None:
    odin.faults.missing("/knowledgebase", "/search/documents", f"{odin.project_id}/knowledge")
    for text in ("one", "two", "three"):
        make_work(text=text).publish(client)
    assert [r.levelname for r in caplog.records].count("WARNING") == 1


def test_without_any_list_a_changed_content_still_replaces_the_old(
    odin: OdinEmulator, client: OdinClient, work: Work
) -> None:
    odin.faults.missing("/knowledgebase", "/search/documents", f"{odin.project_id}/knowledge")
    known = work.publish(client).upload
    changed = work.saying("[00:00 - 00:01] other\n")
    assert changed.publish(client, known=known).sent
    assert odin.documents[work.key].content == changed.content


def test_without_any_list_a_lost_record_is_found_by_the_conflict(
    odin: OdinEmulator, client: OdinClient, work: Work
) -> None:
    odin.faults.missing("/knowledgebase", "/search/documents", f"{odin.project_id}/knowledge")
    work.publish(client)
    assert not work.publish(client).sent
    assert odin.uploads(work.key) == 1


def test_without_any_list_an_older_text_behind_a_success_is_found_and_replaced(
    odin: OdinEmulator, client: OdinClient, work: Work
) -> None:
    odin.faults.missing("/knowledgebase", "/search/documents", f"{odin.project_id}/knowledge")
    key = work.publish(client).upload.document_key
    changed = work.saying("[00:00 - 00:01] other\n")
    kept = {"message": "ok", "content": "", "document_data": {}, "document_key": key, "status": "synced"}
    odin.faults.add(method="POST", path="/knowledge/add/file", status=200, body=kept)
    published = changed.publish(client)
    assert odin.documents[work.key].content == changed.content
    assert published.upload.verified_at is not None


def test_without_list_and_text_a_success_is_not_taken_for_proof(
    odin: OdinEmulator, client: OdinClient, work: Work
) -> None:
    odin.faults.missing("/knowledgebase", "/search/documents", f"{odin.project_id}/knowledge", "/fetch_documents")
    published = work.publish(client)
    assert (published.sent, published.upload.verified_at) == (True, None)


@pytest.mark.parametrize("style", ["flat", "custom", "hidden"])
def test_a_lost_record_is_adopted_however_odin_shows_metadata(clock: VirtualClock, work: Work, style: str) -> None:
    with OdinEmulator(processing_s=8.0, monotonic=clock.monotonic, metadata_style=style) as odin:
        key, secret = odin.credentials
        with OdinClient(OdinConfig(key, secret, odin.project_id, odin.base_url), clock=clock) as client:
            client.add(work.key, work.content, _metadata(work), force=False)
            published = work.publish(client)
        assert not published.sent
        assert published.upload.verified_at is not None
        assert odin.uploads(work.key) == 1


def test_a_host_that_ignores_the_key_filter_does_not_hide_a_document(
    odin: OdinEmulator, client: OdinClient, work: Work
) -> None:
    work.publish(client)
    unfiltered = {"docs": [{"content_key": f"other{i}.txt"} for i in range(100)], "folders": []}
    odin.faults.add(path="/knowledgebase", status=200, body=unfiltered, times=-1)
    assert not work.publish(client).sent
    assert odin.sends() == 1


def _metadata(work: Work) -> dict[str, str]:
    sha256 = hashlib.sha256(work.content).hexdigest()
    return flat_metadata(work.video, work.media, work.transcript, sha256, "x", START)


@given(title=st.text(max_size=300), video_id=st.from_regex(r"[A-Za-z0-9_-]{11}", fullmatch=True))
def test_keys_are_stable_short_and_end_in_the_id(title: str, video_id: str) -> None:
    stem = file_stem(datetime(2026, 1, 2, tzinfo=UTC).date(), title, video_id)
    key = document_key(stem)
    assert key == document_key(stem)
    assert key.endswith(f"_{video_id}.txt")
    assert key.startswith("2026-01-02_")
    assert len(key.encode()) <= 255
    assert "%" not in key
    assert "~" not in key


def test_keys_are_cleaned_as_the_seeds_clean_them() -> None:
    assert document_key("2026-01-02_100%_~sure~_abcdefghijk") == "2026-01-02_100Percent_sure_abcdefghijk.txt"
    assert document_key(f"2026-01-02_{'%' * 170}_abcdefghijk").endswith("_abcdefghijk.txt")


@given(title=st.text(st.characters(), max_size=200))
def test_metadata_survive_any_title_as_flat_json(title: str) -> None:
    work = make_work(title=title + "\ud800\x00")
    metadata = _metadata(work)
    assert all(isinstance(v, str) for v in metadata.values())
    assert json.loads(json.dumps(metadata).encode("utf-8")) == metadata
    assert "\x00" not in metadata["title"]
    metadata["title"].encode("utf-8")


@pytest.mark.parametrize(
    "title", ["👨\u200d👩\u200d👧 Family", "می\u200cخواهم", "क्\u200dष", "全角\u3000スペース", "a\u00a0b"]
)
def test_a_title_stays_as_it_is_in_every_script(title: str) -> None:
    assert _metadata(make_work(title=title))["title"] == title


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.sampled_from(["one", "two", "three"]), min_size=1, max_size=6), remember=st.data())
def test_any_history_leaves_the_last_text_and_sends_only_changes(
    odin: OdinEmulator, client: OdinClient, texts: list[str], remember: st.DataObject
) -> None:
    odin.base.delete("2026-03-04_The_river_a_b-c_d-e_1.txt")
    before, known, changes, last = odin.uploads(), None, 0, None
    for text in texts:
        work = make_work(text=text)
        published = work.publish(client, known=known)
        known = published.upload if remember.draw(st.booleans()) else None
        changes += text != last
        assert published.sent == (text != last)
        last = text
    assert odin.documents[work.key].text == last
    assert odin.uploads() - before == changes
