"""Strides of results: an output follows its value, a gradient its input."""

from __future__ import annotations

from torch import Tensor


def empty_output(value: Tensor, rows: int) -> Tensor:
    """[B, rows, Dv] in value's dtype; channel-major where value is, as the maps of an NCHW
    convolution are after ``flatten(2).transpose(1, 2)``."""
    batch, _, channels = value.shape
    if value.stride(2) != 1 and value.stride(1) == 1:
        return value.new_empty(batch, channels, rows).transpose(1, 2)
    return value.new_empty(batch, rows, channels)


def empty_gradient(of: Tensor, wanted: bool) -> Tensor:
    if not wanted:
        return of.new_empty(0)
    return empty_output(of, of.shape[1]) if of.dim() == 3 else of.new_empty(of.shape)
