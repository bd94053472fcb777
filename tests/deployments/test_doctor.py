"""`doctor` says what is there and what is missing, and never a secret."""

from __future__ import annotations

import socket
from datetime import date
from pathlib import Path

import pytest

from deployments.doctor import CHECKS, ytdlp_age_days
from tests.deployments.conftest import Cli

SECRETS = {
    "ODIN_API_KEY": "odin-key-1234567",
    "ODIN_API_SECRET": "odin-secret-1234567",
    "YOUTUBE_API_KEYS": "project:AIzaSyA1234567890,AIzaSyB1234567890",
}


def test_every_part_is_reported_and_no_secret_shows(cli: Cli, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        proxy = f"http://someone:proxypassword@127.0.0.1:{somebody.getsockname()[1]}"
        done = cli("doctor", "--json", **SECRETS, ODIN_PROJECT_ID="project-1", HTTPS_PROXY=proxy)
    assert [f["part"] for f in done.json["findings"]] == list(CHECKS)
    for secret in ("1234567", "proxypassword"):
        assert secret not in done.out + done.err
    assert "project-1" in done.out
    wrong = [f for f in done.json["findings"] if f["verdict"] == "wrong"]
    assert (done.code, wrong) == (0, [])


def test_what_is_missing_is_named(cli: Cli) -> None:
    done = cli("doctor", "--json", CHANNELSCRIBE_MODEL="./none", SSL_CERT_FILE="/nowhere/ca.pem")
    assert done.code == 2
    found = {f["part"]: f for f in done.json["findings"]}
    assert "ODIN_API_KEY" in found["ODIN"]["text"]
    assert "/nowhere/ca.pem" in found["network"]["text"]
    assert {part for part, f in found.items() if f["verdict"] == "wrong"} == {"ODIN", "model", "network"}


def test_it_says_what_the_guard_holds_the_gpu_to(cli: Cli) -> None:
    for changes, text in (
        ({}, "75 °C, 700 W, 73.3 GiB of memory, unused memory given back above 60 GiB"),
        ({"CHANNELSCRIBE_GUARD_POWER_W": "500", "CHANNELSCRIBE_GUARD_VRAM_BUDGET_GIB": "90"}, "500 W, 73.3 GiB"),
        ({"CHANNELSCRIBE_GUARD_ENABLED": "false"}, "the guard is off"),
    ):
        done = cli("doctor", "--json", CHANNELSCRIBE_GPU="sim:server", **changes)
        (found,) = [f for f in done.json["findings"] if f["part"] == "GPU"]
        assert (found["verdict"], text in found["text"]) == ("ok", True), found


def test_a_proxy_where_nobody_listens_is_wrong(cli: Cli) -> None:
    done = cli("doctor", "--json", HTTPS_PROXY="http://someone:proxypassword@127.0.0.1:9")
    (network,) = [f for f in done.json["findings"] if f["part"] == "network"]
    assert (done.code, network["verdict"]) == (2, "wrong")
    assert "HTTPS_PROXY" in network["text"] and "proxypassword" not in done.out + done.err


def test_the_table_is_for_people(cli: Cli) -> None:
    done = cli("doctor", COLUMNS="160")
    assert "yt-dlp" in done.out and "Prefect server" in done.out


@pytest.mark.parametrize(
    ("version", "days"),
    [("2026.10.26", 26), ("2026.10.26.232901", 26), ("nightly", None), ("2026.13.1", None), ("1.2", None)],
)
def test_age_of_ytdlp(version: str, days: int | None) -> None:
    assert ytdlp_age_days(version, date(2026, 11, 21)) == days
