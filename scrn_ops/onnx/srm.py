"""Offsets aggregated and sampled at (Eqs. 3 and 4), in ONNX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_ir

from .values import Value, cast, compute_dtype, indices, number, op, size, upsample

_INT64 = onnx_ir.DataType.INT64
Translation = Callable[..., Any]


def aggregate_offsets(offset: Value, mask: Value, mask_is_logits: bool = False) -> Value:
    return _aggregate(offset, mask, mask_is_logits, compute_dtype(offset, mask))


def sampling(by_gather: bool) -> tuple[Translation, Translation]:
    """The translations of ``offset_sample`` and of ``semantic_refine``, by Gather or by
    GridSample. Torch keeps notes on them as attributes, which methods cannot have."""
    sample: Translation = _by_gather if by_gather else _by_grid_sample

    def offset_sample(input: Value, offset: Value, align_corners: bool = True) -> Value:
        dtype = compute_dtype(input)
        values, points = cast(input, dtype), cast(offset, dtype)
        axes = [_positions(points, values, dim, align_corners, dtype) for dim in (3, 2)]
        return cast(sample(values, *axes, dtype), input.dtype, dtype)

    def semantic_refine(
        low: Value,
        offset: Value,
        mask: Value,
        skip: Value | None = None,
        mask_is_logits: bool = False,
        align_corners: bool = False,
    ) -> tuple[Value, Value]:
        dtype = compute_dtype(low)
        aggregated = _aggregate(offset, mask, mask_is_logits, dtype)
        height, width = size(offset, 2), size(offset, 3)
        upsampled = upsample(cast(low, dtype), height, width, align_corners)
        axes = [
            op.Add(_channel(aggregated, 3 - dim), _grid_index(aggregated, dim, dtype))
            for dim in (3, 2)
        ]
        output = sample(upsampled, *axes, dtype)
        if skip is not None:
            output = op.Add(output, cast(skip, dtype))
        return cast(output, low.dtype, dtype), aggregated

    return offset_sample, semantic_refine


def _aggregate(offset: Value, mask: Value, mask_is_logits: bool, dtype: onnx_ir.DataType) -> Value:
    weights = cast(mask, dtype)
    if mask_is_logits:
        weights = op.Softmax(weights, axis=1)
    border = op.Constant(value_ints=[0, 0, 1, 1, 0, 0, 1, 1])
    padded = op.Pad(cast(offset, dtype), border)
    height, width = size(offset, 2), size(offset, 3)
    axes = op.Constant(value_ints=[2, 3])
    products = []
    for k in range(9):
        dy, dx = divmod(k, 3)
        start = op.Constant(value_ints=[dy, dx])
        stop = op.Add(op.Concat(height, width, axis=0), start)
        products.append(op.Mul(op.Slice(padded, start, stop, axes), _channels(weights, k, k + 1)))
    return op.Sum(*products)


def _channels(map: Value, start: int, stop: int) -> Value:
    first, last, axis = (op.Constant(value_ints=[n]) for n in (start, stop, 1))
    return op.Slice(map, first, last, axis)


def _channel(map: Value, index: int) -> Value:
    """[B, H, W]."""
    return op.Squeeze(_channels(map, index, index + 1), op.Constant(value_ints=[1]))


def _grid_index(offset: Value, dim: int, dtype: onnx_ir.DataType) -> Value:
    """The index of every pixel along a dimension, in a shape that goes with [B, H, W]."""
    index = op.Cast(indices(size(offset, dim)), to=dtype)
    return op.Unsqueeze(index, op.Constant(value_ints=[1])) if dim == 2 else index


def _positions(
    offset: Value, input: Value, dim: int, align_corners: bool, dtype: onnx_ir.DataType
) -> Value:
    """Where every pixel samples along a dimension, in pixels of the input; see
    :func:`scrn_ops.offset_sample`."""
    point = op.Add(_channel(offset, 3 - dim), _grid_index(offset, dim, dtype))
    inner, outer = size(input, dim), size(offset, dim)
    if not align_corners:
        half = number(0.5, dtype)
        ratio = op.Div(op.Cast(inner, to=dtype), op.Cast(outer, to=dtype))
        return op.Sub(op.Mul(op.Add(point, half), ratio), half)
    # Of one size, a map of one pixel can be left by an offset.
    one = op.Constant(value_ints=[1])
    same = op.Equal(op.Shape(input, start=2), op.Shape(offset, start=2))
    same = op.ReduceMin(op.Cast(same, to=_INT64), keepdims=1)
    steps = op.Sub(outer, one)
    numerator = op.Mul(op.Sub(inner, one), op.Min(steps, one))  # 0 where the output has no step
    ratio = op.Div(op.Cast(numerator, to=dtype), op.Cast(op.Max(steps, one), to=dtype))
    return op.Mul(point, op.Where(op.Cast(same, to=onnx_ir.DataType.BOOL), number(1, dtype), ratio))


def _by_grid_sample(input: Value, x: Value, y: Value, dtype: onnx_ir.DataType) -> Value:
    """[B, C, h, w] at the points [B, H, W] that x and y name, in pixels; zeros outside."""
    last = op.Constant(value_ints=[-1])
    grid = []
    for positions, dim in ((x, 3), (y, 2)):
        pixels = op.Cast(size(input, dim), to=dtype)
        # All is zero from one pixel outside on; farther out runtimes lose themselves.
        positions = op.Max(op.Min(positions, op.Add(pixels, number(1, dtype))), number(-2, dtype))
        # The corners are not aligned, since aligned ones divide by zero where the size is 1.
        scale = op.Div(number(2, dtype), pixels)
        half = number(0.5, dtype)
        normalised = op.Sub(op.Mul(op.Add(positions, half), scale), number(1, dtype))
        grid.append(op.Unsqueeze(normalised, last))
    return op.GridSample(
        input, op.Concat(*grid, axis=-1), align_corners=0, mode="bilinear", padding_mode="zeros"
    )


def _by_gather(input: Value, x: Value, y: Value, dtype: onnx_ir.DataType) -> Value:
    """The same. The pixels of all images are rows, of which four are gathered for every point."""
    height, width = size(input, 2), size(input, 3)
    rows_of = op.Transpose(input, perm=[0, 2, 3, 1])
    rows_of = op.Reshape(rows_of, op.Concat(op.Constant(value_ints=[-1]), size(input, 1), axis=0))
    x_cell, x_share, x_inside = _cell(x, width, dtype)
    y_cell, y_share, y_inside = _cell(y, height, dtype)
    batch = op.Mul(indices(size(input, 0)), op.Mul(height, width))
    batch = op.Unsqueeze(batch, op.Constant(value_ints=[1, 2]))
    inside = op.And(x_inside, y_inside)
    one, zero = number(1, dtype), number(0, dtype)
    parts = []
    for dy in (0, 1):
        for dx in (0, 1):
            column, column_is_inside = _pixel(x_cell, dx, width)
            row, row_is_inside = _pixel(y_cell, dy, height)
            index = op.Add(op.Add(op.Mul(row, width), column), batch)
            share = op.Mul(
                x_share if dx else op.Sub(one, x_share), y_share if dy else op.Sub(one, y_share)
            )
            valid = op.And(inside, op.And(row_is_inside, column_is_inside))
            share = op.Unsqueeze(op.Where(valid, share, zero), op.Constant(value_ints=[-1]))
            parts.append(op.Mul(op.Gather(rows_of, index, axis=0), share))
    return op.Transpose(op.Sum(*parts), perm=[0, 3, 1, 2])


def _cell(positions: Value, count: Value, dtype: onnx_ir.DataType) -> tuple[Value, Value, Value]:
    """The pixel before each position, the share of the one behind it, and whether one of both is
    on the map, which NaN is not."""
    first, last = number(-1, dtype), op.Cast(count, to=dtype)
    inside = op.And(op.Greater(positions, first), op.Less(positions, last))
    # A cast of what is far outside, or NaN, to an integer is anything.
    positions = op.Where(inside, positions, number(0, dtype))
    cell = op.Floor(positions)
    return op.Cast(cell, to=_INT64), op.Sub(positions, cell), inside


def _pixel(cell: Value, step: int, count: Value) -> tuple[Value, Value]:
    """A pixel that exists, and whether it is the one that was asked for."""
    zero, one = (op.Constant(value_ints=[n]) for n in (0, 1))
    index = op.Add(cell, one) if step else cell
    kept = op.Max(op.Min(index, op.Sub(count, one)), zero)
    return kept, op.Equal(kept, index)
