"""The pyramid pooling module of PSPNet (Zhao et al., CVPR 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from ..layers import in_layout_of, upsample
from .projection import pool_stages


class PyramidPooling(nn.Module):
    """Averages over grids of four sizes, each projected to C / 4 channels, upsampled (corners
    aligned) and concatenated with the map itself; a 3x3 convolution mixes them.

    Shapes:
        [B, C_l, H_l, W_l] for l = 1..4, C their sum, to [B, out_channels, H_4, W_4].
    """

    grids = (1, 2, 3, 6)

    def __init__(self, channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        total = sum(channels)
        width = total // len(self.grids)
        self.branches = nn.ModuleList(Conv2dNormActivation(total, width, 1) for _ in self.grids)
        self.bottleneck = Conv2dNormActivation(total + width * len(self.grids), out_channels)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        x = pool_stages(features)
        size = x.shape[2:]
        # The layout of a map of one pixel is lost.
        pyramid = [
            in_layout_of(
                upsample(branch(F.adaptive_avg_pool2d(x, grid)), size, align_corners=True), x
            )
            for grid, branch in zip(self.grids, self.branches, strict=True)
        ]
        return self.bottleneck(torch.cat([x, *pyramid], dim=1))
