"""What the training program asks of a network: what a step got wrong, and which of its weights are matrices."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tests.speech_model.targets import Batch


@dataclass(frozen=True)
class Losses:
    """What a step got wrong, each per token or frame with its weight in the sum; `right` is a share."""

    parts: Mapping[str, tuple[float, Tensor]]
    right: float

    @property
    def total(self) -> Tensor:
        return torch.stack([weight * part for weight, part in self.parts.values()]).sum()


class Learner(nn.Module, ABC):
    """A network together with what only training needs."""

    @abstractmethod
    def losses(self, batch: Batch) -> Losses: ...

    @abstractmethod
    def matrices(self) -> list[nn.Parameter]:
        """The weights that Muon trains; AdamW has the others."""

    @abstractmethod
    def finished(self) -> PreTrainedModel:
        """What is shipped, in half precision."""
