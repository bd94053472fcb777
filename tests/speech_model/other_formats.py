"""The checkpoint in the format of openai-whisper, which finds every token where OpenAI's own vocabulary has it.

That vocabulary is fixed inside the package, so what it prints is not our text: `text_of` reads the ids it found.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor
from transformers import WhisperForConditionalGeneration, WhisperProcessor

# openai-whisper takes a model for multilingual, with 99 languages, by this number of tokens.
TOKENS = 51_865
# Our words lie from here on: by default openai-whisper suppresses signs before and behind, and none in between.
WORDS = 43_000
END, FIRST_STAMP = 50_257, 50_364
OTHERS = {
    "<|endoftext|>": END,
    "<|startoftranscript|>": 50_258,
    "<|en|>": 50_259,
    "<|de|>": 50_261,
    "<|translate|>": 50_358,
    "<|transcribe|>": 50_359,
    "<|startoflm|>": 50_360,
    "<|startofprev|>": 50_361,
    "<|nospeech|>": 50_362,
    "<|notimestamps|>": 50_363,
}
NEVER = -100.0
NAMES = {
    "model.": "",
    "layers.": "blocks.",
    "self_attn_layer_norm": "attn_ln",
    "encoder_attn_layer_norm": "cross_attn_ln",
    "final_layer_norm": "mlp_ln",
    "self_attn": "attn",
    "encoder_attn": "cross_attn",
    "q_proj": "query",
    "k_proj": "key",
    "v_proj": "value",
    "out_proj": "out",
    "fc1": "mlp.0",
    "fc2": "mlp.2",
    "encoder.layer_norm": "encoder.ln_post",
    "decoder.layer_norm": "decoder.ln",
    "embed_positions.weight": "positional_embedding",
    "embed_tokens": "token_embedding",
}


def _renamed(name: str) -> str:
    for ours, theirs in NAMES.items():
        name = name.replace(ours, theirs)
    return name


def _places(processor: WhisperProcessor) -> Tensor:
    """Where openai-whisper looks for each of our tokens."""
    tokenizer = processor.tokenizer
    places = torch.arange(len(tokenizer)) + WORDS
    for token, place in OTHERS.items():
        places[tokenizer.convert_tokens_to_ids(token)] = place
    first_stamp = tokenizer.convert_tokens_to_ids("<|0.00|>")
    places[first_stamp:] = torch.arange(FIRST_STAMP, TOKENS)
    return places


def _embedding(state: dict[str, Tensor], places: Tensor) -> Tensor:
    """Tokens that we lack score `NEVER`: what leaves the last norm, less its bias and over its weight, sums to 0."""
    weight, bias = state["decoder.ln.weight"], state["decoder.ln.bias"]
    silent = NEVER / (bias / weight).sum() / weight
    rows = silent.repeat(TOKENS, 1)
    rows[places] = state["decoder.token_embedding.weight"]
    return rows


def to_openai_whisper(checkpoint: Path, out: Path) -> None:
    """Writes the file that `whisper.load_model` opens."""
    model = WhisperForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32)
    processor = WhisperProcessor.from_pretrained(checkpoint)
    state = {_renamed(name): tensor for name, tensor in model.state_dict().items() if name != "proj_out.weight"}
    state["decoder.token_embedding.weight"] = _embedding(state, _places(processor))
    c = model.config
    heads = {"n_audio_head": c.encoder_attention_heads, "n_text_head": c.decoder_attention_heads}
    layers = {"n_audio_layer": c.encoder_layers, "n_text_layer": c.decoder_layers}
    widths = {"n_audio_state": c.d_model, "n_text_state": c.d_model, "n_mels": c.num_mel_bins, "n_vocab": TOKENS}
    lengths = {"n_audio_ctx": c.max_source_positions, "n_text_ctx": c.max_target_positions}
    torch.save({"dims": heads | layers | widths | lengths, "model_state_dict": state}, out)


def text_of(tokens: Iterable[int], processor: WhisperProcessor) -> str:
    """The words among the tokens that openai-whisper found."""
    return str(processor.tokenizer.decode([token - WORDS for token in tokens if token < END])).strip()
