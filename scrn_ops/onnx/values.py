"""What the families' formulas share: element types, sizes, upsampling."""

from __future__ import annotations

from typing import Any

import onnx_ir
from onnxscript import opset18

# Of onnxscript's types nothing is known to a type checker that would help here.
op: Any = opset18
Value = Any

_DOUBLE = onnx_ir.DataType.DOUBLE
_FLOAT = onnx_ir.DataType.FLOAT


def compute_dtype(*values: Value) -> onnx_ir.DataType:
    """The type that the kernels compute in: float64 for float64, else float32."""
    return _DOUBLE if any(value.dtype == _DOUBLE for value in values) else _FLOAT


def cast(value: Value, to: onnx_ir.DataType, of: onnx_ir.DataType | None = None) -> Value:
    """``of``: the value's type, which one that was made here does not know itself."""
    return value if (of or value.dtype) == to else op.Cast(value, to=to)


def number(value: float, like: onnx_ir.DataType) -> Value:
    return op.Constant(value=onnx_ir.tensor([value], dtype=like))


def size(map: Value, dim: int) -> Value:
    """int64 [1]."""
    return op.Shape(map, start=dim, end=dim + 1)


def length(value: Value | int) -> Value:
    """int64 [1] of a size, which is a number or a value of one element."""
    if isinstance(value, int):
        return op.Constant(value_ints=[value])
    return op.Reshape(value, op.Constant(value_ints=[1]))


def indices(count: Value) -> Value:
    """0, 1, ... in int64; ``count`` is int64 [1]."""
    zero, one = (op.Constant(value_int=n) for n in (0, 1))
    return op.Range(zero, op.Squeeze(count), one)


def upsample(map: Value, height: Value, width: Value, align_corners: bool) -> Value:
    """[B, C, h, w] to [B, C, H, W] as ``torch.nn.functional.interpolate`` has it; the height and
    the width are int64 [1]."""
    return op.Resize(
        map,
        None,
        None,
        op.Concat(op.Shape(map, start=0, end=2), height, width, axis=0),
        mode="linear",
        coordinate_transformation_mode="align_corners" if align_corners else "half_pixel",
        nearest_mode="floor",
    )
