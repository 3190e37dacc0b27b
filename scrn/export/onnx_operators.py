"""What the network calls beside :mod:`scrn_ops` for which torch has no translation to ONNX that
holds at every size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from scrn_ops.onnx import translation_table
from scrn_ops.onnx.values import Value, cast, compute_dtype, indices, length, op, size

from . import same_padding  # noqa: F401 (registers the operator)


def translations(grid_sample: str) -> dict[Callable[..., Any], Callable[..., Any]]:
    """Of everything that the network calls."""
    return translation_table(grid_sample) | {
        torch.ops.scrn.conv2d_same.default: _conv2d_same,
        torch.ops.aten.adaptive_avg_pool2d.default: _adaptive_avg_pool2d,
        torch.ops.aten.hardtanh.default: _hardtanh,
    }


def _conv2d_same(
    input: Value,
    weight: Value,
    bias: Value | None,
    stride: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Value:
    return op.Conv(
        input,
        weight,
        bias,
        auto_pad="SAME_UPPER",
        dilations=list(dilation),
        group=groups,
        kernel_shape=[int(n) for n in weight.shape[2:]],
        strides=list(stride),
    )


def _hardtanh(input: Value, min_val: float = -1.0, max_val: float = 1.0) -> Value:
    """Torch would decompose it, symbolically, for longer than all else takes."""
    low, high = (op.CastLike(op.Constant(value_float=n), input) for n in (min_val, max_val))
    return op.Clip(input, low, high)


def _adaptive_avg_pool2d(input: Value, output_size: Sequence[Value | int]) -> Value:
    """Two matrix products, with the share of every pixel in every window along a dimension: ONNX
    pools by windows of one size."""
    dtype = compute_dtype(input)
    height, width = (length(n) for n in output_size)
    pooled = op.MatMul(
        cast(input, dtype), op.Transpose(_windows(size(input, 3), width, dtype), perm=[1, 0])
    )
    return cast(op.MatMul(_windows(size(input, 2), height, dtype), pooled), input.dtype, dtype)


def _windows(pixels: Value, count: Value, dtype: Any) -> Value:
    """[count, pixels]: window i is of the pixels from floor(i * pixels / count) up to before
    ceil((i + 1) * pixels / count)."""
    one = op.Constant(value_ints=[1])
    i = op.Unsqueeze(indices(count), one)
    pixel = indices(pixels)
    start = op.Div(op.Mul(i, pixels), count)
    # The ceiling of a quotient of positive integers.
    stop = op.Add(op.Div(op.Sub(op.Mul(op.Add(i, one), pixels), one), count), one)
    inside = op.And(op.GreaterOrEqual(pixel, start), op.Less(pixel, stop))
    return op.Div(op.Cast(inside, to=dtype), op.Cast(op.Sub(stop, start), to=dtype))
