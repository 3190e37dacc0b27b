"""The contextual refinement module (Fig. 6): channel attention, spatial attention, FFN."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..layers import in_layout_of
from .attention import whitened_attention
from .projection import pool_stages


def _mlp(channels: int) -> nn.Sequential:
    hidden = max(channels // 16, 4)
    return nn.Sequential(
        nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channels)
    )


class ChannelAttention(nn.Module):
    r"""A scale for every channel of every stage (Eq. 5).

    .. math:: F_{scale} = \mathrm{sigmoid}(\mathrm{MLP}_{fuse}(\mathrm{cat}_l\,
        \mathrm{MLP}_l(\mathrm{mean}(F_l))))

    Every MLP narrows to a sixteenth, at least 4, with a ReLU between its layers.

    Shapes:
        [B, C_l, H_l, W_l] for every stage to [B, sum of C_l, 1, 1], in (0, 1).
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(_mlp(c) for c in channels)
        self.fuse = _mlp(sum(channels))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        means = [f.mean(dim=(2, 3)) for f in features]
        scales = [mlp(mean) for mlp, mean in zip(self.stages, means, strict=True)]
        return self.fuse(torch.cat(scales, dim=1)).sigmoid()[:, :, None, None]


class SpatialAttention(nn.Module):
    """Disentangled non-local attention between all pixels (Eqs. 8 and 9).

    Query, key and unary convolutions have no bias: the whitening, and the softmax over the
    unary term, would cancel it.

    Args:
        in_channels: of the input.
        key_channels: of queries and keys.
        value_channels: of the output.
        use_scale: divide the scores by sqrt(key_channels).
        temperature: divide the scores by this, too.

    Shapes:
        [B, in_channels, H, W] to [B, value_channels, H, W].
    """

    def __init__(
        self,
        in_channels: int,
        key_channels: int,
        value_channels: int,
        *,
        use_scale: bool = False,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature: expected a number above 0, got {temperature}")
        self.query = nn.Conv2d(in_channels, key_channels, 1, bias=False)
        self.key = nn.Conv2d(in_channels, key_channels, 1, bias=False)
        self.unary = nn.Conv2d(in_channels, 1, 1, bias=False)
        self.value = nn.Conv2d(in_channels, value_channels, 1)
        self.scale = (key_channels**-0.5 if use_scale else 1.0) / temperature

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            conv(x).flatten(2).transpose(1, 2) for conv in (self.query, self.key, self.value)
        )
        unary = self.unary(x).flatten(1)
        y = whitened_attention(query, key, unary, value, scale=self.scale)
        return in_layout_of(y.transpose(1, 2).unflatten(2, x.shape[2:]), x)


class FeedForward(nn.Module):
    """1x1 convolution to twice the width, depthwise 3x3, GELU, 1x1 back, plus the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = 2 * channels
        self.layers = nn.Sequential(
            nn.Conv2d(channels, hidden, 1),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden),
            nn.GELU(),
            nn.Conv2d(hidden, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class ContextualRefinement(nn.Module):
    """Channel attention over all stages, then spatial attention between all pixels, then FFN.

    Args:
        channels: widths of the four stages; C is their sum.
        out_channels: width of the result.
        key_channels: of queries and keys; default C / 4, at most 256.
        value_channels: of the attention's result and of the FFN.
        use_scale, temperature: see :class:`SpatialAttention`; the paper has neither.

    Shapes:
        [B, C_l, H_l, W_l] for l = 1..4 to [B, out_channels, H_4, W_4].
    """

    def __init__(
        self,
        channels: Sequence[int],
        out_channels: int,
        *,
        key_channels: int | None = None,
        value_channels: int = 256,
        use_scale: bool = False,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        total = sum(channels)
        self.channel_attention = ChannelAttention(channels)
        self.spatial_attention = SpatialAttention(
            total,
            min(total // 4, 256) if key_channels is None else key_channels,
            value_channels,
            use_scale=use_scale,
            temperature=temperature,
        )
        self.ffn = FeedForward(value_channels)
        self.project = nn.Conv2d(value_channels, out_channels, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        refined = self.channel_attention(features) * pool_stages(features)
        return self.project(self.ffn(self.spatial_attention(refined)))
