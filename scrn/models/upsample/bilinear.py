"""Plain bilinear upsampling."""

from __future__ import annotations

from torch import Tensor

from ..layers import upsample
from .base import Upsampler


class Bilinear(Upsampler):
    """``interpolate(low) + high``; the channels of ``high`` play no part without the skip."""

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        aligned = upsample(low, high.shape[2:])
        return aligned + high if self.add_skip else aligned
