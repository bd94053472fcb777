"""The small Parakeet: a FastConformer that writes a token or a blank for every 80 ms, and the heads that help it learn.

The words are those of the small Whisper; there are no timestamp tokens, prompts or languages to ask for.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import ParakeetCTCConfig, ParakeetEncoderConfig, ParakeetFeatureExtractor, ParakeetForCTC

from tests.speech_model.learner import Learner, Losses
from tests.speech_model.targets import IGNORED, PHONEME_CLASSES, Batch, Vocabulary

WIDTH, HEADS, LAYERS, CHANNELS = 160, 4, 5, 32
PHONEME_LAYER = 2
SUBSAMPLING = 8
FRAMES = 4


def config(vocabulary: Vocabulary) -> ParakeetCTCConfig:
    """The blank is the number after all text, where published checkpoints have it."""
    encoder = ParakeetEncoderConfig(
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=4 * WIDTH,
        subsampling_factor=SUBSAMPLING,
        subsampling_conv_channels=CHANNELS,
        num_mel_bins=80,
        scale_input=False,
        dropout=0.0,
        layerdrop=0.0,
        activation_dropout=0.0,
        attention_dropout=0.0,
    )
    blank = vocabulary.end
    return ParakeetCTCConfig(vocab_size=blank + 1, pad_token_id=blank, encoder_config=encoder)


def _missed(logits: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy of the frames that both have."""
    frames = min(logits.shape[1], classes.shape[1])
    return F.cross_entropy(logits[:, :frames].float().flatten(0, 1), classes[:, :frames].flatten())


class CtcListener(Learner):
    """The Parakeet together with what only training needs."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.parakeet = ParakeetForCTC(config(vocabulary))
        self.blank = vocabulary.end
        self.word_head = nn.Linear(WIDTH, len(vocabulary.word_classes) + 1)
        self.phoneme_head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, FRAMES * PHONEME_CLASSES))
        self._features: Any = ParakeetFeatureExtractor()  # type: ignore[no-untyped-call]

    def matrices(self) -> list[nn.Parameter]:
        return [p for p in self.parakeet.encoder.layers.parameters() if p.ndim == 2]

    def features(self, wave: Tensor) -> dict[str, Tensor]:
        """As the processor makes them."""
        return dict(self._features(wave, sampling_rate=16_000, device=wave.device, return_tensors="pt"))

    def losses(self, batch: Batch) -> Losses:
        given = self.features(batch.wave)
        with torch.autocast(batch.wave.device.type, torch.bfloat16):
            heard = self.parakeet.encoder(**given, output_hidden_states=True)
            states = heard.last_hidden_state
            logits, words = self.parakeet.ctc_head(states), self.word_head(states)
            phonemes = self.phoneme_head(heard.hidden_states[PHONEME_LAYER])
        lengths, asked = heard.attention_mask.sum(-1), batch.spoken != IGNORED
        odds = logits.float().log_softmax(-1)
        ctc = F.ctc_loss(odds.transpose(0, 1), batch.spoken, lengths, asked.sum(-1), self.blank, zero_infinity=True)
        parts = {
            "ctc": (1.0, ctc),
            "words": (1.0, _missed(words, batch.word_frames[:, FRAMES // 2 :: FRAMES])),
            "phonemes": (0.3, _missed(phonemes.unflatten(-1, (FRAMES, -1)).flatten(1, 2), batch.phoneme_frames)),
        }
        return Losses(parts, self._right(odds, batch.spoken))

    @torch.no_grad()
    def _right(self, odds: Tensor, spoken: Tensor) -> float:
        """The share of windows whose tokens are all right."""
        written = [torch.unique_consecutive(row) for row in odds.argmax(-1)]
        pairs = zip(written, spoken, strict=True)
        return sum(torch.equal(row[row != self.blank], truth[truth != IGNORED]) for row, truth in pairs) / len(spoken)

    @torch.no_grad()
    def finished(self) -> ParakeetForCTC:
        half: ParakeetForCTC = self.parakeet.half()  # type: ignore[no-untyped-call]
        return half
