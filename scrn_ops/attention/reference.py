"""The attention's definition in plain PyTorch, which is also the chain that users write today."""

from __future__ import annotations

import torch
from torch import Tensor

from .._core.checks import autocast_features, compute_dtype, without_autocast
from .checks import check_whitened_attention

__all__ = ["whitened_attention"]


def whitened_attention(
    query: Tensor, key: Tensor, unary: Tensor, value: Tensor, *, scale: float = 1.0
) -> Tensor:
    """Eqs. 8 and 9 as they stand; see :func:`scrn_ops.whitened_attention`."""
    check_whitened_attention(query, key, unary, value)
    value = autocast_features(value)
    dtype = compute_dtype(value)
    with without_autocast(value.device.type):
        q, k, m, v = (tensor.to(dtype) for tensor in (query, key, unary, value))
        q = q - q.mean(dim=1, keepdim=True)
        k = k - k.mean(dim=1, keepdim=True)
        pairwise = (scale * q @ k.transpose(1, 2)).softmax(dim=2)
        shared = m.softmax(dim=1).unsqueeze(1)
        return torch.baddbmm(shared @ v, pairwise, v).to(value.dtype)
