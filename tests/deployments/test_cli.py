"""Wrong usage and wrong environments: one sentence on standard error, the right exit code, no traceback, no server."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.cli import app, run
from tests.deployments.conftest import Cli, Finished

ODIN = {"ODIN_API_KEY": "key-0123456789", "ODIN_API_SECRET": "secret-0123456789", "ODIN_PROJECT_ID": "project-1"}
SOURCE = "UCuAXFkgsw1L7xaCfnd5JJOw"


def assert_one_sentence(done: Finished, code: int) -> None:
    lines = done.err.strip().splitlines()
    assert done.code == code, done.err
    assert len(lines) == 1, done.err
    assert lines[0].startswith("channelscribe: ")
    assert "Traceback" not in done.err


def test_a_kind_of_file_that_is_not_kept_is_named_with_those_that_are(cli: Cli) -> None:
    assert_one_sentence(done := cli("sync", SOURCE, "--media", "flac", **ODIN), 2)
    assert "flac" in done.err and "m4a, mp3, mp4" in done.err


def test_help_names_every_verb_and_the_exit_codes() -> None:
    shown = CliRunner().invoke(app, ["--help"])
    assert shown.exit_code == 0
    for word in ("sync", "status", "up", "demo", "doctor", "Exit codes"):
        assert word in shown.output


@pytest.mark.parametrize("verb", ["sync", "status", "up", "demo", "doctor"])
def test_each_verb_has_help(verb: str) -> None:
    assert CliRunner().invoke(app, [verb, "--help"]).exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["--bogus"],
        ["bogus"],
        ["sync"],
        ["sync", SOURCE, "--latest", "many"],
        ["sync", SOURCE, "--latest", "-1"],
        ["up", "--port", "99999"],
        ["status", "surplus"],
    ],
)
def test_wrong_options_are_usage_errors(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("channelscribe: ")
    assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize("source", ["-abcDEF_123", "-abcDEF_123,dQw4w9WgXcQ"])
def test_a_video_id_that_looks_like_an_option_is_told_how_to_write_it(
    source: str, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["sync", source]) == 2
    assert f"-- {source}" in capsys.readouterr().err
    assert_one_sentence(done := cli("sync", "--since", "2026-13-01", "--", source, **ODIN), 2)
    assert "--since" in done.err


def test_wrong_options_with_json_leave_one_object_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--json", "--bogus"]) == 2
    said = json.loads(capsys.readouterr().out)
    assert said["exit_code"] == 2
    assert said["error"]["class"] == "usage"
    assert "--bogus" in said["error"]["reason"]


@pytest.mark.parametrize("day", ["2026-02-30", "yesterday", "2026-1-1", "01.02.2026", "20260101", "２０２６-01-01"])
def test_a_day_that_is_none_is_named(cli: Cli, day: str) -> None:
    done = cli("sync", SOURCE, "--since", day, **ODIN)
    assert_one_sentence(done, 2)
    assert "--since" in done.err and "YYYY-MM-DD" in done.err


def test_days_the_wrong_way_round(cli: Cli) -> None:
    assert_one_sentence(cli("sync", SOURCE, "--since", "2026-05-01", "--until", "2026-04-01", **ODIN), 2)


@pytest.mark.parametrize("source", ["", "https://example.com/watch?v=x", "not a source at all", "@" * 300])
def test_a_source_that_is_none(cli: Cli, source: str) -> None:
    assert_one_sentence(cli("sync", source, **ODIN), 2)


def test_missing_odin_variables_are_named_before_anything_starts(cli: Cli, tmp_path: Path) -> None:
    done = cli("sync", SOURCE, "--json", ODIN_API_KEY="key-0123456789")
    assert_one_sentence(done, 2)
    assert "ODIN_API_SECRET" in done.err and "ODIN_PROJECT_ID" in done.err
    assert done.json["error"]["class"] == "environment"
    assert not (tmp_path / "data" / ".prefect").exists()


def test_a_data_root_that_is_a_file(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("not a folder")
    assert_one_sentence(cli("sync", SOURCE, "--data", str(tmp_path / "plain" / "deeper"), **ODIN), 2)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_data_root_that_is_read_only(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    assert_one_sentence(cli("sync", SOURCE, "--data", str(tmp_path / "locked"), **ODIN), 2)


@pytest.mark.parametrize("model", ["./no-such-folder", "nobody/no-such-model"])
def test_a_model_that_is_not_there(cli: Cli, model: str) -> None:
    assert_one_sentence(cli("sync", SOURCE, "--model", model, **ODIN), 2)


def test_a_preset_that_is_none_names_those_there_are(cli: Cli) -> None:
    done = cli("sync", SOURCE, "--preset", "ludicrous", **ODIN)
    assert_one_sentence(done, 2)
    assert "optimized" in done.err


def test_a_server_that_does_not_answer(cli: Cli) -> None:
    done = cli("sync", SOURCE, "--no-upload", PREFECT_API_URL="http://127.0.0.1:9/api")
    assert_one_sentence(done, 2)
    assert "PREFECT_API_URL" in done.err


def test_secrets_never_show(cli: Cli) -> None:
    done = cli("sync", SOURCE, "--data", "s3://key:hush-hush-secret@bucket/x", "--json", **ODIN)
    assert done.code == 2
    for secret in ("hush-hush-secret", ODIN["ODIN_API_KEY"], ODIN["ODIN_API_SECRET"]):
        assert secret not in done.out + done.err


@pytest.mark.parametrize(
    ("named", "value"),
    [
        ("HTTPS_PROXY", "http://127.0.0.1:9"),
        ("https_proxy", "127.0.0.1:9"),
        ("HTTPS_PROXY", "http://127.0.0.1:port"),
        ("SSL_CERT_FILE", "/nowhere/ca.pem"),
        ("REQUESTS_CA_BUNDLE", __file__),
    ],
)
def test_a_way_out_that_leads_nowhere_is_told_before_anything_starts(cli: Cli, named: str, value: str) -> None:
    done = cli("sync", SOURCE, **ODIN, **{named: value})
    assert_one_sentence(done, 2)
    assert named.upper() in done.err
