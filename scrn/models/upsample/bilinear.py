"""Plain bilinear upsampling."""

from __future__ import annotations

from torch import Tensor

from ..layers import upsample
from .base import Upsampler


class Bilinear(Upsampler):
    """``interpolate(low) + high``; the channels of ``high`` play no part without the skip."""

    def __init__(
        self,
        low_channels: int,
        high_channels: int,
        *,
        add_skip: bool = True,
        backend: str | None = None,
    ) -> None:
        super().__init__(low_channels, high_channels, add_skip, backend)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        aligned = upsample(low, high.shape[2:])
        return aligned + high if self.add_skip else aligned
