"""The dual attention of DANet (Fu et al., CVPR 2019), over positions and over channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from scrn_ops._core.checks import without_autocast

from .projection import pool_stages


class PositionAttention(nn.Module):
    r"""Attention between all pixels, added with a weight learned from 0.

    .. math:: y_i = x_i + \gamma \sum_j \mathrm{softmax}_j(q_i^T k_j)\, v_j

    Shapes:
        [B, C, H, W] to the same.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels // 8, 1)
        self.key = nn.Conv2d(channels, channels // 8, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (conv(x).flatten(2) for conv in (self.query, self.key, self.value))
        # In half precision the scores would be rounded by more than the softmax forgives.
        with without_autocast(x.device.type):
            dtype = torch.promote_types(value.dtype, torch.float32)
            query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
            weights = (query.transpose(1, 2) @ key).softmax(dim=2)
            y = value @ weights.transpose(1, 2)
        return x + (self.gamma * y).to(x.dtype).unflatten(2, x.shape[2:])


class ChannelAttention(nn.Module):
    r"""Attention between all channels, added with a weight learned from 0.

    .. math:: y_c = x_c + \gamma \sum_d \mathrm{softmax}_d(\max_e E_{ce} - E_{cd})\, x_d,
        \qquad E = x x^T

    Shapes:
        [B, C, H, W] to the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        with without_autocast(x.device.type):
            rows = x.flatten(2).to(torch.promote_types(x.dtype, torch.float32))
            energy = rows @ rows.transpose(1, 2)
            # The softmax does not see the row's maximum that the published formula adds.
            y = (-energy).softmax(dim=2) @ rows
        return x + (self.gamma * y).to(x.dtype).unflatten(2, x.shape[2:])


class DualAttention(nn.Module):
    """A branch of position attention and one of channel attention, each behind a 3x3
    convolution to C / 4, summed and projected by a 1x1. DANet's convolution behind each
    attention is left out, as in the paper's comparison, and so are its auxiliary outputs.

    Shapes:
        [B, C_l, H_l, W_l] for l = 1..4, C their sum, to [B, out_channels, H_4, W_4].
    """

    def __init__(self, channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        total = sum(channels)
        width = total // 4
        self.position = nn.Sequential(Conv2dNormActivation(total, width), PositionAttention(width))
        self.channel = nn.Sequential(Conv2dNormActivation(total, width), ChannelAttention())
        self.project = nn.Conv2d(width, out_channels, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        x = pool_stages(features)
        return self.project(self.position(x) + self.channel(x))
