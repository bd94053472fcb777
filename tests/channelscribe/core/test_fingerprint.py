"""A fingerprint is the identity of work: all that changes the text is in it, and nothing else."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channelscribe.core.fingerprint import canonical_json, fingerprint, sha256_file, transcript_fingerprint
from channelscribe.core.profile import Preset, TranscriptionProfile

leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
json_values = st.recursive(leaves, lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(), v, max_size=4))
json_objects = st.dictionaries(st.text(), json_values, max_size=6)
TEXT_CHANGES: dict[str, Any] = {
    "language": "de",
    "window_s": 17.0,
    "speech_threshold": 0.6,
    "temperatures": (0.0,),
    "compression_ratio_threshold": 2.0,
    "logprob_threshold": -0.5,
    "no_speech_threshold": 0.3,
    "words": True,
    "kv_bits": 8,
}
SPEED_CHANGES: dict[str, Any] = {
    "batch_from_card": True,
    "vram_budget_gib": 3.0,
    "batch_size": 3,
    "device": "cpu",
    "dtype": "float32",
    "pool_mib": 64,
    "videos_in_flight": 2,
}


def shuffled(value: Any, rng: random.Random) -> Any:
    if isinstance(value, dict):
        items = list(value.items())
        rng.shuffle(items)
        return {key: shuffled(each, rng) for key, each in items}
    return [shuffled(each, rng) for each in value] if isinstance(value, list) else value


def of_profile(profile: TranscriptionProfile) -> str:
    return transcript_fingerprint(
        media_sha256="0" * 64,
        engine="whisper",
        model=profile.model,
        model_revision="abc",
        parameters=profile.text_parameters(),
    )


@given(json_objects, st.randoms())
def test_the_order_of_keys_does_not_matter(value: dict[str, Any], rng: random.Random) -> None:
    assert fingerprint(shuffled(value, rng)) == fingerprint(value)


@given(json_objects)
def test_canonical_json_is_json_and_the_fingerprint_its_hash(value: dict[str, Any]) -> None:
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text
    assert fingerprint(value) == hashlib.sha256(text.encode()).hexdigest()


@given(json_objects, json_objects)
def test_other_values_have_other_fingerprints(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert (fingerprint(one) == fingerprint(other)) == (canonical_json(one) == canonical_json(other))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), b"bytes", {1, 2}, Path()])
def test_what_json_lacks_is_refused(bad: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        fingerprint({"a": bad})


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        fingerprint({"a": "\ud800"})


@pytest.mark.parametrize("field", TEXT_CHANGES)
def test_every_text_parameter_changes_it(field: str) -> None:
    plain = TranscriptionProfile()
    changed = plain.model_copy(update={field: TEXT_CHANGES[field]})
    assert of_profile(changed) != of_profile(plain)


@pytest.mark.parametrize("field", SPEED_CHANGES)
def test_no_speed_parameter_changes_it(field: str) -> None:
    plain = TranscriptionProfile()
    changed = plain.model_copy(update={field: SPEED_CHANGES[field]})
    assert changed != plain
    assert of_profile(changed) == of_profile(plain)


def test_every_field_of_a_profile_is_known_here() -> None:
    beside = {"model", "revision"}
    assert set(TranscriptionProfile.model_fields) == set(TEXT_CHANGES) | set(SPEED_CHANGES) | beside
    assert set(TranscriptionProfile(words=True, kv_bits=8).text_parameters()) == set(TEXT_CHANGES)


def test_without_words_the_identity_is_what_it_was_before_there_were_any() -> None:
    assert of_profile(TranscriptionProfile(model="m")) == (
        "e049ef1a397820fadc9326de8c20b9d4e7fd6f8ed4b2ec42e2c39c7a43a40d26"
    )


def test_presets_of_one_window_length_share_their_work() -> None:
    fast, most = TranscriptionProfile.preset(Preset.FAST), TranscriptionProfile.preset(Preset.MAX)
    assert of_profile(fast) == of_profile(most) == of_profile(TranscriptionProfile.preset(Preset.AUTO))
    assert of_profile(TranscriptionProfile.preset(Preset.STABLE)) != of_profile(fast)


def test_a_batch_size_that_is_given_outranks_the_card() -> None:
    assert TranscriptionProfile.preset(Preset.AUTO).batch_from_card
    assert not TranscriptionProfile.preset(Preset.AUTO, batch_size=3).batch_from_card


@pytest.mark.parametrize("field", ["media_sha256", "engine", "model", "model_revision"])
def test_every_input_changes_it(field: str) -> None:
    inputs: dict[str, Any] = {"media_sha256": "a", "engine": "b", "model": "c", "model_revision": "d"}
    plain = transcript_fingerprint(**inputs, parameters={})
    assert transcript_fingerprint(**{**inputs, field: "other"}, parameters={}) != plain


@given(st.binary(max_size=5000))
def test_a_files_hash_is_that_of_its_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "hashed.bin"
    path.write_bytes(data)
    assert sha256_file(path) == hashlib.sha256(data).hexdigest()


def test_a_file_longer_than_one_piece(tmp_path: Path) -> None:
    data = random.Random(7).randbytes((1 << 20) + 17)
    (tmp_path / "long").write_bytes(data)
    assert sha256_file(tmp_path / "long") == hashlib.sha256(data).hexdigest()
