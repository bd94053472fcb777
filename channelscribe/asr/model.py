"""Which model a profile means, down to its content: name and revision, found without loading a weight.

The fingerprint of every transcript needs this before any work is done, so it must stay cheap; `loading` reads the
weights later, once.
"""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass
from pathlib import Path

from channelscribe.core.errors import ChannelscribeError, EnvironmentFailure
from channelscribe.core.fingerprint import fingerprint, sha256_file
from channelscribe.core.profile import TranscriptionProfile

_CONTENT = ("*.json", "*.safetensors", "*.txt", "*.model", "pytorch_model*.bin")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_HUB_TIMEOUT_S = 20.0
_lock = threading.Lock()
_hashes: dict[tuple[str, int, int], str] = {}
_commits: dict[tuple[str, str], str] = {}


@dataclass(frozen=True, slots=True)
class ModelRef:
    """`revision` is the content hash of a folder or the commit of a hub model; `folder` is None for the latter."""

    name: str
    revision: str
    folder: Path | None = None


def resolve_model(profile: TranscriptionProfile) -> ModelRef:
    """Raises EnvironmentFailure with the sentence that mends it when the model is missing, broken or out of reach."""
    folder = Path(profile.model).expanduser()
    if folder.is_dir():
        return ModelRef(folder.resolve().name, _folder_revision(folder), folder.resolve())
    if folder.exists() or not _HUB_NAME.fullmatch(profile.model):
        raise EnvironmentFailure(
            f"{profile.model} is not a model folder; set CHANNELSCRIBE_MODEL to a folder or a Hugging Face model name.",
            code="no_model",
        )
    return ModelRef(profile.model, _commit(profile.model, profile.revision))


def broken(name: str, what: str) -> EnvironmentFailure:
    return EnvironmentFailure(
        f"The speech model {name} cannot be used: {what}; fetch it again or set CHANNELSCRIBE_MODEL to another.",
        code="broken_model",
    )


def _folder_revision(folder: Path) -> str:
    _check_config(folder)
    if not ((folder / "tokenizer.json").is_file() or (folder / "vocab.json").is_file()):
        raise broken(folder.name, "its tokenizer (tokenizer.json or vocab.json) is missing")
    files = sorted({path for pattern in _CONTENT for path in folder.glob(pattern) if path.is_file()})
    weights = [path for path in files if path.suffix in (".safetensors", ".bin")]
    if not weights:
        raise broken(folder.name, "its weights (model.safetensors) are missing")
    for path in weights:
        _check_whole(path)
    return fingerprint({path.name: _hash(path) for path in files})


def _check_config(folder: Path) -> None:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = config.get("model_type")
    except FileNotFoundError:
        raise broken(folder.name, "config.json is missing") from None
    except (OSError, ValueError, AttributeError) as error:
        raise broken(folder.name, f"config.json cannot be read ({error})") from error
    if kind != "whisper":
        raise broken(folder.name, f"it is a {kind or 'nameless'} model and not a Whisper one")


def _check_whole(path: Path) -> None:
    """The header of a safetensors file says how long the file must be."""
    if path.suffix != ".safetensors":
        return
    try:
        with path.open("rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            size = path.stat().st_size
            header = json.loads(handle.read(length)) if 0 < length <= size - 8 else None
        ends = [entry["data_offsets"][1] for name, entry in (header or {}).items() if name != "__metadata__"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise broken(path.parent.name, f"{path.name} is damaged ({type(error).__name__})") from error
    if not ends or 8 + length + max(ends) != size:
        raise broken(path.parent.name, f"{path.name} is damaged or cut short ({size} bytes)")


def _check_json(path: Path) -> None:
    """transformers goes on with defaults when it cannot read some of these."""
    if path.suffix == ".json":
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise broken(path.parent.name, f"{path.name} cannot be read ({error})") from error


def _hash(path: Path) -> str:
    stat = path.stat()
    key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns)
    with _lock:
        known = _hashes.get(key)
    if known is None:
        _check_json(path)
        known = sha256_file(path)
        with _lock:
            _hashes[key] = known
    return known


def _commit(name: str, revision: str) -> str:
    if _COMMIT.fullmatch(revision):
        return revision
    with _lock:
        if (name, revision) not in _commits:
            _commits[name, revision] = _cached_commit(name, revision) or _hub_commit(name, revision)
        return _commits[name, revision]


def _cached_commit(name: str, revision: str) -> str | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, "config.json", revision=revision)
    except HFValidationError as error:
        raise broken(name, f"that is no model name ({error})") from error
    return Path(found).parent.name if isinstance(found, str) else None


def _hub_commit(name: str, revision: str) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        commit = HfApi().model_info(name, revision=revision, timeout=_HUB_TIMEOUT_S).sha
    except (GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise broken(
            name, f"the hub does not give revision {revision!r} of it to us ({type(error).__name__})"
        ) from error
    except Exception as error:  # the hub client lets the errors of its HTTP library through
        raise unreachable(name, error) from error
    if not commit:
        raise broken(name, "the hub names no commit for it")
    return commit


def unreachable(name: str, error: Exception) -> ChannelscribeError:
    return EnvironmentFailure(
        f"The speech model {name} is not on this machine and the Hugging Face hub cannot be reached "
        f"({type(error).__name__}); connect once, or set CHANNELSCRIBE_MODEL to a model folder.",
        code="model_unreachable",
    )
