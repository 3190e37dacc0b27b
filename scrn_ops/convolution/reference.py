"""The definition in plain PyTorch: shifted maps times weights, summed.

Everything is computed in float64 for float64 inputs and in float32 otherwise, and is
differentiable as often as wanted, in every mode of autograd.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .._core.checks import compute_dtype
from .checks import check_conv3x3

__all__ = ["conv3x3"]


def conv3x3(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
) -> Tensor:
    """See :func:`scrn_ops.conv3x3`."""
    check_conv3x3(input, weight, bias, minimum, maximum)
    dtype, (height, width) = compute_dtype(input), input.shape[2:]
    padded = F.pad(input.to(dtype), (1, 1, 1, 1))
    total = padded.new_zeros(()) if bias is None else bias.to(dtype)[:, None, None]
    for y in range(3):
        for x in range(3):
            window = padded[:, :, y : y + height, x : x + width]
            total = total + torch.einsum("fc,bchw->bfhw", weight[:, :, y, x].to(dtype), window)
    if minimum is not None or maximum is not None:
        total = total.clamp(minimum, maximum)
    return total.to(input.dtype)
