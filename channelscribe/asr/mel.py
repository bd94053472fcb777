"""Audio to log-mel spectra on the model's device: the feature extractor of transformers, value for value.

First part of the encoder. On a GPU all windows of a micro-batch at once, from pinned memory and without waiting.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from channelscribe.asr.accelerator import Accelerator

_FULL_SCALE = 32768.0
# openai/whisper log_mel_spectrogram(): the floor, the range kept below the loudest, and the scaling.
_FLOOR, _RANGE, _SHIFT = 1e-10, 8.0, 4.0


class LogMel:
    """Built from a `WhisperFeatureExtractor`, whose window length, hop and filters it takes. Not thread-safe."""

    def __init__(self, extractor: Any, accelerator: Accelerator) -> None:
        self._accelerator, device = accelerator, accelerator.device
        self._samples: int = extractor.n_samples
        self._length, self._hop = extractor.n_fft, extractor.hop_length
        self._filters = torch.from_numpy(extractor.mel_filters).to(device, torch.float32).T.contiguous()
        self._window = torch.hann_window(self._length, device=device)

    @torch.inference_mode()
    def __call__(self, sounds: Sequence[NDArray[np.int16]]) -> Tensor:
        """Spectra [windows, mels, frames] in float32; silence up to the model's window, what is longer is cut.

        On the CPU one by one, so that not a bit of a spectrum depends on its neighbours. ValueError for what is no
        audio of one channel.
        """
        if self._accelerator.shares_memory:
            return torch.cat([self._spectra(self._padded([sound])) for sound in sounds])
        return self._spectra(self._padded(sounds))

    def _padded(self, sounds: Sequence[NDArray[np.int16]]) -> Tensor:
        """int16 on the device: half the bytes to copy."""
        wrong = next((sound.shape for sound in sounds if sound.ndim != 1), None)
        if wrong is not None:
            raise ValueError(f"audio of the shape {wrong} is not that of one channel")
        host = self._accelerator.host_tensor(len(sounds), self._samples, dtype=torch.int16)
        for row, sound in zip(host.numpy(), sounds, strict=True):
            some = sound[: self._samples]
            row[: len(some)] = some
            row[len(some) :] = 0
        return self._accelerator.upload(host)

    def _spectra(self, laid: Tensor) -> Tensor:
        waves = laid.to(torch.float32) / _FULL_SCALE
        found = torch.stft(waves, self._length, self._hop, window=self._window, return_complex=True)
        power = (found[..., :-1].abs() ** 2).contiguous()
        log = torch.clamp(self._filters @ power, min=_FLOOR).log10()
        log = torch.maximum(log, log.amax(dim=(1, 2), keepdim=True) - _RANGE)
        return (log + _SHIFT) / _SHIFT
