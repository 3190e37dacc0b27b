"""The baselines: a projection and no context."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def pool_stages(features: Sequence[Tensor]) -> Tensor:
    """All stages averaged down to the last one's grid and concatenated (Eq. 7).

    [B, C_l, H_l, W_l] for l = 1..4 to [B, sum of C_l, H_4, W_4].
    """
    height, width = features[-1].shape[-2:]
    pooled = [F.adaptive_avg_pool2d(f, (height, width)) for f in features[:-1]]
    return torch.cat([*pooled, features[-1]], dim=1)


class LastStage(nn.Conv2d):
    """A 1x1 convolution of the last stage: the paper's baseline."""

    def __init__(self, channels: Sequence[int], out_channels: int) -> None:
        super().__init__(channels[-1], out_channels, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:  # type: ignore[override]
        return super().forward(features[-1])


class MultiStage(nn.Conv2d):
    """A 1x1 convolution of all stages, pooled: the paper's "Baseline+MF"."""

    def __init__(self, channels: Sequence[int], out_channels: int) -> None:
        super().__init__(sum(channels), out_channels, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:  # type: ignore[override]
        return super().forward(pool_stages(features))
