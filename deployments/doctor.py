"""`channelscribe doctor`: what this machine has and lacks, one line for each part, never a secret.

Asks each room what it would use and starts nothing; every finding says what to do.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from pydantic import ValidationError
from rich.markup import escape
from rich.table import Table

from channelscribe.core.errors import ChannelscribeError
from channelscribe.core.redact import redact, remember_secret
from channelscribe.core.settings import GuardSettings, Settings, ca_bundle
from deployments import bootstrap
from deployments.network import require_network
from deployments.place import answers, prefect_home, running_server
from deployments.session import Session

OLD_YTDLP_DAYS = 60
LOW_SPACE_BYTES = 10 << 30
_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY", "http_proxy")


class Verdict(StrEnum):
    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    part: str
    verdict: Verdict
    text: str


Check = Callable[[Session, Settings], tuple[Verdict, str]]


def doctor(session: Session) -> int:
    """Prints the findings; 2 when something is wrong."""
    findings = examine(session, Settings())
    code = 2 if any(f.verdict is Verdict.WRONG for f in findings) else 0
    if session.as_json:
        found = [{"part": f.part, "verdict": str(f.verdict), "text": f.text} for f in findings]
        session.emit({"exit_code": code, "findings": found})
        return code
    styles = {Verdict.OK: "green", Verdict.NOTE: "yellow", Verdict.WRONG: "red"}
    table = Table("part", "", "finding", title="channelscribe doctor", title_justify="left")
    for f in findings:
        table.add_row(f.part, f"[{styles[f.verdict]}]{f.verdict}[/]", escape(f.text))
    session.results.print(table)
    return code


def examine(session: Session, settings: Settings) -> list[Finding]:
    for secret in (settings.odin_api_key, settings.odin_api_secret, settings.youtube_api_keys):
        for piece in secret.get_secret_value().split(","):
            remember_secret(piece.strip())
    return [_finding(part, check, session, settings) for part, check in CHECKS.items()]


def _finding(part: str, check: Check, session: Session, settings: Settings) -> Finding:
    try:
        verdict, text = check(session, settings)
    except ChannelscribeError as error:
        verdict, text = Verdict.WRONG, error.reason
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        verdict, text = Verdict.WRONG, f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return Finding(part, verdict, redact(text))


def _python(_session: Session, _settings: Settings) -> tuple[Verdict, str]:
    return Verdict.OK, f"{platform.python_version()} on {platform.system()} {platform.machine()}"


def _packages(_session: Session, _settings: Settings) -> tuple[Verdict, str]:
    names = ("channelscribe", "prefect", "transformers", "av")
    return Verdict.OK, ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


def _ytdlp(_session: Session, _settings: Settings) -> tuple[Verdict, str]:
    version = importlib.metadata.version("yt-dlp")
    days = ytdlp_age_days(version, date.today())
    if days is not None and days > OLD_YTDLP_DAYS:
        return Verdict.NOTE, f"{version}, {days} days old; YouTube changes often: pip install -U yt-dlp yt-dlp-ejs"
    return Verdict.OK, f"{version}" + (f", {days} days old" if days is not None else "")


def ytdlp_age_days(version: str, today: date) -> int | None:
    """yt-dlp's versions are dates; None for one that is not."""
    try:
        year, month, day = (int(piece) for piece in version.split(".")[:3])
        return (today - date(year, month, day)).days
    except ValueError:
        return None


def _deno(_session: Session, _settings: Settings) -> tuple[Verdict, str]:
    from channelscribe.youtube.ytdlp import deno

    found = deno()
    if found is None:
        return Verdict.WRONG, "not found; yt-dlp needs it for YouTube's player: pip install deno"
    return Verdict.OK, found


def _torch(_session: Session, settings: Settings) -> tuple[Verdict, str]:
    from channelscribe.asr.device import choose_device

    choice = choose_device(settings.profile())
    text = f"torch {importlib.metadata.version('torch')} on {choice.device}, {choice.dtype} ({choice.reason})"
    if str(choice.device) == "cpu" and bootstrap.has_nvidia_card():
        return Verdict.NOTE, f"{text}; there is an NVIDIA card: install a CUDA build of torch"
    return Verdict.OK, text


def _gpu(_session: Session, settings: Settings) -> tuple[Verdict, str]:
    from channelscribe.gpu.ceilings import Limits, figures
    from channelscribe.gpu.open import open_reader

    reader = open_reader(settings.gpu)
    if reader is None:
        return Verdict.OK, "none to guard"
    with closing(reader):
        name, sample = reader.card.name, reader.sample()
    policy = GuardSettings().policy()
    if sample.lost:
        return Verdict.WRONG, f"{name} does not answer; look at it with nvidia-smi"
    held_to = figures(policy, Limits(), sample) if policy.enabled else "nothing, the guard is off"
    return Verdict.OK, f"{name}; the guard holds it to {held_to}"


def _model(_session: Session, settings: Settings) -> tuple[Verdict, str]:
    from channelscribe.asr.model import resolve_model

    ref = resolve_model(settings.profile())
    return Verdict.OK, f"{ref.name} at {ref.revision[:12]}"


def _odin(_session: Session, settings: Settings) -> tuple[Verdict, str]:
    from channelscribe.odin.config import OdinConfig

    config = OdinConfig.from_settings(settings)
    return Verdict.OK, f"project {config.project_id} at {config.base_url}; not asked (a sync checks it first)"


def _youtube(_session: Session, settings: Settings) -> tuple[Verdict, str]:
    from channelscribe.youtube.config import YouTubeConfig

    keys = len(YouTubeConfig.from_settings(settings).api_keys)
    return Verdict.OK, f"{keys} Data API key{'s' * (keys != 1)}" if keys else "no Data API key: listing without one"


def _data(session: Session, _settings: Settings) -> tuple[Verdict, str]:
    from channelscribe.store.root import DataRoot

    root = DataRoot.open(session.data)
    free = root.free_bytes()
    if free is None:
        return Verdict.OK, f"{root.url} is writable"
    text = f"{root.url} is writable, {free / (1 << 30):.1f} GiB free"
    return (Verdict.NOTE if free < LOW_SPACE_BYTES else Verdict.OK), text


def _network(_session: Session, _settings: Settings) -> tuple[Verdict, str]:
    proxy = next((os.environ[name] for name in _PROXIES if os.environ.get(name)), "")
    bundle = ca_bundle()
    require_network()
    return Verdict.OK, f"proxy {proxy or 'none'}, certificates {bundle or 'of the system'}"


def _server(session: Session, _settings: Settings) -> tuple[Verdict, str]:
    if address := os.environ.get("PREFECT_API_URL"):
        if answers(address.rstrip("/")):
            return Verdict.OK, f"{address} answers"
        return Verdict.NOTE, f"PREFECT_API_URL is {address} and nothing answers there"
    known = running_server(prefect_home(session.data))
    return Verdict.OK, f"`up` runs at {known.ui_url}" if known else "none runs; `sync` starts a temporary one"


CHECKS: dict[str, Check] = {
    "python": _python,
    "packages": _packages,
    "yt-dlp": _ytdlp,
    "deno": _deno,
    "torch": _torch,
    "GPU": _gpu,
    "model": _model,
    "ODIN": _odin,
    "YouTube": _youtube,
    "data root": _data,
    "network": _network,
    "Prefect server": _server,
}
