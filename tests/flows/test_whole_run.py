"""One channel from nothing to verified documents: words, times, files, tables and the page in the Prefect UI."""

from __future__ import annotations

import hashlib
import json
import re
import statistics

import jiwer
import pandas as pd
import pytest

from tests.flows.channels import FIRST, GOOD, LIVE, PRIVATE, SECOND, SILENT
from tests.flows.conftest import WholeRun
from tests.flows.tables import attempts, table

pytestmark = [pytest.mark.prefect, pytest.mark.slow]

MOST_WORD_ERRORS = 0.12
NEAR_S = 0.2
TXT_LINE = re.compile(r"\[\d\d:\d\d - \d\d:\d\d\] \S.*")
METADATA = {
    *("author_name", "uploaded_by", "added_by", "category", "last_upload", "videoId", "publishedAt", "channelId"),
    *("title", "url", "sha256", "language", "model", "fingerprint"),
}


def normal(text: str) -> str:
    return " ".join(re.sub(r"[^\w\s]+", " ", text.lower()).split())


def segments(run: WholeRun, video_id: str) -> pd.DataFrame:
    rows = table(run.station.data, "transcripts")
    return rows[(rows["video_id"] == video_id) & (rows["index"] >= 0)].sort_values("index")


def test_some_failed_is_exit_code_1_and_names_them(whole_run: WholeRun) -> None:
    said, station = whole_run.result, whole_run.station
    assert said.code == said.json["exit_code"] == 1, said.err
    assert set(said.not_done) == station.expected("private", "live")
    assert said.not_done[station.named(PRIVATE)]["failure_class"] == "permanent"
    assert said.not_done[station.named(LIVE)]["failure_class"] == "not_ready"
    assert said.not_done[station.named(LIVE)]["retry_after"]
    assert (said.json["videos"], said.json["done"], said.json["failed"]) == (7, 5, 2)
    assert "Traceback" not in said.err


def test_every_good_video_has_whole_media_and_its_files(whole_run: WholeRun) -> None:
    data, media = whole_run.station.data, table(whole_run.station.data, "media")
    assert set(media["video_id"]) == whole_run.station.expected(*GOOD)
    for row in media.itertuples():
        path = data / str(row.path)
        content = path.read_bytes()
        assert (row.bytes, row.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert row.duration_s == pytest.approx(whole_run.station.truth[str(row.video_id)]["duration_s"], abs=0.3)
        sidecar = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        assert sidecar["videoId"] == row.video_id == path.stem[-11:]
        assert sidecar["title"] == whole_run.station.truth[str(row.video_id)]["title"]
        assert path.with_suffix(".txt").is_file()
        assert path.with_suffix(".transcript.json").is_file()
    assert not list((data / ".work").rglob("*.*")), "partial downloads were left behind"


def test_the_words_are_those_that_were_spoken(whole_run: WholeRun) -> None:
    truth = whole_run.station.truth
    spoken = sorted(whole_run.station.expected("ok", "short"))
    said = [normal(" ".join(s["text"] for s in truth[video_id]["sentences"])) for video_id in spoken]
    heard = [normal(" ".join(segments(whole_run, video_id)["text"])) for video_id in spoken]
    assert all(heard)
    assert jiwer.wer(said, heard) < MOST_WORD_ERRORS


def test_sentences_start_when_they_were_spoken(whole_run: WholeRun) -> None:
    truth, away_s = whole_run.station.truth, []
    for video_id in whole_run.station.expected("ok", "short"):
        starts = list(segments(whole_run, video_id)["start_s"])
        away_s += [min(abs(s["start_s"] - start) for start in starts) for s in truth[video_id]["sentences"]]
        assert starts == sorted(starts)
        assert max(segments(whole_run, video_id)["end_s"]) <= truth[video_id]["duration_s"] + 0.1
    assert statistics.median(away_s) < NEAR_S


def test_the_language_is_heard_from_the_sound(whole_run: WholeRun) -> None:
    for video_id in whole_run.station.expected("ok", "short"):
        assert set(segments(whole_run, video_id)["language"]) == {"en"}


def test_silence_has_no_words_and_is_accounted_for_and_uploaded(whole_run: WholeRun) -> None:
    station = whole_run.station
    silent, rows = station.named(SILENT), table(station.data, "transcripts")
    (row,) = rows[rows["video_id"] == silent].to_dict("records")
    assert (row["index"], row["segment_count"], row["speech_s"], row["text"]) == (-1, 0, 0.0, "")
    assert station.document_of(silent).text.strip() == "[no speech]"


def test_files_for_people_and_for_machines_say_what_the_table_says(whole_run: WholeRun) -> None:
    data = whole_run.station.data
    for row in table(data, "media").itertuples():
        texts = [str(t).strip() for t in segments(whole_run, str(row.video_id))["text"]]
        media = data / str(row.path)
        machine = json.loads(media.with_suffix(".transcript.json").read_text(encoding="utf-8"))
        assert [s["text"].strip() for s in machine["segments"]] == texts
        blocks = media.with_suffix(".txt").read_text(encoding="utf-8").strip().split("\n\n")
        if texts:
            assert all(TXT_LINE.fullmatch(block) for block in blocks)
            assert [block[16:] for block in blocks] == texts


def test_the_knowledge_base_holds_each_document_once_and_verified(whole_run: WholeRun) -> None:
    station = whole_run.station
    uploads = table(station.data, "uploads").set_index("key")
    documents = station.odin.documents
    assert {d.metadata["videoId"] for d in documents.values()} == station.expected(*GOOD)
    assert set(uploads.index) == set(documents)
    assert set(station.odin.base.stored.values()) == {1}
    assert uploads["verified_at"].notna().all()
    for key, document in documents.items():
        row = uploads.loc[key]
        assert station.odin.base.status(document) == row["status"] == "synced"
        assert row["chunks"] == len(station.odin.base.chunks(document)) > 0
        assert row["content_sha256"] == document.sha256


def test_documents_carry_flat_text_metadata_and_the_text_of_the_file(whole_run: WholeRun) -> None:
    station = whole_run.station
    media = table(station.data, "media").set_index("video_id")
    for document in station.odin.documents.values():
        about = document.metadata
        assert set(about) == METADATA
        assert all(isinstance(value, str) for value in about.values())
        assert about["sha256"] == document.sha256
        truth = station.truth[about["videoId"]]
        assert about["title"] == truth["title"]
        assert about["publishedAt"] == pd.Timestamp(truth["published"]).strftime("%Y-%m-%dT%H:%M:%SZ")
        text = (station.data / str(media.loc[about["videoId"], "path"])).with_suffix(".txt")
        assert document.content == text.read_bytes()
        assert document.key == text.name


def test_every_attempt_has_a_row_and_so_has_the_run(whole_run: WholeRun) -> None:
    station, run_id = whole_run.station, whole_run.result.run_id
    rows = attempts(station.data, run_id)
    tried = {(r.video_id, r.stage, r.state) for r in rows.itertuples()}
    steps = {(v, stage, "done") for v in station.expected(*GOOD) for stage in ("download", "transcribe", "upload")}
    refused = {(v, "download", "failed") for v in station.expected("private", "live")}
    assert tried == steps | refused | {("", "discover", "done")}
    assert len(rows) == len(tried)
    runs = table(station.data, "runs")
    (run,) = runs[runs["run_id"] == run_id].to_dict("records")
    assert (run["state"], run["videos"], run["done"], run["failed"]) == ("Failed", 7, 5, 2)
    transcripts = table(station.data, "transcripts")
    assert run["words"] == whole_run.result.json["words"] == transcripts["word_count"].sum()
    assert run["audio_s"] == pytest.approx(65.0, abs=1.0)
    assert run["quota_units"] == whole_run.quota_units > 0
    assert json.loads(run["parameters"])["selection"] == {"since": "", "until": "", "latest": 0}


def test_the_runs_page_shows_tasks_by_title_and_what_failed(whole_run: WholeRun) -> None:
    server, run_id = whole_run.station.server, whole_run.result.run_id
    names = server.task_names(run_id)
    assert {FIRST, f"download: {FIRST}", f"transcribe: {FIRST}", f"upload: {SECOND}", "report"} <= names
    artifacts = server.artifacts(run_id)
    assert "5 done, 2 failed" in artifacts["run-summary"]["data"]
    listed = json.loads(artifacts["not-done"]["data"])
    assert {row["link"][-11:] for row in listed} == whole_run.station.expected("private", "live")
    assert all(row["reason"].endswith(".") for row in listed)
    assert server.run(run_id)["state_type"] == "FAILED"


def test_nothing_beyond_the_services_was_asked_and_media_only_once(whole_run: WholeRun) -> None:
    youtube = whole_run.station.youtube
    assert youtube.leaks == []
    assert whole_run.station.media_requests() == dict.fromkeys(whole_run.station.expected(*GOOD), 1)
