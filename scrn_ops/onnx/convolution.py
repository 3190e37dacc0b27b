"""The 3x3 convolution, in ONNX: runtimes have their own algorithms for it."""

from __future__ import annotations

from .values import Value, number, op


def conv3x3(
    input: Value,
    weight: Value,
    bias: Value | None,
    packed: Value,
    minimum: float | None = None,
    maximum: float | None = None,
) -> Value:
    result = op.Conv(input, weight, bias, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    for bound, limit in ((minimum, op.Max), (maximum, op.Min)):
        if bound is not None:
            result = limit(result, number(bound, input.dtype))
    return result
