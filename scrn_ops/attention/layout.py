"""Strides: of results, and of what kernels read and write."""

from __future__ import annotations

import math

import torch
from torch import Tensor

VECTOR_BYTES = 16  # of the widest access


def empty_output(value: Tensor, rows: int, dtype: torch.dtype | None = None) -> Tensor:
    """[B, rows, Dv] in value's dtype, if no other is given; channel-major where value is, as the
    maps of an NCHW convolution are after ``flatten(2).transpose(1, 2)``."""
    batch, _, channels = value.shape
    if value.stride(2) != 1 and value.stride(1) == 1:
        return value.new_empty(batch, channels, rows, dtype=dtype).transpose(1, 2)
    return value.new_empty(batch, rows, channels, dtype=dtype)


def empty_gradient(of: Tensor, wanted: bool) -> Tensor:
    if not wanted:
        return of.new_empty(0)
    return empty_output(of, of.shape[1]) if of.dim() == 3 else of.new_empty(of.shape)


def dense_axis(x: Tensor) -> tuple[bool, int]:
    """Of [B, N, C]: whether rows are dense, or else columns; and the largest of 1, 2, 4, 8 and 16
    that divides the size of the dense axis and the strides of the others."""
    (batch, n, channels), (image, row, column) = x.shape, x.stride()
    rows = column == 1
    size, other = (channels, row if n > 1 else 0) if rows else (n, column if channels > 1 else 0)
    return rows, math.gcd(16, size, other, image if batch > 1 else 0)


def readable(x: Tensor, often: bool = False) -> Tensor:
    """With rows or columns dense: any other strides are read element by element. What is read
    ``often`` is copied also where its columns do not begin at multiples of 16 bytes."""
    if x.stride(2) == 1:
        return x
    if x.stride(1) != 1 or (often and dense_axis(x)[1] * x.itemsize < VECTOR_BYTES):
        return x.contiguous()
    return x
