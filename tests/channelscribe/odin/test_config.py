"""OdinConfig: what is missing is named, what cannot work is refused, nothing secret is shown."""

from __future__ import annotations

import itertools
import pickle
from typing import Any

import pytest
from pydantic import SecretStr

from channelscribe.core.errors import EnvironmentFailure
from channelscribe.core.settings import Settings
from channelscribe.odin.config import OdinConfig

NAMES = ("ODIN_API_KEY", "ODIN_API_SECRET", "ODIN_PROJECT_ID")


def _settings(**values: str) -> Settings:
    return Settings(
        _env_file=None,
        odin_api_key=SecretStr(values.get("ODIN_API_KEY", "")),
        odin_api_secret=SecretStr(values.get("ODIN_API_SECRET", "")),
        odin_project_id=values.get("ODIN_PROJECT_ID", ""),
    )


@pytest.mark.parametrize("missing", [c for n in (1, 2, 3) for c in itertools.combinations(NAMES, n)])
def test_exactly_the_missing_settings_are_named(missing: tuple[str, ...]) -> None:
    present = {name: "value-123456" for name in NAMES if name not in missing}
    with pytest.raises(EnvironmentFailure) as caught:
        OdinConfig.from_settings(_settings(**present))
    for name in NAMES:
        assert (name in str(caught.value)) == (name in missing)


def test_there_is_no_default_project_and_the_environment_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*NAMES, "API_KEY", "API_SECRET"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(EnvironmentFailure):
        OdinConfig.from_settings(Settings(_env_file=None))
    monkeypatch.setenv("API_KEY", "seed-key-123")
    monkeypatch.setenv("API_SECRET", "seed-secret-123")
    monkeypatch.setenv("ODIN_PROJECT_ID", "p1")
    config = OdinConfig.from_settings(Settings(_env_file=None), poll_s=9.0)
    assert (config.api_key, config.api_secret, config.project_id) == ("seed-key-123", "seed-secret-123", "p1")
    assert (config.base_url, config.poll_s) == ("https://api.getodin.ai", 9.0)


@pytest.mark.parametrize(
    ("typed", "used"),
    [
        ("https://odin.example/", "https://odin.example"),
        ("http://127.0.0.1:8001//", "http://127.0.0.1:8001"),
        ("https://gate.example/odin/", "https://gate.example/odin"),
        (" https://odin.example \n", "https://odin.example"),
        ("http://[::1]:8001", "http://[::1]:8001"),
    ],
)
def test_base_urls_are_taken_with_or_without_slash(typed: str, used: str) -> None:
    assert OdinConfig("key-123456", "secret-123456", "p", base_url=typed).base_url == used


@pytest.mark.parametrize(
    "url",
    ["", "odin.example", "ftp://x", "https://", "https://u:pass-word@x", "https://x?key=1", "https://x/#a", "http://x:0",
     "http://x:99999", "http://[::1", "https://a b", "javascript:alert(1)", "https://x\r\nHost: y", "https://x\\@y"],
)  # fmt: skip
def test_other_base_urls_are_refused_by_name(url: str) -> None:
    with pytest.raises(EnvironmentFailure, match="ODIN_BASE_URL") as caught:
        OdinConfig("key-123456", "secret-123456", "p", base_url=url)
    assert "pass-word" not in str(caught.value)


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "schlüssel", "two words", "nul\x00l"])
@pytest.mark.parametrize("field", ["api_key", "api_secret"])
def test_keys_that_no_header_can_carry_are_refused_by_name(field: str, value: str) -> None:
    fields: dict[str, Any] = {"api_key": "key-123456", "api_secret": "secret-123456", "project_id": "p", field: value}
    with pytest.raises(EnvironmentFailure, match=f"ODIN_{field.upper()}") as caught:
        OdinConfig(**fields)
    assert value not in str(caught.value)


@pytest.mark.parametrize("project_id", ["..", ".", "a/b", "a b", "a?b", "a#b", "x" * 201, "a\nb", "a%2fb"])
def test_project_ids_that_would_change_the_path_are_refused(project_id: str) -> None:
    with pytest.raises(EnvironmentFailure, match="ODIN_PROJECT_ID"):
        OdinConfig("key-123456", "secret-123456", project_id)


def test_secrets_are_stripped_and_never_shown() -> None:
    config = OdinConfig(" key-123456\n", "secret-123456 ", "p")
    assert (config.api_key, config.api_secret) == ("key-123456", "secret-123456")
    assert "123456" not in repr(config)
    assert "123456" not in str(config)
    assert pickle.loads(pickle.dumps(config)) == config
