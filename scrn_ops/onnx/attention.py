"""Attention by whitened embeddings plus attention that all queries share, in ONNX."""

from __future__ import annotations

import onnx_ir

from .values import Value, cast, compute_dtype, number, op


def whitened_attention(
    query: Value,
    key: Value,
    unary: Value,
    value: Value,
    scale: float = 1.0,
    keep_probabilities: bool = False,
    path: str | None = None,
) -> tuple[Value, Value, Value, Value]:
    """The first result is that of the op, the others serve its backward."""
    dtype = compute_dtype(value)
    values = cast(value, dtype)
    query, key = _centred(query, dtype), _centred(key, dtype)
    scores = op.MatMul(op.Mul(query, number(scale, dtype)), op.Transpose(key, perm=[0, 2, 1]))
    one = op.Constant(value_ints=[1])
    weights = op.Unsqueeze(op.Softmax(cast(unary, dtype), axis=1), one)
    shared = op.MatMul(weights, values)
    output = op.Add(op.MatMul(op.Softmax(scores, axis=2), values), shared)
    nothing = op.Constant(value=onnx_ir.tensor([], dtype=dtype))
    return cast(output, value.dtype, dtype), nothing, op.Squeeze(shared, one), op.Identity(nothing)


def _centred(rows: Value, dtype: onnx_ir.DataType) -> Value:
    rows = cast(rows, dtype)
    return op.Sub(rows, op.ReduceMean(rows, op.Constant(value_ints=[1]), keepdims=1))
