"""The product of two tiles, and their rounding."""

from __future__ import annotations

import triton
import triton.language as tl

INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)


@triton.jit
def dot(a, b, acc, PRECISION: tl.constexpr):
    """``acc + a @ b``, summed in the type of ``acc``."""
    if INTERPRETED:
        # numpy has no bfloat16: the interpreter would multiply its bit patterns.
        a = a.to(acc.dtype)
        b = b.to(acc.dtype)
        if PRECISION == "tf32x3":
            # It would multiply float32 exactly. Tensor cores have parts of 11 bits.
            high_a, high_b = _tf32(a), _tf32(b)
            acc += tl.dot(_tf32_rest(a, high_a), high_b) + tl.dot(high_a, _tf32_rest(b, high_b))
            return acc + tl.dot(high_a, high_b)
    return tl.dot(a, b, acc, input_precision=PRECISION, out_dtype=acc.dtype)


@triton.jit
def _tf32(x):
    """``x`` rounded to the bits of TF32."""
    bits = x.to(tl.uint32, bitcast=True) + 0x1000
    return (bits & 0xFFFFE000).to(tl.float32, bitcast=True)


@triton.jit
def _tf32_rest(x, high):
    """What rounding took off, and nothing where the difference is none of numbers."""
    rest = x - high
    return _tf32(tl.where(rest == rest, rest, 0.0))


@triton.jit
def rounded(x, dtype: tl.constexpr):
    """``x`` in another type, rounded to nearest."""
    if INTERPRETED and dtype == tl.bfloat16:
        # The interpreter would cut the last 16 bits off.
        bits = x.to(tl.float32).to(tl.uint32, bitcast=True)
        bits += 0x7FFF + ((bits >> 16) & 1)
        x = tl.where(x == x, bits.to(tl.float32, bitcast=True), x)
    return x.to(dtype)
