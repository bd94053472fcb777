"""The small Whisper, the heads that help it learn, and a start that already knows what near and far are.

Whisper has to learn from position vectors that sound is local; here its attention begins by looking at neighbours, and
timestamp tokens begin as the position vectors that they name. All of it stays free to change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import WhisperConfig, WhisperForConditionalGeneration
from transformers.models.whisper.modeling_whisper import WhisperAttention, WhisperDecoderLayer

from tests.speech_model.learner import Learner, Losses
from tests.speech_model.targets import IGNORED, PHONEME_CLASSES, Batch, Vocabulary
from tests.speech_model.tokenizer import TIMESTAMPS

WIDTH, HEADS, ENCODER_LAYERS, DECODER_LAYERS = 160, 4, 4, 3
MAX_TOKENS = 224
PHONEME_LAYER = 2
_SHARPNESS = 1.7
_NEIGHBOURS = ((-3, -1, 1, 3), (-6, -2, 2, 6), (-12, -4, 4, 12), (-20, -7, 7, 20))
_PREVIOUS_TOKENS = (-1, -2, -3, -5)
_SCALE = 0.1
GUIDED_HEADS, POSITION_HEAD = 2, 1
_POSITION_ROWS = slice(POSITION_HEAD * WIDTH // HEADS, (POSITION_HEAD + 1) * WIDTH // HEADS)


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
def _look_at(attention: WhisperAttention, shifts: tuple[int, ...]) -> None:
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


@torch.no_grad()
def speak_of_positions(listener: Listener) -> None:
    """What the position heads of the upper layers carry comes out in the language of the timestamp tokens."""
    for layer in listener.upper_layers():
        layer.encoder_attn.out_proj.weight[:, _POSITION_ROWS] = 0.7 * listener.stamps[_carried()].T


def _carried() -> Tensor:
    """Every fourth rate of the position vectors, sine and cosine: enough to tell all places apart."""
    rates = torch.arange(0, WIDTH // 2, HEADS)
    return torch.cat([rates, WIDTH // 2 + rates])


class Listener(Learner):
    """The Whisper together with what only training needs."""

    mel_filters: Tensor
    hann: Tensor
    positions: Tensor

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        mel_filters = torch.tensor(vocabulary.processor.feature_extractor.mel_filters)
        self.whisper = WhisperForConditionalGeneration(config(vocabulary))
        self.whisper.set_attn_implementation("eager")
        self.word_head = nn.Linear(WIDTH, len(vocabulary.word_classes) + 1)
        self.phoneme_head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, PHONEME_CLASSES))
        self.register_buffer("mel_filters", mel_filters.float(), persistent=False)
        self.register_buffer("hann", torch.hann_window(400), persistent=False)
        self.register_buffer("positions", _SCALE * _sinusoids(TIMESTAMPS, WIDTH), persistent=False)
        self.stamps = nn.Parameter(torch.linalg.qr(torch.randn(WIDTH, WIDTH))[0])
        self._first_stamp = vocabulary.first_stamp
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
        core.decoder.embed_tokens.weight.normal_(std=0.07)
        core.decoder.embed_positions.weight.copy_(_SCALE * _sinusoids(MAX_TOKENS, WIDTH))
        speak_of_positions(self)

    def upper_layers(self) -> Sequence[WhisperDecoderLayer]:
        return list(self.whisper.model.decoder.layers)[1:]

    def misplaced(self, heard: Tensor, offset: int) -> Tensor:
        """How badly the position heads read the place of each frame from the encoder's states."""
        truth = self.positions[offset : offset + heard.shape[1], _carried()] / _SCALE
        read = (layer.encoder_attn.v_proj(heard)[..., _POSITION_ROWS] for layer in self.upper_layers())
        return torch.stack([F.mse_loss(positions.float(), truth.expand_as(positions)) for positions in read]).mean()

    def matrices(self) -> list[nn.Parameter]:
        core = self.whisper.model
        layers = [*core.encoder.layers, *core.decoder.layers]
        return [self.stamps, *(p for layer in layers for p in layer.parameters() if p.ndim == 2)]

    def losses(self, batch: Batch) -> Losses:
        with torch.autocast(batch.wave.device.type, torch.bfloat16):
            heard, early = self.encode(self.log_mel(batch.wave), batch.offset)
            logits, attentions = self.decode(batch.given, heard)
            words, phonemes = self.word_head(heard), self.phoneme_head(early)
            misplaced = self.misplaced(heard, batch.offset)
        logits = logits.float()
        asked = batch.wanted != IGNORED
        parts = {
            "tokens": (1.0, F.cross_entropy(logits.flatten(0, 1), batch.wanted.flatten(), ignore_index=IGNORED)),
            "words": (1.0, F.cross_entropy(words.float().flatten(0, 1), batch.word_frames.flatten())),
            "phonemes": (0.3, F.cross_entropy(phonemes.float().flatten(0, 1), batch.phoneme_frames.flatten())),
            "attention": (0.2, _off_target(attentions, batch.spans, batch.wanted)),
            "positions": (2.0, misplaced),
        }
        return Losses(parts, float((logits.argmax(-1) == batch.wanted)[asked].float().mean()))

    def table(self) -> Tensor:
        """The token vectors; those of timestamps are one map of all position vectors, so that rare ones are learned."""
        words = self.whisper.model.decoder.embed_tokens.weight[: self._first_stamp]
        return torch.cat([words, self.positions @ self.stamps])

    @torch.no_grad()
    def finished(self) -> WhisperForConditionalGeneration:
        """The model by itself, in half precision."""
        self.whisper.model.decoder.embed_tokens.weight.copy_(self.table())
        half: WhisperForConditionalGeneration = self.whisper.half()  # type: ignore[no-untyped-call]
        return half

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
        table = self.table()
        out = self.whisper.model.decoder(
            inputs_embeds=F.embedding(given, table),
            encoder_hidden_states=heard,
            output_attentions=True,
            use_cache=False,
        )
        return F.linear(out.last_hidden_state, table), out.cross_attentions


def _attend(attention: WhisperAttention, states: Tensor) -> Tensor:
    shape = (*states.shape[:2], HEADS, WIDTH // HEADS)
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    query, key, value = (p(states).view(shape).transpose(1, 2) for p in projections)
    mixed = F.scaled_dot_product_attention(query, key, value)
    result: Tensor = attention.out_proj(mixed.transpose(1, 2).reshape(states.shape))
    return result


def _off_target(attentions: tuple[Tensor, ...], spans: Tensor, wanted: Tensor) -> Tensor:
    """How little the guided heads look where a token sounds: in the first layer this token, above it the next."""
    frames = torch.arange(attentions[0].shape[-1], device=spans.device)
    inside = (frames >= spans[..., :1]) & (frames < spans[..., 1:])
    asked = (spans[..., 1] > spans[..., 0]) & (wanted != IGNORED)
    losses = []
    for depth, attention in enumerate(attentions):
        there, row = inside, attention[:, :GUIDED_HEADS].float()
        chosen = asked
        if depth == 0:
            there, row, chosen = inside[:, :-1], row[:, :, 1:], asked[:, :-1]
        mass = (row * there[:, None]).sum(-1).mean(1)
        losses.append(-(mass[chosen] + 1e-4).log().sum() / chosen.sum().clamp(min=1))
    return torch.stack(losses).mean()
