"""The recurrent criss-cross attention of CCNet (Huang et al., TPAMI 2023)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from scrn_ops._core.checks import without_autocast

from .projection import pool_stages


def criss_cross_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of every pixel over the H + W - 1 pixels of its column and its row.

    The scores are computed in float32 at least, whatever autocast says.

    Args:
        query, key: [B, D, H, W].
        value: [B, C, H, W].

    Returns:
        [B, C, H, W] in value's dtype.
    """
    height = query.shape[2]
    dtype = torch.promote_types(value.dtype, torch.float32)
    with without_autocast(value.device.type):
        q, k, v = query.to(dtype), key.to(dtype), value.to(dtype)
        columns = torch.einsum("bdhw,bdgw->bhwg", q, k)
        # The pixel itself lies in its row, too, and counts once.
        itself = torch.eye(height, dtype=torch.bool, device=q.device)[:, None, :]
        columns = columns.masked_fill(itself, float("-inf"))
        rows = torch.einsum("bdhw,bdhg->bhwg", q, k)
        weights = torch.cat((columns, rows), dim=3).softmax(dim=3)
        result = torch.einsum("bhwg,bcgw->bchw", weights[..., :height], v)
        result = result + torch.einsum("bhwg,bchg->bchw", weights[..., height:], v)
    return result.to(value.dtype)


class CrissCrossAttention(nn.Module):
    """``x + gamma * criss_cross_attention``, with gamma learned from 0: [B, C, H, W] to the
    same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels // 8, 1)
        self.key = nn.Conv2d(channels, channels // 8, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        y = criss_cross_attention(self.query(x), self.key(x), self.value(x))
        return x + (self.gamma * y).to(x.dtype)


class CrissCrossContext(nn.Module):
    """3x3 convolution to C / 4, criss-cross attention applied twice with the same weights, 3x3,
    and a 3x3 over the concatenation with the input; norms are followed by leaky ReLUs of 0.01.

    Shapes:
        [B, C_l, H_l, W_l] for l = 1..4, C their sum, to [B, out_channels, H_4, W_4].
    """

    recurrence = 2

    def __init__(self, channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        total = sum(channels)
        width = total // 4
        self.enter = _block(total, width)
        self.attention = CrissCrossAttention(width)
        self.leave = _block(width, width)
        self.bottleneck = _block(total + width, out_channels)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        x = pool_stages(features)
        y = self.enter(x)
        for _ in range(self.recurrence):
            y = self.attention(y)
        return self.bottleneck(torch.cat((x, self.leave(y)), dim=1))


def _block(in_channels: int, out_channels: int) -> nn.Module:
    return Conv2dNormActivation(in_channels, out_channels, activation_layer=nn.LeakyReLU)
