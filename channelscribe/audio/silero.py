"""Silero VAD v6 as a streaming torch module on the weights of the official wheel: one speech probability per 32 ms.

`speech` draws spans from it. The wheel's own TorchScript model gives the same numbers (tested) at a tenth of the speed,
and importing its package sets the whole process to one torch thread; so only the weights in its file are used.
"""

from __future__ import annotations

import importlib.util
import threading
import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from channelscribe.core.errors import EnvironmentFailure

FRAME = 512
_CONTEXT = 64
# Frames per step. Always the same shape, so that the numbers do not depend on how the sound was cut on the way here.
BLOCK_FRAMES = 128
_BANDS = 129
_MODEL_FILE = "data/silero_vad.jit"  # the safetensors file beside it holds another, older training
_load_lock = threading.Lock()


class SileroStream:
    """The speech probabilities of one stream. The weights are shared and read-only, the state is this object's own."""

    def __init__(self) -> None:
        self._net = _shared_net()
        self._context = torch.zeros(_CONTEXT)
        self._state = (torch.zeros(1, 1, 128), torch.zeros(1, 1, 128))
        self._pending = np.zeros(0, np.int16)

    def feed(self, pcm: NDArray[np.int16]) -> NDArray[np.float32]:
        """Probabilities of the frames that are complete now; the rest of the sound waits for more."""
        self._pending = np.concatenate([self._pending, pcm])
        block = BLOCK_FRAMES * FRAME
        whole = len(self._pending) // block * block
        found = [self._step(self._pending[at : at + block]) for at in range(0, whole, block)]
        self._pending = self._pending[whole:].copy()
        return np.concatenate(found) if found else np.zeros(0, np.float32)

    def finish(self) -> NDArray[np.float32]:
        """Probabilities of what is left; the last frame is completed with silence."""
        frames = -(-len(self._pending) // FRAME)
        if not frames:
            return np.zeros(0, np.float32)
        padded = np.zeros(BLOCK_FRAMES * FRAME, np.int16)
        padded[: len(self._pending)] = self._pending
        self._pending = np.zeros(0, np.int16)
        return self._step(padded)[:frames]

    def _step(self, block: NDArray[np.int16]) -> NDArray[np.float32]:
        with torch.inference_mode():
            sound = torch.from_numpy(block.astype(np.float32) / 32768.0)
            probabilities, self._state = self._net(torch.cat([self._context, sound]), self._state)
            self._context = sound[-_CONTEXT:].clone()
            found: NDArray[np.float32] = probabilities.numpy()
            return found


class SileroNet(torch.nn.Module):
    """Spectrum, four convolutions over each frame, an LSTM over the frames."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self._basis = weights["stft.forward_basis_buffer"]
        self._convolutions = [
            (weights[f"encoder.{i}.reparam_conv.weight"], weights[f"encoder.{i}.reparam_conv.bias"], stride)
            for i, stride in enumerate((1, 2, 2, 1))
        ]
        self._lstm = torch.nn.LSTM(128, 128, batch_first=True)
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        self._lstm.load_state_dict({f"{name}_l0": weights[f"decoder.rnn.{name}"] for name in names})
        self._last = (weights["decoder.decoder.2.weight"], weights["decoder.decoder.2.bias"])

    def forward(self, sound: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        frames = functional.pad(sound.unfold(0, _CONTEXT + FRAME, FRAME), (0, 64), mode="reflect").unsqueeze(1)
        waves = functional.conv1d(frames, self._basis, stride=128)
        x = (waves[:, :_BANDS].square() + waves[:, _BANDS:].square()).sqrt()
        for weight, bias, stride in self._convolutions:
            x = functional.conv1d(x, weight, bias, stride=stride, padding=1).relu_()
        hidden, state = self._lstm(x[None, :, :, 0], state)
        odds = functional.conv1d(hidden.relu().transpose(1, 2), *self._last)
        return torch.sigmoid(odds)[0, 0], state


def _shared_net() -> SileroNet:
    with _load_lock:
        return _load()


@lru_cache(maxsize=1)
def _load() -> SileroNet:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            inner = torch.jit.load(_model_path(), map_location="cpu")._model  # type: ignore[no-untyped-call]
        weights = {name: tensor.detach().clone() for name, tensor in inner.state_dict().items()}
        return SileroNet(weights).eval().requires_grad_(False)
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise EnvironmentFailure(
            f"The speech detector does not load ({error}); install it with: pip install --force-reinstall silero-vad.",
            code="no_speech_detector",
        ) from error


def _model_path() -> Path:
    spec = importlib.util.find_spec("silero_vad")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        if (path := Path(folder) / _MODEL_FILE).is_file():
            return path
    raise FileNotFoundError(f"silero_vad/{_MODEL_FILE} is not installed")
