"""Writes the model of a training run as the folder that `from_pretrained` opens: `python -m tests.speech_model.export`.

`checkpoint/` and `checkpoint_parakeet/` are such folders; nothing else has to change when their content does.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from transformers import GenerationConfig, WhisperForConditionalGeneration

from tests.speech_model import tokenizer
from tests.speech_model.network import DECODER_LAYERS, GUIDED_HEADS, MAX_TOKENS
from tests.speech_model.sentences import LANGUAGES
from tests.speech_model.targets import Vocabulary
from tests.speech_model.train import LISTENERS


def _generation(vocabulary: Vocabulary) -> GenerationConfig:
    end = vocabulary.end
    return GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=vocabulary.start,
        is_multilingual=True,
        lang_to_id={f"<|{language}|>": vocabulary.id(f"<|{language}|>") for language in LANGUAGES},
        task_to_id={"transcribe": vocabulary.id("<|transcribe|>")},
        no_timestamps_token_id=vocabulary.id("<|notimestamps|>"),
        prev_sot_token_id=vocabulary.id("<|startofprev|>"),
        alignment_heads=[[layer, head] for layer in range(1, DECODER_LAYERS) for head in range(GUIDED_HEADS)],
        max_initial_timestamp_index=1500,
        return_timestamps=True,
        suppress_tokens=[],
        begin_suppress_tokens=[],
        max_length=MAX_TOKENS,
    )


def export(run: Path, out: Path) -> int:
    """The step that was written."""
    vocabulary = Vocabulary(tokenizer.build())
    state = torch.load(run / "state.pt", map_location="cpu", weights_only=True)
    listener = LISTENERS[json.loads(state["plan"]).get("listener", "whisper")](vocabulary)
    listener.load_state_dict(state["listener"])
    model = listener.finished()
    whisper = isinstance(model, WhisperForConditionalGeneration)
    if whisper:
        model.generation_config = _generation(vocabulary)
    model.save_pretrained(out)
    (vocabulary.processor if whisper else tokenizer.for_parakeet(vocabulary.processor)).save_pretrained(out)
    return int(state["step"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    step = export(given.run, given.out)
    print(json.dumps({"step": step, "out": str(given.out)}))


if __name__ == "__main__":
    main()
