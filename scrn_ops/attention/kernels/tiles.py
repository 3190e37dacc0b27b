"""Where the elements of a tile lie."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def places(
    rows,
    columns,
    n,
    channels,
    stride_n,
    stride_c,
    ROWS: tl.constexpr,
    ALIGN: tl.constexpr,
):
    """Offsets of a tile of [n, channels], and which of it is inside.

    ROWS says that rows are dense, otherwise columns are. ALIGN divides the size of the dense
    dimension and the stride of the other one, as ``layout.dense_axis`` tells: Triton itself sees
    divisors of 16 alone, and would read maps of 920 pixels one element at a time.
    """
    if ROWS:
        channels = channels // ALIGN * ALIGN
        stride_n = stride_n // ALIGN * ALIGN
    else:
        n = n // ALIGN * ALIGN
        stride_c = stride_c // ALIGN * ALIGN
    offsets = rows.to(tl.int64)[:, None] * stride_n + columns.to(tl.int64)[None, :] * stride_c
    return offsets, (rows < n)[:, None] & (columns < channels)[None, :]


@triton.jit
def image_offset(image, stride_b, ALIGN: tl.constexpr):
    return image * (stride_b // ALIGN * ALIGN)
