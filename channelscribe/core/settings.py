"""Settings from environment variables and `.env`, typed and without side effects.

Blocks build the same values in the Prefect UI; a notebook or the command line needs only these.
"""

from __future__ import annotations

import os
from typing import Any, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from channelscribe.core.guard import GuardPolicy
from channelscribe.core.profile import DEFAULT_MODEL, Preset, TranscriptionProfile

_CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HTTPLIB2_CA_CERTS")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def _either(*names: str) -> Any:
    return AliasChoices(*names)


class Settings(BaseSettings):
    """Everything the environment can say. Secrets are SecretStr and never show in a repr."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", populate_by_name=True, env_ignore_empty=True)

    data: str = Field("data", validation_alias=_either("CHANNELSCRIBE_DATA"))
    preset: Preset = Field(Preset.OPTIMIZED, validation_alias=_either("CHANNELSCRIBE_PRESET"))
    model: str = Field(DEFAULT_MODEL, validation_alias=_either("CHANNELSCRIBE_MODEL"))
    language: str = Field("auto", validation_alias=_either("CHANNELSCRIBE_LANGUAGE"))
    words: bool = Field(False, validation_alias=_either("CHANNELSCRIBE_WORDS"))
    device: str = Field("auto", validation_alias=_either("CHANNELSCRIBE_DEVICE"))
    window_s: float | None = Field(None, validation_alias=_either("CHANNELSCRIBE_WINDOW_S"))
    batch_size: int | None = Field(None, validation_alias=_either("CHANNELSCRIBE_BATCH_SIZE"))
    kv_bits: Literal["16", "8"] = Field("16", validation_alias=_either("CHANNELSCRIBE_KV_BITS"))

    gpu: str = Field("auto", validation_alias=_either("CHANNELSCRIBE_GPU"), description="Which card is guarded.")
    metrics_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        validation_alias=_either("CHANNELSCRIBE_METRICS_PORT"),
        description="Port on this machine for Prometheus.",
    )

    price_per_kwh: float | None = Field(
        None,
        ge=0,
        validation_alias=_either("CHANNELSCRIBE_PRICE_PER_KWH"),
        description="Of electricity, in your currency; for plans.",
    )

    budget_kwh: float | None = Field(
        None,
        ge=0,
        validation_alias=_either("CHANNELSCRIBE_BUDGET_KWH"),
        description="Electricity of the cards in a calendar month; more of it is told.",
    )
    budget_quota: int | None = Field(
        None,
        ge=0,
        validation_alias=_either("CHANNELSCRIBE_BUDGET_QUOTA"),
        description="Units of YouTube's quota in a day; more of it is told.",
    )

    youtube_api_keys: SecretStr = Field(
        SecretStr(""), validation_alias=_either("YOUTUBE_API_KEYS", "YOUTUBE_API_KEY"), description="Comma-separated."
    )
    youtube_cookies: str = Field("", validation_alias=_either("YOUTUBE_COOKIES"), description="A cookies.txt file.")
    youtube_spacing_s: float = Field(
        3.0, ge=0, validation_alias=_either("YOUTUBE_SPACING_S"), description="Least seconds between two videos."
    )
    youtube_request_pause_s: float = Field(
        0.75, ge=0, validation_alias=_either("YOUTUBE_REQUEST_PAUSE_S"), description="Seconds between page requests."
    )

    odin_api_key: SecretStr = Field(SecretStr(""), validation_alias=_either("ODIN_API_KEY", "API_KEY"))
    odin_api_secret: SecretStr = Field(SecretStr(""), validation_alias=_either("ODIN_API_SECRET", "API_SECRET"))
    odin_project_id: str = Field("", validation_alias=_either("ODIN_PROJECT_ID"))
    odin_base_url: str = Field("https://api.getodin.ai", validation_alias=_either("ODIN_BASE_URL"))

    def profile(self, **changes: Any) -> TranscriptionProfile:
        """The transcription profile that the environment describes; `changes` override single fields."""
        own: dict[str, Any] = {"model": self.model, "language": self.language, "device": self.device}
        own |= {"words": True} if self.words else {}
        own |= {"kv_bits": 8} if self.kv_bits == "8" else {}
        own |= {k: v for k in ("window_s", "batch_size") if (v := getattr(self, k)) is not None}
        return TranscriptionProfile.preset(self.preset, **{**own, **changes})


class GuardSettings(BaseSettings, GuardPolicy):
    """Every field of the guard's policy from CHANNELSCRIBE_GUARD_..., as in CHANNELSCRIBE_GUARD_TEMP_C=80."""

    model_config = SettingsConfigDict(
        env_file=".env", env_prefix="CHANNELSCRIBE_GUARD_", extra="ignore", env_ignore_empty=True, frozen=True
    )

    def policy(self) -> GuardPolicy:
        return GuardPolicy(**self.model_dump())


class ClaimSettings(BaseSettings):
    """What the store needs to know to share a data root with other machines, however wrong other settings are."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", env_ignore_empty=True)

    claim_s: float = Field(
        90.0,
        ge=1,
        validation_alias="CHANNELSCRIBE_CLAIM_S",
        description="Seconds of silence after which other machines take over what a process had claimed.",
    )


def first_problem(error: ValidationError) -> str:
    """The first of several wrong values, in one sentence that holds no secret."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}." if where else f"{first['msg']}."


def ca_bundle() -> str | None:
    """The certificate bundle that the user named, whichever of the usual variables holds it."""
    return next((value for name in _CA_VARIABLES if (value := os.environ.get(name))), None)


def complete_network_environment() -> None:
    """Makes every HTTP library honour the same proxy and certificate variables, in this process and its children.

    OpenSSL, requests and httplib2 each read another variable, so the one bundle that was named is given to all; and
    loopback never goes through a proxy, because the Prefect API lives there.
    """
    if bundle := ca_bundle():
        for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "HTTPLIB2_CA_CERTS"):
            os.environ.setdefault(name, bundle)
    if any(os.environ.get(n) for n in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY")):
        present = [p for p in os.environ.get("NO_PROXY", os.environ.get("no_proxy", "")).split(",") if p]
        merged = ",".join(dict.fromkeys([*present, *_LOOPBACK]))
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = merged
