"""The chain as it is written in PyTorch today: a convolution, and its bounds.

This is what the fused kernel is timed against.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

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
    result = F.conv2d(input, weight, bias, padding=1)
    if minimum is None and maximum is None:
        return result
    return result.clamp(minimum, maximum)
