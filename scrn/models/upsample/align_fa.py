"""The aligned feature aggregation of AlignSeg (Huang et al., TPAMI 2022)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from scrn_ops import offset_sample
from scrn_ops.modules import OffsetConv2d

from ..layers import upsample
from .base import Upsampler


class AlignFA(Upsampler):
    """Predicts an offset for each of both maps from their concatenation, and sums the warped
    maps.

    Offsets are in pixels of the output, the units that AlignSeg's authors recommend; the
    upsampling aligns the corners. They start at zero, as bilinear upsampling. The norms are
    followed by leaky ReLUs of 0.01.
    """

    def __init__(
        self,
        low_channels: int,
        high_channels: int,
        *,
        add_skip: bool = True,
        backend: str | None = None,
    ) -> None:
        super().__init__(low_channels, high_channels, add_skip=add_skip, backend=backend)
        self.offset_low = _offsets(low_channels + high_channels, high_channels)
        if add_skip:
            self.offset_high = _offsets(low_channels + high_channels, high_channels)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        low = upsample(low, high.shape[2:], align_corners=True)
        features = torch.cat((high, low), dim=1)
        aligned = offset_sample(low, self.offset_low(features), backend=self.backend)
        if not self.add_skip:
            return aligned
        return aligned + offset_sample(high, self.offset_high(features), backend=self.backend)


def _offsets(in_channels: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        *Conv2dNormActivation(in_channels, hidden, 1, activation_layer=nn.LeakyReLU),
        OffsetConv2d(hidden, 2, 3, padding=1, bias=False),
    )
