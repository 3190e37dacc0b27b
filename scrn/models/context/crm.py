"""The contextual refinement module (Fig. 6): channel attention, spatial attention, FFN."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from scrn_ops import DisentangledNonLocal

from ..layers import in_layout_of
from .projection import pool_stages

_WIDTH = 256


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

    Queries and keys have C / 4 channels, at most 256; the attention's result and the FFN have 256.

    Args:
        channels: widths of the four stages; C is their sum.
        out_channels: width of the result.
        use_scale: divide the attention's scores by the square root of the queries' width. The
            paper does not: then they are tens, and each pixel attends to one or two others.
        use_shortcut: add a 1x1 convolution of the attention's input, with batch norm and ReLU, to
            its result. The paper has none: then what is particular to a pixel passes only if the
            pixel attends to itself.
        backend: of :func:`scrn_ops.whitened_attention`.

    Shapes:
        [B, C_l, H_l, W_l] for l = 1..4 to [B, out_channels, H_4, W_4].
    """

    def __init__(
        self,
        channels: Sequence[int],
        out_channels: int,
        *,
        use_scale: bool = False,
        use_shortcut: bool = False,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        total = sum(channels)
        self.channel_attention = ChannelAttention(channels)
        self.spatial_attention = DisentangledNonLocal(
            total, min(total // 4, 256), _WIDTH, use_scale=use_scale, backend=backend
        )
        self.shortcut = Conv2dNormActivation(total, _WIDTH, 1) if use_shortcut else None
        self.ffn = FeedForward(_WIDTH)
        self.project = nn.Conv2d(_WIDTH, out_channels, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        refined = self.channel_attention(features) * pool_stages(features)
        # The layout of a map of one pixel is lost.
        attended = in_layout_of(self.spatial_attention(refined), refined)
        if self.shortcut is not None:
            attended = attended + self.shortcut(refined)
        return self.project(self.ffn(attended))
