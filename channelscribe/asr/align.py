"""When each token of a finished window sounds, from the cross-attention of one teacher-forced pass over many windows.

The engine calls it with windows whose text stands, when words are asked for; `words` makes words of what it gives.
Nothing of the attention is kept while decoding, and only the heads that know the time are ever computed here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from channelscribe.asr.accelerator import upload_ints
from channelscribe.asr.loading import LoadedWhisper
from channelscribe.asr.warp import jumps, median_filtered, normalised
from channelscribe.core.window import RATE_HZ

MICRO_BATCH = 16
# Texts are padded to multiples of this, and only equally padded ones share a pass, so that the shapes of a window's
# products, and with them their last bits, hardly depend on its neighbours.
_LENGTH_STEP = 32
_LOGIT_ROWS = 512
_DEFAULT_MEDIAN_WIDTH = 7


@dataclass(frozen=True, slots=True)
class TimedToken:
    """A token of a window's text in window time. `probability` is among all text tokens, 0.0 for a timestamp token."""

    token: int
    start_s: float
    end_s: float
    probability: float


def align(
    whisper: LoadedWhisper,
    encoded: Tensor,
    tokens: Sequence[Sequence[int]],
    languages: Sequence[str],
    samples: Sequence[int],
    *,
    micro_batch: int = MICRO_BATCH,
) -> list[list[TimedToken]]:
    """The times of every window's tokens, in order. Not thread-safe: it listens in on the model's own modules.

    `encoded` is [n, frames, d] as the encoder gave it, `tokens` the decoded texts with their timestamp tokens and
    without prompt and end, `samples` each window's length at 16 kHz. Times are those of transformers' token timestamps:
    a token ends where the attention moves on after it, and begins where the one before it ends.
    """
    found: list[list[TimedToken]] = [[] for _ in tokens]
    for places in _groups(tokens, micro_batch):
        prompts = [whisper.vocabulary.prompt(languages[place]) for place in places]
        texts = [tuple(tokens[place]) for place in places]
        some = encoded.index_select(0, upload_ints(whisper.accelerator, places))
        batch = _Batch(whisper, some, prompts, texts, [_frames(whisper, samples[p]) for p in places])
        for place, timed in zip(places, batch.timed(), strict=True):
            found[place] = timed
    return found


def alignment_heads(whisper: LoadedWhisper) -> dict[int, list[int]]:
    """Decoder layer to its heads that follow the sound: those the checkpoint names, else all of the upper half."""
    config = whisper.model.config
    named = getattr(whisper.model.generation_config, "alignment_heads", None)
    heads: dict[int, list[int]] = defaultdict(list)
    for layer, head in named or ():
        heads[int(layer)].append(int(head))
    if heads:
        return dict(heads)
    every = list(range(config.decoder_attention_heads))
    return {layer: every for layer in range(config.decoder_layers // 2, config.decoder_layers)}


def _groups(tokens: Sequence[Sequence[int]], most: int) -> Iterator[list[int]]:
    """Places of windows whose texts are equally long when padded; windows without a token are in none."""
    alike: dict[int, list[int]] = defaultdict(list)
    for place, text in enumerate(tokens):
        if text:
            alike[-(-len(text) // _LENGTH_STEP)].append(place)
    for places in alike.values():
        for at in range(0, len(places), most):
            yield places[at : at + most]


def _frames(whisper: LoadedWhisper, samples: int) -> int:
    """Frames of the encoder that lie within the window's own sound."""
    per_frame = RATE_HZ * whisper.seconds_per_timestamp
    most: int = whisper.model.config.max_source_positions
    return max(1, min(round(samples / per_frame), most))


class _Batch:
    """One teacher-forced pass over windows whose texts are padded to one length."""

    def __init__(
        self,
        whisper: LoadedWhisper,
        encoded: Tensor,
        prompts: Sequence[tuple[int, ...]],
        texts: Sequence[tuple[int, ...]],
        frames: Sequence[int],
    ) -> None:
        self._whisper, self._encoded, self._texts, self._frames = whisper, encoded, texts, frames
        self._lengths = [len(text) for text in texts]
        self._prompt = len(prompts[0])
        positions = whisper.model.config.max_target_positions
        width = min(self._prompt + -(-max(self._lengths) // _LENGTH_STEP) * _LENGTH_STEP, positions)
        end = whisper.vocabulary.end
        self._width = width - self._prompt
        rows = [[*p, *text, *([end] * width)][:width] for p, text in zip(prompts, texts, strict=True)]
        self._ids = upload_ints(whisper.accelerator, rows)

    @torch.inference_mode()
    def timed(self) -> list[list[TimedToken]]:
        attention = _Attention(self._whisper, self._encoded, self._prompt, self._lengths, self._frames)
        decoder = self._whisper.model.model.decoder
        with attention.listening(decoder), self._whisper.accelerator.varied_attention():
            hidden = decoder(
                input_ids=self._ids, encoder_hidden_states=self._encoded, use_cache=False
            ).last_hidden_state
        where = "cpu" if hidden.device.type == "mps" else hidden.device  # MPS knows no float64
        rows, columns = (
            upload_ints(self._whisper.accelerator, self._lengths),
            upload_ints(self._whisper.accelerator, self._frames),
        )
        found = jumps(attention.mean.to(where), rows.to(where), columns.to(where))
        moments = self._whisper.accelerator.read(found).tolist()
        return [
            self._row(text, ends, probs)
            for text, ends, probs in zip(self._texts, moments, self._probabilities(hidden), strict=True)
        ]

    def _row(self, text: tuple[int, ...], ends: Sequence[int], probs: Sequence[float]) -> list[TimedToken]:
        step_s = self._whisper.seconds_per_timestamp
        starts = [0, *ends[: len(text) - 1]]
        return [
            TimedToken(token, start * step_s, end * step_s, probability)
            for token, start, end, probability in zip(text, starts, ends[: len(text)], probs, strict=True)
        ]

    def _probabilities(self, hidden: Tensor) -> list[list[float]]:
        """Of each text token among the text tokens, as in openai/whisper: special tokens take nothing away."""
        first_special, width = self._whisper.vocabulary.end, self._width
        spoken = [
            row * width + place
            for row, text in enumerate(self._texts)
            for place, token in enumerate(text)
            if token < first_special
        ]
        probs = torch.zeros(len(self._texts) * width, device=hidden.device)
        if spoken:
            index = upload_ints(self._whisper.accelerator, spoken)
            states = hidden[:, self._prompt - 1 : -1].flatten(0, 1).index_select(0, index)
            chosen = self._ids[:, self._prompt :].flatten().index_select(0, index)
            parts = zip(torch.split(states, _LOGIT_ROWS), torch.split(chosen, _LOGIT_ROWS), strict=True)
            found = [_probs(self._whisper.model.proj_out(s)[:, :first_special], c) for s, c in parts]
            probs.index_copy_(0, index, torch.cat(found))
        rows = self._whisper.accelerator.read(probs.view(-1, width)).tolist()
        return [row[:count] for row, count in zip(rows, self._lengths, strict=True)]


def _probs(logits: Tensor, chosen: Tensor) -> Tensor:
    return logits.float().log_softmax(-1).gather(-1, chosen[:, None])[:, 0].exp()


class _Attention:
    """Hears the queries of the cross-attentions go by and adds up what its heads look at.

    `mean` is [n, tokens, frames]: each head normalised over the tokens and smoothed over the frames, then averaged.
    """

    def __init__(
        self, whisper: LoadedWhisper, encoded: Tensor, prompt: int, lengths: Sequence[int], frames: Sequence[int]
    ) -> None:
        self._encoded, self._prompt = encoded, prompt
        self._heads = alignment_heads(whisper)
        self._rows, self._columns = upload_ints(whisper.accelerator, lengths), upload_ints(whisper.accelerator, frames)
        self._longest = max(lengths), max(frames)
        self._width = getattr(whisper.model.config, "median_filter_width", _DEFAULT_MEDIAN_WIDTH)
        self._sum: Tensor | None = None

    @property
    def mean(self) -> Tensor:
        assert self._sum is not None
        return self._sum / sum(len(heads) for heads in self._heads.values())

    @contextmanager
    def listening(self, decoder: Any) -> Iterator[None]:
        with ExitStack() as stack:
            for layer, heads in self._heads.items():
                module = decoder.layers[layer].encoder_attn
                stack.callback(module.register_forward_pre_hook(self._hear(heads), with_kwargs=True).remove)
            yield

    def _hear(self, heads: Sequence[int]) -> Any:
        def hear(module: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            hidden = given[0] if given else named["hidden_states"]
            tokens, frames = self._longest
            # Through the modules and not their weights, which the loader may have packed.
            queries = module.q_proj(hidden[:, self._prompt : self._prompt + tokens]) * module.scaling
            keys = module.k_proj(self._encoded)
            for head in heads:
                part = slice(head * module.head_dim, (head + 1) * module.head_dim)
                weights = (queries[..., part] @ keys[..., part].transpose(1, 2)).float().softmax(-1)
                self._add(weights[:, :, :frames])

        return hear

    def _add(self, weights: Tensor) -> None:
        smooth = median_filtered(normalised(weights, self._rows), self._columns, self._width)
        self._sum = smooth if self._sum is None else self._sum + smooth
