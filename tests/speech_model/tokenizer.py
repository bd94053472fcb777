"""Processors for the closed vocabulary: byte-level BPE that has a token for every word.

Whisper's has 1,501 timestamps, too; special tokens stand in the order of the published models.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    ParakeetFeatureExtractor,
    ParakeetProcessor,
    ParakeetTokenizer,
    WhisperFeatureExtractor,
    WhisperProcessor,
    WhisperTokenizer,
)

from tests.speech_model.sentences import LANGUAGES, sentence

TEXT_TOKENS = 2000
TIMESTAMPS = 1501
END = "<|endoftext|>"
BLANK = "<pad>"
SPECIAL = (
    "<|startoftranscript|>",
    *(f"<|{language}|>" for language in LANGUAGES),
    *("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"),
)


def _bpe() -> dict[str, Any]:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    r = Random(0)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=TEXT_TOKENS, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator([" " + sentence(language, r) for language in LANGUAGES for _ in range(20_000)], trainer)
    model: dict[str, Any] = json.loads(bpe.to_str())["model"]
    return model


def build() -> WhisperProcessor:
    model = _bpe()
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in model["merges"]]
    tokenizer = WhisperTokenizer(
        vocab=model["vocab"], merges=merges, unk_token=END, bos_token=END, eos_token=END, language=None
    )
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL)})
    stamps = [AddedToken(f"<|{i * 0.02:.2f}|>", special=False, normalized=False) for i in range(TIMESTAMPS)]
    tokenizer.add_tokens(stamps)
    features = WhisperFeatureExtractor(feature_size=80)  # type: ignore[no-untyped-call]
    return WhisperProcessor(features, tokenizer)  # type: ignore[no-untyped-call]


def for_parakeet(processor: WhisperProcessor) -> ParakeetProcessor:
    """The same text tokens; the number after them is the blank."""
    backend = Tokenizer.from_str(processor.tokenizer.backend_tokenizer.to_str())
    text = Tokenizer(backend.model)
    text.pre_tokenizer, text.decoder = backend.pre_tokenizer, backend.decoder
    blank = AddedToken(BLANK, special=True, normalized=False)
    tokenizer = ParakeetTokenizer(tokenizer_object=text, pad_token=blank)  # type: ignore[no-untyped-call]
    return ParakeetProcessor(ParakeetFeatureExtractor(), tokenizer, blank_token=BLANK, decoder_type="ctc")  # type: ignore[no-untyped-call]
