"""The small Whisper, the heads that help it learn, and a start that already knows what near and far are.

Whisper has to learn from position vectors that sound is local; here its attention begins by looking at neighbours, and
timestamp tokens begin as the position vectors that they name. All of it stays free to change.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import WhisperConfig, WhisperForConditionalGeneration

from tests.speech_model.targets import PHONEME_CLASSES, Vocabulary

WIDTH, HEADS, ENCODER_LAYERS, DECODER_LAYERS = 160, 4, 4, 3
MAX_TOKENS = 224
PHONEME_LAYER = 2
_SHARPNESS = 1.7
_NEIGHBOURS = ((-3, -1, 1, 3), (-6, -2, 2, 6), (-12, -4, 4, 12), (-20, -7, 7, 20))
_PREVIOUS_TOKENS = (-1, -2, -3, -5)


def config(vocabulary: Vocabulary) -> WhisperConfig:
    end = vocabulary.end
    return WhisperConfig(
        vocab_size=len(vocabulary.processor.tokenizer),
        num_mel_bins=80,
        d_model=WIDTH,
        encoder_layers=ENCODER_LAYERS,
        decoder_layers=DECODER_LAYERS,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=4 * WIDTH,
        decoder_ffn_dim=4 * WIDTH,
        max_source_positions=1500,
        max_target_positions=MAX_TOKENS,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=vocabulary.start,
        suppress_tokens=[],
        begin_suppress_tokens=[],
    )


def _sinusoids(length: int, width: int) -> Tensor:
    rates = torch.exp(-math.log(10_000) / (width // 2 - 1) * torch.arange(width // 2))
    angles = torch.arange(length)[:, None] * rates[None, :]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


@torch.no_grad()
def _look_at(attention: nn.Module, shifts: tuple[int, ...]) -> None:
    """Head h looks `shifts[h]` places away: the key is the position, the query the same position turned."""
    pairs, half, size = WIDTH // HEADS // 2, WIDTH // 2, WIDTH // HEADS
    rates = torch.exp(-math.log(10_000) / (half - 1) * torch.arange(pairs))
    for head, shift in enumerate(shifts):
        rows = slice(head * size, (head + 1) * size)
        key, query = torch.zeros(size, WIDTH), torch.zeros(size, WIDTH)
        for f in range(pairs):
            c, s = math.cos(float(rates[f]) * shift), math.sin(float(rates[f]) * shift)
            key[2 * f, f], key[2 * f + 1, half + f] = 1.0, 1.0
            query[2 * f, f], query[2 * f, half + f] = c, s
            query[2 * f + 1, f], query[2 * f + 1, half + f] = -s, c
        attention.k_proj.weight[rows] = _SHARPNESS * key + 0.02 * torch.randn_like(key)
        attention.q_proj.weight[rows] = _SHARPNESS * query + 0.02 * torch.randn_like(query)


class Listener(nn.Module):
    """The model together with what only training needs."""

    def __init__(self, vocabulary: Vocabulary, mel_filters: Tensor) -> None:
        super().__init__()
        self.whisper = WhisperForConditionalGeneration._from_config(config(vocabulary), attn_implementation="eager")
        self.word_head = nn.Linear(WIDTH, len(vocabulary.word_classes) + 1)
        self.phoneme_head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, PHONEME_CLASSES))
        self.register_buffer("mel_filters", mel_filters.float(), persistent=False)
        self.register_buffer("hann", torch.hann_window(400), persistent=False)
        self._start(vocabulary)

    @torch.no_grad()
    def _start(self, vocabulary: Vocabulary) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear) and module is not self.whisper.proj_out:
                nn.init.xavier_uniform_(module.weight)
            if isinstance(module, nn.Conv1d):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
        core = self.whisper.model
        for layer, shifts in zip(core.encoder.layers, _NEIGHBOURS, strict=True):
            _look_at(layer.self_attn, shifts)
        for layer in core.decoder.layers:
            _look_at(layer.self_attn, _PREVIOUS_TOKENS)
        turn = torch.linalg.qr(torch.randn(WIDTH, WIDTH))[0]
        embedding = core.decoder.embed_tokens.weight
        embedding.normal_(std=0.07)
        embedding[vocabulary.first_stamp :] = 0.1 * _sinusoids(1501, WIDTH) @ turn
        core.decoder.embed_positions.weight.copy_(0.1 * _sinusoids(MAX_TOKENS, WIDTH))

    def log_mel(self, wave: Tensor) -> Tensor:
        """As WhisperFeatureExtractor computes it, of any length."""
        power = torch.stft(wave, 400, 160, window=self.hann, return_complex=True)[..., :-1].abs() ** 2
        mel = torch.clamp(self.mel_filters.T @ power, min=1e-10).log10()
        return (torch.maximum(mel, mel.amax((1, 2), keepdim=True) - 8) + 4) / 4

    def encode(self, mel: Tensor, offset: int) -> tuple[Tensor, Tensor]:
        """The encoder's states of sound at any place of the 30 s window, and those of the phoneme layer."""
        encoder = self.whisper.model.encoder
        states = F.gelu(encoder.conv2(F.gelu(encoder.conv1(mel)))).transpose(1, 2)
        states = states + encoder.embed_positions.weight[offset : offset + states.shape[1]]
        early = states
        for depth, layer in enumerate(encoder.layers):
            states = states + _attend(layer.self_attn, layer.self_attn_layer_norm(states))
            states = states + layer.fc2(F.gelu(layer.fc1(layer.final_layer_norm(states))))
            early = states if depth + 1 == PHONEME_LAYER else early
        return encoder.layer_norm(states), early

    def decode(self, given: Tensor, heard: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Logits of the next tokens, and each layer's cross-attention."""
        out = self.whisper.model.decoder(
            input_ids=given, encoder_hidden_states=heard, output_attentions=True, use_cache=False
        )
        return self.whisper.proj_out(out.last_hidden_state), out.cross_attentions


def _attend(attention: nn.Module, states: Tensor) -> Tensor:
    shape = (*states.shape[:2], HEADS, WIDTH // HEADS)
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    query, key, value = (p(states).view(shape).transpose(1, 2) for p in projections)
    mixed = F.scaled_dot_product_attention(query, key, value)
    return attention.out_proj(mixed.transpose(1, 2).reshape(states.shape))
