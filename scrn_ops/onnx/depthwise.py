"""The depthwise units of SegNeXt and VAN, in ONNX."""

from __future__ import annotations

from math import sqrt

from .values import Value, cast, compute_dtype, number, op

_LOCAL, _DILATED = 5, 7


class _Packed:
    """[C, taps]: every channel's weights and bias of one convolution after the other, as
    :func:`scrn_ops.depthwise.functional.pack` puts them."""

    def __init__(self, weights: Value, like: Value) -> None:
        self.dtype = compute_dtype(like)
        self.weights = cast(weights, self.dtype)
        self.channels = int(weights.shape[0])
        self.read = 0

    def convolution(self, map: Value, height: int, width: int, dilation: int = 1) -> Value:
        """Of the map by the next weights, padded to its size."""
        weight = op.Reshape(
            self._next(height * width),
            op.Constant(value_ints=[self.channels, 1, height, width]),
        )
        bias = op.Reshape(self._next(1), op.Constant(value_ints=[self.channels]))
        padding = [height // 2 * dilation, width // 2 * dilation]
        return op.Conv(
            map,
            weight,
            bias,
            dilations=[dilation, dilation],
            group=self.channels,
            kernel_shape=[height, width],
            pads=padding * 2,
        )

    def _next(self, taps: int) -> Value:
        start, stop, axis = (op.Constant(value_ints=[n]) for n in (self.read, self.read + taps, 1))
        self.read += taps
        return op.Slice(self.weights, start, stop, axis)


def multi_scale_depthwise(input: Value, weights: Value, n0: int, n1: int, n2: int) -> Value:
    packed = _Packed(weights, input)
    local = packed.convolution(cast(input, packed.dtype), _LOCAL, _LOCAL)
    total = local
    for n in (n0, n1, n2):
        row = packed.convolution(local, 1, n)
        total = op.Add(total, packed.convolution(row, n, 1))
    return cast(total, input.dtype, packed.dtype)


def large_kernel_depthwise(input: Value, weights: Value, dilation: int) -> Value:
    packed = _Packed(weights, input)
    local = packed.convolution(cast(input, packed.dtype), _LOCAL, _LOCAL)
    dilated = packed.convolution(local, _DILATED, _DILATED, dilation)
    return cast(dilated, input.dtype, packed.dtype)


def depthwise_gelu(input: Value, weights: Value, size: int) -> Value:
    packed = _Packed(weights, input)
    dtype = packed.dtype
    sum = packed.convolution(cast(input, dtype), size, size)
    # Opset 18 has no Gelu; in this form runtimes recognise it.
    scaled = op.Erf(op.Div(sum, number(sqrt(2), dtype)))
    gelu = op.Mul(op.Mul(sum, op.Add(scaled, number(1, dtype))), number(0.5, dtype))
    return cast(gelu, input.dtype, dtype)
