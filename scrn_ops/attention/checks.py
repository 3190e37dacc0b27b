"""Argument checks of the attention, shared by every backend."""

from __future__ import annotations

import os

from torch import Tensor

from .._core.checks import check_companion, check_coordinate_dtype, check_dense
from .table import PATHS

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


def check_path(path: str | None, value: Tensor) -> None:
    """``path`` is that of the Triton kernels, which take half types on CUDA, and every type in
    Triton's interpreter: what half types round away is tested there."""
    if path is None:
        return
    if path not in PATHS:
        names = " or ".join(repr(name) for name in PATHS)
        raise ValueError(f"path: expected None, {names}, got {path!r}")
    if value.is_cuda and not is_half(value):
        raise NotImplementedError(
            f"path: expected None on CUDA for a value of {value.dtype}, got {path!r}; the Triton "
            "kernels take float16 and bfloat16"
        )
    if value.device.type == "cpu" and not _interpreted():
        raise NotImplementedError(
            f"path: expected None on the CPU, got {path!r}; the Triton kernels run on CUDA, and on "
            "the CPU with TRITON_INTERPRET=1"
        )


def takes_triton(path: str | None, value: Tensor) -> bool:
    """Whether Triton's kernels compute it: those of half types on a GPU. In float32 and float64
    matrix products are faster there, and more exact."""
    return path is not None or (value.is_cuda and is_half(value))


def is_half(value: Tensor) -> bool:
    return value.dtype.itemsize == 2


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes", "y")


def _check_axes(name: str, tensor: Tensor) -> None:
    check_dense(name, tensor)
    axes, shape = _AXES[name], tensor.shape
    if len(shape) != axes.count(",") + 1:
        raise ValueError(
            f"{name}: expected {axes.count(',') + 1} dimensions {axes}, got {len(shape)}: "
            f"{list(shape)}"
        )
    if 0 in shape[1:]:
        raise ValueError(
            f"{name}: expected {axes} with sizes of at least 1 after B, got {list(shape)}"
        )
