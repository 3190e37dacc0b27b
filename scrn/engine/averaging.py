"""Averaged weights that serve a short training, too."""

from __future__ import annotations

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class WarmedAveraging(WeightAveraging):
    """An exponential moving average of weights and statistics whose decay rises to its value.

    Of n steps it is at most ``(1 + n) / (10 + n)``. A constant decay of 0.998 would leave three
    fifths of the first weights in the average of 250 steps.

    Args:
        decay: the share of the average that a step keeps, in the end.
    """

    def __init__(self, decay: float = 0.998) -> None:
        super().__init__(avg_fn=self._averaged)
        if not 0 <= decay < 1:
            raise ValueError(f"decay: expected a number from 0 and below 1, got {decay}")
        self.decay = decay
        self._kept = 0.0

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        if step_idx is None:
            return False
        # From the step, so that a resumed training goes on with the same decay.
        self._kept = min(self.decay, (1 + step_idx) / (10 + step_idx))
        return True

    def _averaged(self, average: Tensor, current: Tensor, _count: Tensor) -> Tensor:
        if not average.is_floating_point():
            return current
        return torch.lerp(current, average, self._kept)
