"""Argument checks of the attention, shared by every backend."""

from __future__ import annotations

import torch
from torch import Tensor

from .._checks import check_companion, check_coordinate_dtype, check_dense

_AXES = {"query": "[B, N, Dk]", "key": "[B, M, Dk]", "unary": "[B, M]", "value": "[B, M, Dv]"}


def check_whitened_attention(query: Tensor, key: Tensor, unary: Tensor, value: Tensor) -> None:
    tensors = {"query": query, "key": key, "unary": unary, "value": value}
    for name, tensor in tensors.items():
        _check_axes(name, tensor)
    for name, tensor in (("query", query), ("key", key), ("unary", unary)):
        check_companion(name, tensor, "value", value)
        check_coordinate_dtype(name, tensor, "value", value)
    for name, tensor in (("key", key), ("unary", unary)):
        if tensor.shape[1] != value.shape[1]:
            raise ValueError(
                f"{name}: expected value's M of {value.shape[1]}, got {list(tensor.shape)}"
            )
    if query.shape[2] != key.shape[2]:
        raise ValueError(f"query: expected key's Dk of {key.shape[2]}, got {list(query.shape)}")


def _check_axes(name: str, tensor: Tensor) -> None:
    check_dense(name, tensor)
    axes = _AXES[name]
    if tensor.dim() != axes.count(",") + 1:
        raise ValueError(
            f"{name}: expected {axes.count(',') + 1} dimensions {axes}, got {tensor.dim()}: "
            f"{list(tensor.shape)}"
        )
    if any(size < 1 for size in tensor.shape[1:]):
        raise ValueError(
            f"{name}: expected {axes} with sizes of at least 1 after B, got {list(tensor.shape)}"
        )


def compute_dtype(value: Tensor) -> torch.dtype:
    """The type of sums, scores and statistics."""
    return torch.float64 if value.dtype == torch.float64 else torch.float32
