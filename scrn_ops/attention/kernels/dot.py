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
        # Triton has this, too, and makes NaN of an infinite value times a part that is negative.
        high_a, finite_a, rest_a = _tf32_parts(a)
        high_b, finite_b, rest_b = _tf32_parts(b)
        acc = tl.dot(rest_a, finite_b, acc, input_precision="tf32")
        acc = tl.dot(finite_a, rest_b, acc, input_precision="tf32")
        return tl.dot(high_a, high_b, acc, input_precision="tf32")
    return tl.dot(a, b, acc, input_precision=PRECISION, out_dtype=acc.dtype)


@triton.jit
def _tf32(x):
    """``x`` rounded to the bits of TF32; beyond the largest numbers, and for NaN, as it is."""
    bits = (x.to(tl.uint32, bitcast=True) + 0x1000) & 0xFFFFE000
    return tl.where(tl.abs(x) < 3.3e38, bits.to(tl.float32, bitcast=True), x)


@triton.jit
def _tf32_parts(x):
    """Two parts with the bits of TF32, the first once more where it is finite, else zero: the sum
    of their products leaves out 2^-22 of ``x``. What is not finite has no second part."""
    high = _tf32(x)
    rest = x - high
    finite = tl.where(tl.abs(high) < float("inf"), high, 0.0)
    return high, finite, _tf32(tl.where(rest == rest, rest, 0.0))


@triton.jit
def rounded(x, dtype: tl.constexpr):
    """``x`` in another type, rounded to nearest."""
    if INTERPRETED and dtype == tl.bfloat16:
        # The interpreter would cut the last 16 bits off.
        bits = x.to(tl.float32).to(tl.uint32, bitcast=True)
        bits += 0x7FFF + ((bits >> 16) & 1)
        x = tl.where(x == x, bits.to(tl.float32, bitcast=True), x)
    return x.to(dtype)
