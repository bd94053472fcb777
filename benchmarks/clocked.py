"""Whisper checkpoints of true shapes and no training whose sound says how many tokens each window has.

`workloads.py` writes the sound, every engine decodes the same tokens with all its heuristics on. A window of `n` tokens
is loud for `n * TOKEN_S` seconds and then quiet. The circuit, in weights of the real modules and of the real shapes:

* the encoder's convolutions put loudness into one channel, which the (random) layers leave alone;
* decoder position `3 + i` carries word `i`, and the position code of the frame in which that word sounds;
* in the last decoder layer two heads of the cross-attention look up loudness at that frame and at the one of the
  word before; two neurons of its MLP turn "quiet here" into an end timestamp and "quiet there, too" into the end.

Work per window is that of a trained model with as many tokens; timings are real, texts are invented.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.vocabulary import languages, save_tokenizer, some_words, special_ids
from channelscribe.core.window import RATE_HZ

FORMAT = 2  # raised when the recipe changes, so that a kept checkpoint is built anew
WINDOW_S = 30.0
FRAMES = 1500
TOKEN_FRAMES = 7
TOKEN_S = TOKEN_FRAMES * WINDOW_S / FRAMES
MOST_TOKENS = FRAMES // TOKEN_FRAMES
LOUD, HISS = 3000.0, 12.0  # standard deviations of int16 noise
_PROMPT, _HEAD, _PAIRS = 3, 64, 32
_END_STAMP = 1400  # <|28.00|>
_EMBED_STD, _CODE_GAIN, _NOISE_GAIN = 0.02, 4.0, 0.25
_LOOK_GAIN, _SWITCH, _TOP_LOGIT = 4.0, 6.0, 40.0
_LOUD_GAIN, _LOUD_MARGIN = 12.0, 0.5  # a unit of Whisper's log-mel is 40 dB: 20 dB below full is still loud


@dataclass(frozen=True, slots=True)
class Architecture:
    """The shape of one published Whisper; head width 64 and MLP width 4 x `width` hold for all of them."""

    width: int
    encoder_layers: int
    decoder_layers: int
    mels: int
    vocabulary: int


# openai/whisper ModelDimensions; distil is distil-large-v3; mini is nobody's, for tests and for counting files.
ARCHITECTURES = {
    "mini": Architecture(128, 1, 1, 80, 51_865),
    "tiny": Architecture(384, 4, 4, 80, 51_865),
    "base": Architecture(512, 6, 6, 80, 51_865),
    "small": Architecture(768, 12, 12, 80, 51_865),
    "turbo": Architecture(1280, 32, 4, 128, 51_866),
    "large-v3": Architecture(1280, 32, 32, 128, 51_866),
    "distil": Architecture(1280, 32, 2, 128, 51_866),
}


@dataclass(frozen=True, slots=True)
class Channels:
    """Which of the residual stream's channels the circuit keeps for itself; `sines` and `cosines` are paired."""

    sines: list[int]
    cosines: list[int]
    here: int
    before: int

    @classmethod
    def of(cls, width: int) -> Channels:
        half = width // 2
        # From one radian a frame down to one in 500: what tells frames of one window apart.
        fastest = int(half * math.log(500) / math.log(10_000))
        picked = sorted({round(place * fastest / (_PAIRS - 1)) for place in range(_PAIRS)})
        free = [index for index in range(half) if index not in picked]
        return cls(picked, [half + index for index in picked], free[-1], free[-2])

    @property
    def code(self) -> list[int]:
        return self.sines + self.cosines

    @property
    def kept(self) -> list[int]:
        return [*self.code, self.here, self.before]


def sound_of(tokens: int, length: int, seed: int) -> NDArray[np.int16]:
    """One window's sound, int16 at 16 kHz: noise for as long as its tokens take, then a hiss."""
    noise = np.random.default_rng(seed).standard_normal(length, dtype=np.float32) * HISS
    noise[: round(tokens * TOKEN_S * RATE_HZ)] *= LOUD / HISS
    return noise.astype(np.int16)


def checkpoint(arch: str, folder: Path, *, device: str = "cpu", dtype: str = "float32") -> Path:
    """`folder/arch`, built there unless it is already there. Raises KeyError for an unknown architecture."""
    target, wanted = folder / arch, {"format": FORMAT, "dtype": dtype, **asdict(ARCHITECTURES[arch])}
    note = target / "clock.json"
    if not note.is_file() or json.loads(note.read_text(encoding="utf-8"))["built"] != wanted:
        note.unlink(missing_ok=True)
        words = _build(ARCHITECTURES[arch], target, device, getattr(torch, dtype))
        note.write_text(json.dumps({"built": wanted, "words": words}), encoding="utf-8")
    return target


def words_of(folder: Path) -> list[str]:
    """The words of a full window, in order; a window of n tokens says the first n."""
    words: list[str] = json.loads((folder / "clock.json").read_text(encoding="utf-8"))["words"]
    return words


def _build(arch: Architecture, folder: Path, device: str, dtype: torch.dtype) -> list[str]:
    from transformers import WhisperFeatureExtractor

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = save_tokenizer(folder, arch.vocabulary)
    extractor = WhisperFeatureExtractor(feature_size=arch.mels)
    extractor.save_pretrained(folder)
    ids = some_words(MOST_TOKENS)
    model = clocked_model(arch, ids, extractor, device)
    model.to(dtype).save_pretrained(folder)
    return [tokenizer.decode([index]).strip() for index in ids]


@torch.no_grad()
def clocked_model(arch: Architecture, ids: list[int], extractor: Any, device: str = "cpu") -> Any:
    """The model in float32, with the circuit written into it and its thresholds measured on it."""
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    special, channels = special_ids(arch.vocabulary), Channels.of(arch.width)
    torch.manual_seed(0)
    with torch.device(device):
        model: Any = WhisperForConditionalGeneration(WhisperConfig(**_config(arch, special))).eval()
    model.generation_config = _generation(arch, special)
    quiet_layers(model, channels)
    features = _calibration(extractor).to(device)
    hear_loudness(model.model.encoder, channels, features)
    write_schedule(model.model.decoder, channels, ids, special)
    look_up(model.model.decoder.layers[-1].encoder_attn, channels, model.model.encoder, features)
    switch(model.model.decoder, channels, special)
    model.tie_weights()
    return model


def quiet_layers(model: Any, channels: Channels) -> None:
    """Random layers add a little to the stream and nothing to the circuit's channels."""
    for part in (model.model.encoder, model.model.decoder):
        for name, parameter in part.named_parameters():
            if name.endswith(("out_proj.weight", "fc2.weight", "out_proj.bias", "fc2.bias")):
                parameter.mul_(_NOISE_GAIN)
                parameter[channels.kept] = 0.0
    for conv in (model.model.encoder.conv1, model.model.encoder.conv2):
        conv.weight[channels.kept] = 0.0
        conv.bias[channels.kept] = 0.0


def hear_loudness(encoder: Any, channels: Channels, features: Tensor) -> None:
    """Channel `here` of the encoder's stream: above 0 where the lower half of the bands is loud, else 0."""
    low = features.shape[1] // 2
    full = features[0, :low].mean()
    encoder.conv1.weight[channels.here, :low, 1] = _LOUD_GAIN / low
    encoder.conv1.bias[channels.here] = -_LOUD_GAIN * (full - _LOUD_MARGIN)
    encoder.conv2.weight[channels.here, channels.here, 1] = 1.0
    positions = encoder.embed_positions.weight
    positions[:, [channels.here, channels.before]] = 0.0
    positions[:, channels.code] *= _CODE_GAIN


def write_schedule(decoder: Any, channels: Channels, ids: list[int], special: dict[str, int]) -> None:
    """What stands at each position: the token to say and the code of the frame in which it sounds."""
    end = special["<|endoftext|>"]
    said = [special["<|en|>"], special["<|transcribe|>"], special["<|0.00|>"], *ids, special["<|0.00|>"] + _END_STAMP]
    tokens, positions = decoder.embed_tokens.weight, decoder.embed_positions.weight
    tokens.normal_(0.0, _EMBED_STD)
    tokens[:, channels.kept] = 0.0
    said += [end] * (len(positions) - len(said))
    positions.copy_(tokens[said] / _EMBED_STD)
    frames = torch.arange(len(positions), device=positions.device).sub(_PROMPT).clamp(0, MOST_TOKENS + 1)
    positions[:, channels.code] = _CODE_GAIN * _code(frames * TOKEN_FRAMES + TOKEN_FRAMES // 2, channels, decoder)
    decoder.layer_norm.weight[channels.kept] = 0.0


def look_up(attention: Any, channels: Channels, encoder: Any, features: Tensor) -> None:
    """Two heads: loudness at this position's frame into `here`, at the frame one token earlier into `before`."""
    heard = encoder(features).last_hidden_state[..., channels.here]
    loud, quiet = heard[0, 8:-8].min(), heard[1, FRAMES // 2 + 8 :].max()
    for head, (target, back) in enumerate(((channels.here, 0), (channels.before, TOKEN_FRAMES))):
        rows = slice(head * _HEAD, (head + 1) * _HEAD)
        for layer in (attention.q_proj, attention.k_proj, attention.v_proj):
            layer.weight[rows] = 0.0
        attention.q_proj.bias[rows] = 0.0
        attention.v_proj.bias[rows] = 0.0
        attention.q_proj.weight[rows, channels.code] = _LOOK_GAIN * _turned(back, channels, attention.q_proj)
        attention.k_proj.weight[rows, channels.code] = torch.eye(_HEAD, device=heard.device)
        attention.v_proj.weight[rows.start, channels.here] = 2.0 * _SWITCH / (loud - quiet)
        attention.v_proj.bias[rows.start] = -_SWITCH * (loud + quiet) / (loud - quiet)
        attention.out_proj.weight[:, rows] = 0.0
        attention.out_proj.weight[target, rows.start] = 1.0


def switch(decoder: Any, channels: Channels, special: dict[str, int]) -> None:
    """Quiet here says the end timestamp, louder than any word; quiet before says the end, louder than that."""
    layer, tokens = decoder.layers[-1], decoder.embed_tokens.weight
    stamp, end = special["<|0.00|>"] + _END_STAMP, special["<|endoftext|>"]
    for neuron, (channel, token, strength) in enumerate(((channels.here, stamp, 1.0), (channels.before, end, 2.5))):
        layer.fc1.weight[neuron] = 0.0
        layer.fc1.weight[neuron, channel] = -1.0
        layer.fc1.bias[neuron] = 0.0
        layer.fc2.weight[:, neuron] = strength * tokens[token] / _EMBED_STD
    # A row of unit deviation against its own embedding: sharp enough that every log probability is about 0.
    decoder.layer_norm.weight.mul_(2.0 * _TOP_LOGIT / (_EMBED_STD * tokens.shape[1]))


def _code(frames: Tensor, channels: Channels, decoder: Any) -> Tensor:
    """Whisper's own sinusoids at some frames, in the order of `Channels.code`."""
    angles = frames[:, None].float() * _speeds(channels, decoder.embed_tokens.weight.shape[1]).to(frames.device)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _speeds(channels: Channels, width: int) -> Tensor:
    return torch.exp(-math.log(10_000) / (width // 2 - 1) * torch.tensor(channels.sines, dtype=torch.float32))


def _turned(frames_back: int, channels: Channels, layer: nn.Linear) -> Tensor:
    """The matrix that makes a frame's code that of a frame so many earlier."""
    angles = -frames_back * _speeds(channels, layer.weight.shape[1]).to(layer.weight.device)
    sines, cosines = torch.diag(angles.sin()), torch.diag(angles.cos())
    return torch.cat([torch.cat([cosines, sines], dim=1), torch.cat([-sines, cosines], dim=1)])


def _calibration(extractor: Any) -> Tensor:
    """A window that is loud throughout and one that is loud in its first half."""
    sounds = [sound_of(count, round(WINDOW_S * RATE_HZ), 1) for count in (MOST_TOKENS + 1, MOST_TOKENS // 2)]
    floats = [sound.astype(np.float32) / 32768.0 for sound in sounds]
    features: Tensor = extractor(floats, sampling_rate=RATE_HZ, return_tensors="pt").input_features
    return features


def _config(arch: Architecture, special: dict[str, int]) -> dict[str, Any]:
    heads, wide, end = arch.width // _HEAD, 4 * arch.width, special["<|endoftext|>"]
    return {
        "vocab_size": arch.vocabulary,
        "num_mel_bins": arch.mels,
        "d_model": arch.width,
        "encoder_layers": arch.encoder_layers,
        "decoder_layers": arch.decoder_layers,
        "encoder_attention_heads": heads,
        "decoder_attention_heads": heads,
        "encoder_ffn_dim": wide,
        "decoder_ffn_dim": wide,
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "decoder_start_token_id": special["<|startoftranscript|>"],
        "begin_suppress_tokens": None,
        "suppress_tokens": None,
    }


def _generation(arch: Architecture, special: dict[str, int]) -> Any:
    from transformers import GenerationConfig

    end, start = special["<|endoftext|>"], special["<|startoftranscript|>"]
    forbidden = [start, *(special[f"<|{name}|>"] for name in ("startoflm", "startofprev", "nospeech"))]
    return GenerationConfig(
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=start,
        max_length=448,
        num_beams=1,
        begin_suppress_tokens=[220, end],
        suppress_tokens=[1, 2, 7, 8, 9, 10, 14, 25, *forbidden],
        no_timestamps_token_id=special["<|notimestamps|>"],
        prev_sot_token_id=special["<|startofprev|>"],
        is_multilingual=True,
        max_initial_timestamp_index=50,
        return_timestamps=False,
        lang_to_id={f"<|{code}|>": special[f"<|{code}|>"] for code in languages(arch.vocabulary)},
        task_to_id={task: special[f"<|{task}|>"] for task in ("transcribe", "translate")},
        alignment_heads=[[arch.decoder_layers - 1, head] for head in range(2)],
    )
