"""The engines as data: what each can do, what it needs, where its factory is. `open_engine` is the only way to one.

Nothing heavy is imported here; an engine's module loads when it is opened, its model at its first window.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from channelscribe.asr.engine import Engine
from channelscribe.asr.model import resolve_model
from channelscribe.core.errors import EnvironmentFailure, UsageError
from channelscribe.core.fingerprint import transcript_fingerprint
from channelscribe.core.gpu import Gate
from channelscribe.core.profile import TranscriptionProfile
from channelscribe.core.window import WindowKeeper

# Named and not imported: a noun knows only the core, and this is the one place that puts the two rooms together.
_LISTENER = "channelscribe.audio.feed:listen"


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """`factory` is "module:function" and takes profile, listener, gate and keeper; `extra` is what to install."""

    name: str
    factory: str
    capabilities: frozenset[str]
    extra: str = ""


ENGINES: dict[str, EngineSpec] = {
    spec.name: spec
    for spec in (
        EngineSpec(
            "whisper",
            "channelscribe.asr.whisper:open_whisper",
            frozenset({"local", "timestamps", "words", "languages", "language_detection"}),
        ),
    )
}


def engine_spec(name: str) -> EngineSpec:
    if name not in ENGINES:
        raise UsageError(f"There is no engine {name!r}; there are: {', '.join(sorted(ENGINES))}.", code="no_engine")
    return ENGINES[name]


def open_engine(
    profile: TranscriptionProfile,
    name: str = "whisper",
    *,
    gate: Gate | None = None,
    keeper: WindowKeeper | None = None,
) -> Engine:
    """`gate` holds the engine between its steps, `keeper` keeps finished windows; without them neither happens.

    Resolves the model at once, so that a missing one is told before any work; loads no weight yet."""
    spec = engine_spec(name)
    try:
        engine: Engine = _named(spec.factory)(profile, _named(_LISTENER), gate, keeper)
    except ImportError as error:
        install = f"pip install 'channelscribe[{spec.extra}]'" if spec.extra else "pip install channelscribe"
        raise EnvironmentFailure(
            f"The engine {name} does not load ({error}); install it with: {install}.", code="no_engine"
        ) from error
    return engine


def expected_fingerprint(profile: TranscriptionProfile, media_sha256: str, engine: str = "whisper") -> str:
    """The `Transcript.fingerprint` that transcribing this media with this profile would have."""
    return fingerprinter(profile, engine)(media_sha256)


def fingerprinter(profile: TranscriptionProfile, engine: str = "whisper") -> Callable[[str], str]:
    """The same for many media: looks at the model's files once, and not once for each of them."""
    ref, name, parameters = resolve_model(profile), engine_spec(engine).name, profile.text_parameters()

    def fingerprint(media_sha256: str) -> str:
        return transcript_fingerprint(
            media_sha256=media_sha256,
            engine=name,
            model=ref.name,
            model_revision=ref.revision,
            parameters=parameters,
        )

    return fingerprint


def _named(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), name)
    return found
