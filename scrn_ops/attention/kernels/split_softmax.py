"""Forward in two kernels, for values too wide for one: tiles of exponentials with their own
reference points, then their product with the values.

The reference point of a tile is its maximum rounded up to an integer. Scores are in units of
log 2, so that bringing two tiles to one reference multiplies by a power of two, which rounds
nothing.

Rows of exponentials are ``pitch`` elements apart, M rounded up to a multiple of 16, with zeros at
their ends: so are they read 16 bytes at a time whatever M is. Where a chunk begins and how many
rows it has is not specialised, since every chunk of a call would be compiled anew.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .dot import dot, rounded
from .flash import store_output
from .tiles import image_offset, places


@triton.jit(do_not_specialize=["first_image", "first_row", "rows_here"])
def exponentials(
    query,
    key,
    out,
    references,
    sums,
    first_image,
    first_row,
    rows_here,
    n,
    m,
    pitch,
    width,
    rest,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """out[b, i, j] = exp2(score - reference) for one tile of a chunk of queries; its reference
    and its sum for every row. Products times ``rest``, which is positive, are scores."""
    pid = tl.program_id(0)
    blocks = tl.cdiv(rows_here, BLOCK_N)
    tiles = tl.cdiv(m, BLOCK_M)
    rows = (pid % blocks) * BLOCK_N + tl.arange(0, BLOCK_N)
    tile = (pid // blocks) % tiles
    image = (pid // blocks // tiles).to(tl.int64)
    keys = tile * BLOCK_M + tl.arange(0, BLOCK_M)
    rows64 = rows.to(tl.int64)[:, None]
    keys64 = keys.to(tl.int64)
    query += ((first_image + image) * n + first_row) * width
    key += (first_image + image) * m * width
    dtype = sums.dtype.element_ty
    scores = tl.zeros([BLOCK_N, BLOCK_M], dtype=dtype)
    for start in range(0, width, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        q = tl.load(
            query + rows64 * width + inner[None, :], mask=(rows < rows_here)[:, None], other=0.0
        )
        k = tl.load(
            key + keys64[:, None] * width + inner[None, :], mask=(keys < m)[:, None], other=0.0
        )
        scores = dot(q, tl.trans(k), scores)
    scores = tl.where((keys < m)[None, :], scores, float("-inf"))
    reference = tl.ceil(tl.max(scores, axis=1) * rest)
    p = tl.exp2(scores * rest - reference[:, None])
    row_in_chunk = image * rows_here + rows
    tl.store(references + row_in_chunk * tiles + tile, reference, mask=rows < rows_here)
    tl.store(sums + row_in_chunk * tiles + tile, tl.sum(p, axis=1), mask=rows < rows_here)
    tl.store(
        out + (image * rows_here + rows64) * pitch + keys64[None, :],
        rounded(p, out.dtype.element_ty),
        mask=(rows < rows_here)[:, None] & (keys < pitch)[None, :],
    )


@triton.jit(do_not_specialize=["first_image", "first_row", "rows_here"])
def weighted_values(
    tiles_of_p,
    references,
    sums,
    value,
    shared,
    out,
    pairwise,
    log_sum_exp,
    first_image,
    first_row,
    rows_here,
    n,
    m,
    pitch,
    channels,
    value_stride_b,
    value_stride_m,
    value_stride_c,
    out_stride_b,
    out_stride_n,
    out_stride_c,
    TILE: tl.constexpr,
    KEEP: tl.constexpr,
    VALUE_ROWS: tl.constexpr,
    VALUE_ALIGN: tl.constexpr,
    OUT_ROWS: tl.constexpr,
    OUT_ALIGN: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """The output of a chunk of queries: tiles of TILE keys brought to one reference, times
    values, over the sum, plus the unary term. TILE is a multiple of BLOCK_M."""
    pid = tl.program_id(0)
    blocks = tl.cdiv(rows_here, BLOCK_N)
    channel_tiles = tl.cdiv(channels, BLOCK_C)
    rows = (pid % blocks) * BLOCK_N + tl.arange(0, BLOCK_N)
    channel_tile = (pid // blocks) % channel_tiles
    image = (pid // blocks // channel_tiles).to(tl.int64)
    columns = channel_tile * BLOCK_C + tl.arange(0, BLOCK_C)
    rows64 = rows.to(tl.int64)[:, None]
    here = rows < rows_here
    tiles = tl.cdiv(m, TILE)
    dtype = log_sum_exp.dtype.element_ty

    statistics = (image * rows_here + rows) * tiles
    largest = tl.full([BLOCK_N], float("-inf"), dtype=dtype)
    for tile in range(tiles):
        largest = tl.maximum(largest, tl.load(references + statistics + tile, mask=here, other=0.0))
    total = tl.zeros([BLOCK_N], dtype=dtype)
    for tile in range(tiles):
        reference = tl.load(references + statistics + tile, mask=here, other=0.0)
        part = tl.load(sums + statistics + tile, mask=here, other=1.0)
        total += part * tl.exp2(reference - largest)

    tiles_of_p += image * rows_here * pitch
    value += image_offset(first_image + image, value_stride_b, VALUE_ALIGN)
    acc = tl.zeros([BLOCK_N, BLOCK_C], dtype=dtype)
    for start in range(0, m, BLOCK_M):
        keys = start + tl.arange(0, BLOCK_M)
        reference = tl.load(references + statistics + start // TILE, mask=here, other=0.0)
        p = tl.load(
            tiles_of_p + rows64 * pitch + keys.to(tl.int64)[None, :],
            mask=here[:, None] & (keys < pitch)[None, :],
            other=0.0,
        )
        offsets, inside = places(
            keys, columns, m, channels, value_stride_m, value_stride_c, VALUE_ROWS, VALUE_ALIGN
        )
        v = tl.load(value + offsets, mask=inside, other=0.0)
        p = rounded(p.to(dtype) * tl.exp2(reference - largest)[:, None], v.dtype)
        acc = dot(p, v, acc)

    # The masks of the output end at the image's last row: a chunk ends there, or with a whole block
    # of rows, as ``chunks`` divides them.
    store_output(
        acc / total[:, None], shared, out, pairwise,
        first_image + image, first_row // 16 * 16 + rows, columns, n, channels,
        out_stride_b, out_stride_n, out_stride_c, KEEP, OUT_ROWS, OUT_ALIGN,
    )  # fmt: skip
    if channel_tile == 0:
        place = (first_image + image) * n + first_row + rows
        tl.store(log_sum_exp + place, largest + tl.log2(total), mask=here)
