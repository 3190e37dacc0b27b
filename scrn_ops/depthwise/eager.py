"""The chains as they are written in PyTorch today: depthwise convolutions, sums, GELU.

This is what the fused kernels are timed against.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from .._core.checks import autocast_dtype
from .checks import check_depthwise_gelu, check_large_kernel, check_multi_scale

__all__ = ["depthwise_gelu", "large_kernel_depthwise", "multi_scale_depthwise"]


def multi_scale_depthwise(
    input: Tensor,
    local: Tensor,
    local_bias: Tensor | None,
    rows: Sequence[Tensor],
    row_biases: Sequence[Tensor | None],
    columns: Sequence[Tensor],
    column_biases: Sequence[Tensor | None],
) -> Tensor:
    """See :func:`scrn_ops.multi_scale_depthwise`."""
    check_multi_scale(input, local, local_bias, rows, row_biases, columns, column_biases)
    total = centre = _convolution(input, local, local_bias)
    for i in range(len(rows)):
        row = _convolution(centre, rows[i], row_biases[i])
        total = total + _convolution(row, columns[i], column_biases[i])
    return total


def large_kernel_depthwise(
    input: Tensor,
    local: Tensor,
    local_bias: Tensor | None,
    dilated: Tensor,
    dilated_bias: Tensor | None,
    *,
    dilation: int = 3,
) -> Tensor:
    """See :func:`scrn_ops.large_kernel_depthwise`."""
    check_large_kernel(input, local, local_bias, dilated, dilated_bias, dilation)
    centre = _convolution(input, local, local_bias)
    return _convolution(centre, dilated, dilated_bias, dilation)


def depthwise_gelu(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """See :func:`scrn_ops.depthwise_gelu`."""
    check_depthwise_gelu(input, weight, bias)
    return F.gelu(_convolution(input, weight, bias))


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int = 1) -> Tensor:
    """Under autocast torch casts all three; without, they have to be of one type."""
    dtype = autocast_dtype(x)
    x, weight = x.to(dtype), weight.to(dtype)
    bias = None if bias is None else bias.to(dtype)
    padding = tuple(size // 2 * dilation for size in weight.shape[2:])
    return F.conv2d(x, weight, bias, padding=padding, dilation=dilation, groups=x.shape[1])
