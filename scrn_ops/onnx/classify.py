"""Upsampled logits and their labels, in ONNX."""

from __future__ import annotations

import onnx_ir

from .values import Value, cast, compute_dtype, length, op, upsample


def upsampled_logits(
    logits: Value, height: Value | int, width: Value | int, align_corners: bool = False
) -> Value:
    dtype = compute_dtype(logits)
    scores = upsample(cast(logits, dtype), length(height), length(width), align_corners)
    return cast(scores, logits.dtype, dtype)


def upsampled_argmax(
    logits: Value,
    height: Value | int,
    width: Value | int,
    align_corners: bool = False,
    wide_labels: bool = True,
    with_confidence: bool = False,
) -> tuple[Value, Value]:
    scores = upsample(
        cast(logits, compute_dtype(logits)), length(height), length(width), align_corners
    )
    labels = op.ArgMax(scores, axis=1, keepdims=0, select_last_index=0)
    if not wide_labels:
        labels = op.Cast(labels, to=onnx_ir.DataType.UINT8)
    if not with_confidence:
        return labels, op.Constant(value=onnx_ir.tensor([], dtype=onnx_ir.DataType.FLOAT))
    shares = op.Softmax(scores, axis=1)
    confidence = op.ReduceMax(shares, op.Constant(value_ints=[1]), keepdims=0)
    return labels, op.Cast(confidence, to=onnx_ir.DataType.FLOAT)
