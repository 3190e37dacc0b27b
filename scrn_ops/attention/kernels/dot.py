"""The product of two tiles, and their rounding."""

from __future__ import annotations

import triton
import triton.language as tl

INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)


@triton.jit
def dot(a, b, acc):
    """``acc + a @ b``, summed in the type of ``acc``."""
    if INTERPRETED:
        # numpy has no bfloat16: the interpreter would multiply its bit patterns.
        a = a.to(acc.dtype)
        b = b.to(acc.dtype)
    # Says nothing of half types; by default Triton would cut a float32 operand to TF32.
    return tl.dot(a, b, acc, input_precision="ieee", out_dtype=acc.dtype)


@triton.jit
def rounded(x, dtype: tl.constexpr):
    """``x`` in another type, rounded to nearest."""
    if INTERPRETED and dtype == tl.bfloat16:
        # The interpreter would cut the last 16 bits off.
        bits = x.to(tl.float32).to(tl.uint32, bitcast=True)
        bits += 0x7FFF + ((bits >> 16) & 1)
        x = tl.where(x == x, bits.to(tl.float32, bitcast=True), x)
    return x.to(dtype)
