"""The deep aggregation pyramid pooling module of DDRNet (Pan et al., T-ITS 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import in_layout_of, upsample
from .projection import pool_stages


def _norm_act_conv(in_channels: int, out_channels: int, kernel_size: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(in_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False),
    )


class DAPPM(nn.Module):
    """Pools at growing scales; every scale is added to the one before and mixed by a 3x3.

    All convolutions stand behind a batch norm and a ReLU. The scales are the map itself,
    averages over 5x5, 9x9 and 17x17 windows at strides 2, 4 and 8, and the global average.

    Args:
        channels: widths of the four stages; C is their sum.
        out_channels: width of the result.

    Shapes:
        [B, C_l, H_l, W_l] for l = 1..4 to [B, out_channels, H_4, W_4].
    """

    windows = (5, 9, 17)
    width = 128  # of every scale

    def __init__(self, channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        total = sum(channels)
        scales = len(self.windows) + 2
        self.scales = nn.ModuleList(_norm_act_conv(total, self.width) for _ in range(scales))
        self.process = nn.ModuleList(
            _norm_act_conv(self.width, self.width, 3) for _ in range(scales - 1)
        )
        self.compression = _norm_act_conv(scales * self.width, out_channels)
        self.shortcut = _norm_act_conv(total, out_channels)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        x = pool_stages(features)
        pooled = [F.avg_pool2d(x, n, stride=n // 2, padding=n // 2) for n in self.windows]
        pooled.append(F.adaptive_avg_pool2d(x, 1))
        results = [self.scales[0](x)]
        for scale, process, y in zip(self.scales[1:], self.process, pooled, strict=True):
            # The layout of a map of one pixel is lost.
            up = in_layout_of(upsample(scale(y), x.shape[2:]), x)
            results.append(process(up + results[-1]))
        return self.compression(torch.cat(results, dim=1)) + self.shortcut(x)
