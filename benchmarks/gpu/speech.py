"""Windows of real words for the comparison of tokens; needs PyAV, which reads the speech bank."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def windows(count: int) -> list[NDArray[np.int16]]:
    """`count` windows of up to 28 s of the bank's sentences, of different lengths."""
    from tests.emulators.speech import Score, compose

    return [compose(Score(500 + at, 6.0 + 22.0 * at / max(1, count - 1))).pcm for at in range(count)]
