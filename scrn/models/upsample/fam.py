"""The flow alignment module of SFNet (Li et al., ECCV 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scrn_ops import offset_sample
from scrn_ops.modules import OffsetConv2d

from ..layers import upsample
from .base import Upsampler


class FAM(Upsampler):
    """Predicts one flow from both maps, compressed by half, and samples ``low`` along it.

    The flow has SFNet's units: divided by the output's width and height it is added to a
    normalised grid whose corners are aligned. It starts at zero, as bilinear upsampling.
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
        width = low_channels // 2
        self.compress_low = nn.Conv2d(low_channels, width, 1, bias=False)
        self.compress_high = nn.Conv2d(high_channels, width, 1, bias=False)
        self.flow = OffsetConv2d(2 * width, 2, 3, padding=1, bias=False)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        height, width = high.shape[2:]
        compressed = upsample(self.compress_low(low), (height, width), align_corners=True)
        flow = self.flow(torch.cat((compressed, self.compress_high(high)), dim=1))
        # From half the grid's extent of 2, divided by the size, to pixels. By whole numbers, since
        # torch.export does not take a quotient of sizes that are symbols.
        halves = [
            along * (size - 1) / (2 * size)
            for along, size in zip(flow.split(1, dim=1), (width, height), strict=True)
        ]
        offset = torch.cat(halves, dim=1)
        aligned = offset_sample(low, offset, align_corners=True, backend=self.backend)
        return aligned + high if self.add_skip else aligned
