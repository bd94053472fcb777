"""Which environment variables mean anything: to Prefect, to its Redis part, to channelscribe, to what they stand on."""

from __future__ import annotations

import inspect
import re

from prefect.server.utilities import encryption
from prefect.settings.legacy import _get_settings_fields
from prefect.settings.models.root import Settings as PrefectSettings
from prefect_redis.client import RedisMessagingSettings  # type: ignore[import-untyped]
from pydantic import AliasChoices

from channelscribe.core.guard import GuardPolicy
from channelscribe.core.settings import ClaimSettings, Settings
from deployments.register import PREFECT_FILE

OTHERS = {
    "PATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "DO_NOT_TRACK", "XDG_CACHE_HOME", "HF_HOME", "HF_TOKEN",
    "HTTPS_PROXY", "NO_PROXY", "TRITON_CACHE_DIR", "CUDA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES",
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL",
}  # fmt: skip
SECRET = re.compile(r"PASSWORD|SECRET|_KEY\b|KEYS\b|AUTH|TOKEN|DOCKET_URL")


def known() -> set[str]:
    redis = {f"PREFECT_REDIS_MESSAGING_{name.upper()}" for name in RedisMessagingSettings.model_fields}
    read_directly = set(re.findall(r'"(PREFECT_SERVER_ENCRYPTION_KEY)"', inspect.getsource(encryption)))
    by_the_file = set(re.findall(r"\{\{ \$(\w+) \}\}", PREFECT_FILE.read_text(encoding="utf-8")))
    return set(_get_settings_fields(PrefectSettings)) | redis | read_directly | by_the_file | ours() | OTHERS


def ours() -> set[str]:
    named = {f"CHANNELSCRIBE_GUARD_{name.upper()}" for name in GuardPolicy.model_fields}
    for model in (Settings, ClaimSettings):
        for info in model.model_fields.values():
            alias = info.validation_alias
            named |= {str(a) for a in alias.choices} if isinstance(alias, AliasChoices) else {str(alias)}
    return named
