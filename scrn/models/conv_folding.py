"""Folds batch norms in evaluation mode, and scales, into convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def channel_affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """``(slope, shift)``, float64 [C], with ``norm(x) = slope * x + shift`` in evaluation mode.

    Raises:
        ValueError: the norm keeps no running statistics.
    """
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("norm: expected running statistics, got a norm of batch statistics")
    mean, variance = norm.running_mean.double(), norm.running_var.double()
    slope = (variance + norm.eps).rsqrt()
    if norm.weight is not None:
        slope = slope * norm.weight.detach().double()
    shift = -mean * slope
    if norm.bias is not None:
        shift = shift + norm.bias.detach().double()
    return slope, shift


def fold_after(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """``norm(conv(x))`` as one convolution."""
    slope, shift = channel_affine(norm)
    weight = conv.weight.detach().double() * slope[:, None, None, None]
    return _with(conv, weight, _bias(conv) * slope + shift)


def fold_before(norm: nn.BatchNorm2d, conv: nn.Conv2d) -> nn.Conv2d:
    """``conv(norm(x))`` as one convolution.

    Raises:
        ValueError: the convolution pads: zeros behind the norm are not the norm of zeros.
    """
    if conv.padding != (0, 0) or conv.groups != 1:
        raise ValueError("conv: expected one without padding and groups")
    slope, shift = channel_affine(norm)
    weight = conv.weight.detach().double()
    bias = _bias(conv) + (weight * shift[None, :, None, None]).sum(dim=(1, 2, 3))
    return _with(conv, weight * slope[None, :, None, None], bias)


def side_by_side(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """``cat((first(x), second(x)), dim=1)``, of convolutions of one shape, as one."""
    joined = _with(
        first, torch.cat((first.weight, second.weight)), torch.cat((_bias(first), _bias(second)))
    )
    joined.out_channels = first.out_channels + second.out_channels
    return joined


def scale_output(conv: nn.Conv2d, scale: Tensor, shift: Tensor | float = 0.0) -> nn.Conv2d:
    """``scale * conv(x) + shift``, with a scale and a shift [out_channels], as one convolution."""
    scale = scale.detach().double()
    weight = conv.weight.detach().double() * scale[:, None, None, None]
    return _with(conv, weight, _bias(conv) * scale + shift)


def _bias(conv: nn.Conv2d) -> Tensor:
    if conv.bias is None:
        return torch.zeros(conv.out_channels, dtype=torch.float64, device=conv.weight.device)
    return conv.bias.detach().double()


def _with(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    # The class stays, since timm's convolutions pad in ways of their own.
    folded = conv.__class__.__new__(conv.__class__)
    folded.__dict__.update({k: v for k, v in conv.__dict__.items() if k != "_parameters"})
    folded._parameters = dict(conv._parameters)
    layout = (
        torch.channels_last
        if conv.weight.is_contiguous(memory_format=torch.channels_last)
        else torch.contiguous_format
    )
    dtype = conv.weight.dtype
    folded.weight = nn.Parameter(weight.to(dtype).contiguous(memory_format=layout), False)
    folded.bias = nn.Parameter(bias.to(dtype), False)
    return folded
