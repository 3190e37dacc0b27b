"""Layers that several parts of the network share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvNormAct(nn.Sequential):
    """Convolution without bias, batch norm and activation; the size stays.

    Args:
        in_channels, out_channels: widths.
        kernel_size: odd; padded by half of it.
        activation: the module behind the norm; None leaves it out.

    Shapes:
        [B, in_channels, H, W] to [B, out_channels, H, W].
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        activation: nn.Module | None = None,
    ) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False),
            nn.BatchNorm2d(out_channels),
        ]
        if activation is not None:
            layers.append(activation)
        super().__init__(*layers)


class ChannelLayerNorm(nn.LayerNorm):
    """Layer norm over the channels of every pixel: [B, C, H, W] to the same, layout kept."""

    def forward(self, input: Tensor) -> Tensor:
        output = F.layer_norm(
            input.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps
        ).permute(0, 3, 1, 2)
        return in_layout_of(output, input)


class DropPath(nn.Module):
    """Zeroes a residual branch of a whole sample in training, with probability ``rate``, and
    divides it by ``1 - rate`` otherwise."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"rate: expected a probability below 1, got {rate}")
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return branch
        keep = 1 - self.rate
        shape = (branch.shape[0],) + (1,) * (branch.dim() - 1)
        return branch * branch.new_empty(shape).bernoulli_(keep).div_(keep)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


def in_layout_of(map: Tensor, reference: Tensor) -> Tensor:
    """``map`` in channels_last if ``reference`` is, else in NCHW."""
    last = reference.is_contiguous(memory_format=torch.channels_last)
    return map.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def upsample(input: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    """Bilinear upsampling of [B, C, h, w] to [B, C, *size]."""
    return F.interpolate(input, size=size, mode="bilinear", align_corners=align_corners)
