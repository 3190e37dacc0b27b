"""Layers that several parts of the network share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ChannelLayerNorm(nn.LayerNorm):
    """Layer norm over the channels of every pixel: [B, C, H, W] to the same, layout kept."""

    def forward(self, input: Tensor) -> Tensor:
        output = F.layer_norm(
            input.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps
        ).permute(0, 3, 1, 2)
        return in_layout_of(output, input)


def in_layout_of(map: Tensor, reference: Tensor) -> Tensor:
    """``map`` in channels_last if ``reference`` is, else in NCHW."""
    last = reference.is_contiguous(memory_format=torch.channels_last)
    return map.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def upsample(input: Tensor, size: Sequence[int], align_corners: bool = False) -> Tensor:
    """Bilinear upsampling of [B, C, h, w] to [B, C, *size]."""
    return F.interpolate(input, size=list(size), mode="bilinear", align_corners=align_corners)
