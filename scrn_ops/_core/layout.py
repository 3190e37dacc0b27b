"""Layouts of results, and the empty tensors that fake kernels return."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def memory_format(map: Tensor) -> torch.memory_format:
    """The layout of the outputs that follow ``map``: torch's ``suggest_memory_format``."""
    sizes, strides = map.shape, map.stride()
    if strides[1] == 0:
        return torch.contiguous_format
    smallest = 0
    for d in (1, 3, 2, 0):
        if sizes[d] == 0 or strides[d] < smallest or (d == 0 and smallest == strides[1]):
            return torch.contiguous_format
        smallest = strides[d] * sizes[d]
    return torch.channels_last


def empty(like: Tensor, shape: tuple[int, ...], dtype: torch.dtype, layout: Any = None) -> Tensor:
    return torch.empty(
        shape,
        dtype=dtype,
        device=like.device,
        memory_format=torch.contiguous_format if layout is None else layout,
    )


def shape_of(map: Tensor) -> tuple[int, ...]:
    return tuple(map.shape)


def empty_gradient(of: Tensor, wanted: bool, layout: Any = None) -> Tensor:
    return empty(of, shape_of(of), of.dtype, layout) if wanted else of.new_empty(0)
