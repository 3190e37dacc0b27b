"""The definition of the depthwise units in plain PyTorch: shifted products, summed.

Everything is computed in float64 for float64 inputs and in float32 otherwise, and is
differentiable as often as wanted, in every mode of autograd. Every intermediate map is zero
outside the image, its bias included.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from .._core.checks import autocast_features, compute_dtype
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
    input = autocast_features(input)
    centre = _convolution(input.to(compute_dtype(input)), local, local_bias)
    total = centre
    for i in range(len(rows)):
        row = _convolution(centre, rows[i], row_biases[i])
        total = total + _convolution(row, columns[i], column_biases[i])
    return total.to(input.dtype)


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
    input = autocast_features(input)
    centre = _convolution(input.to(compute_dtype(input)), local, local_bias)
    return _convolution(centre, dilated, dilated_bias, dilation).to(input.dtype)


def depthwise_gelu(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """See :func:`scrn_ops.depthwise_gelu`."""
    check_depthwise_gelu(input, weight, bias)
    input = autocast_features(input)
    return F.gelu(_convolution(input.to(compute_dtype(input)), weight, bias)).to(input.dtype)


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int = 1) -> Tensor:
    height, width = x.shape[2:]
    taps_y, taps_x = weight.shape[2:]
    border_y, border_x = taps_y // 2 * dilation, taps_x // 2 * dilation
    padded = F.pad(x, (border_x, border_x, border_y, border_y))
    weight = weight.to(x.dtype)
    total = x.new_zeros(()) if bias is None else bias.to(x.dtype)[:, None, None]
    for i in range(taps_y):
        for j in range(taps_x):
            y, x0 = i * dilation, j * dilation
            window = padded[:, :, y : y + height, x0 : x0 + width]
            total = total + weight[:, :, i, j, None] * window
    return total
