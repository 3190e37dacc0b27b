"""Forward in one pass over the keys, with a running maximum and sum; keys split over programs
and merged by their log-sum-exps where the queries are too few for the device."""

from __future__ import annotations

import triton
import triton.language as tl

from .dot import dot, rounded
from .tiles import image_offset, places


@triton.jit
def flash(
    query,
    key,
    value,
    shared,
    out,
    pairwise,
    log_sum_exp,
    n,
    m,
    channels,
    split_keys,
    splits,
    batch,
    rest,
    value_stride_b,
    value_stride_m,
    value_stride_c,
    out_stride_b,
    out_stride_n,
    out_stride_c,
    WIDTH: tl.constexpr,
    SPLIT: tl.constexpr,
    KEEP: tl.constexpr,
    VALUE_ROWS: tl.constexpr,
    VALUE_ALIGN: tl.constexpr,
    OUT_ROWS: tl.constexpr,
    OUT_ALIGN: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """One tile of channels of the output of BLOCK_N queries, from the keys of one split.

    Products of queries and keys times ``rest``, which is positive, are scores in units of log 2.
    Where SPLIT, ``out`` is [splits, B, N, Dv] and ``log_sum_exp`` [splits, B, N], which ``merge``
    puts together; otherwise the unary term is added here, and where KEEP the output without it
    goes to ``pairwise``.
    """
    pid = tl.program_id(0)
    blocks = tl.cdiv(n, BLOCK_N)
    tiles = tl.cdiv(channels, BLOCK_C)
    rows = (pid % blocks) * BLOCK_N + tl.arange(0, BLOCK_N)
    rest_of_pid = pid // blocks
    tile = rest_of_pid % tiles
    split = (rest_of_pid // tiles) % splits
    image = (rest_of_pid // tiles // splits).to(tl.int64)
    columns = tile * BLOCK_C + tl.arange(0, BLOCK_C)
    width = tl.arange(0, WIDTH)
    here = (rows < n)[:, None]
    rows64 = rows.to(tl.int64)[:, None]

    q = tl.load(query + (image * n + rows64) * WIDTH + width[None, :], mask=here, other=0.0)
    key += image * m * WIDTH
    value += image_offset(image, value_stride_b, VALUE_ALIGN)
    dtype = log_sum_exp.dtype.element_ty
    largest = tl.full([BLOCK_N], float("-inf"), dtype=dtype)
    total = tl.zeros([BLOCK_N], dtype=dtype)
    acc = tl.zeros([BLOCK_N, BLOCK_C], dtype=dtype)
    first = split * split_keys
    last = tl.minimum(first + split_keys, m)
    for start in range(first, last, BLOCK_M):
        keys = start + tl.arange(0, BLOCK_M)
        there = (keys < last)[:, None]
        k = tl.load(
            key + keys.to(tl.int64)[:, None] * WIDTH + width[None, :], mask=there, other=0.0
        )
        scores = dot(q, tl.trans(k), tl.zeros([BLOCK_N, BLOCK_M], dtype=dtype))
        scores = tl.where((keys < last)[None, :], scores, float("-inf"))
        above = tl.maximum(largest, tl.max(scores, axis=1) * rest)
        rescale = tl.exp2(largest - above)
        p = tl.exp2(scores * rest - above[:, None])
        total = total * rescale + tl.sum(p, axis=1)
        offsets, inside = places(
            keys, columns, last, channels, value_stride_m, value_stride_c, VALUE_ROWS, VALUE_ALIGN
        )
        v = tl.load(value + offsets, mask=inside, other=0.0)
        acc = dot(rounded(p, v.dtype), v, acc * rescale[:, None])
        largest = above

    result = acc / total[:, None]
    if SPLIT:
        part = split * batch + image
        log_sum_exp += part * n
        offsets = part * n * channels + rows64 * channels + columns[None, :]
        tl.store(out + offsets, result, mask=here & (columns < channels)[None, :])
    else:
        log_sum_exp += image * n
        store_output(
            result, shared, out, pairwise, image, rows, columns, n, channels,
            out_stride_b, out_stride_n, out_stride_c, KEEP, OUT_ROWS, OUT_ALIGN,
        )  # fmt: skip
    if tile == 0:
        tl.store(log_sum_exp + rows, largest + tl.log2(total), mask=rows < n)


@triton.jit
def store_output(
    result,
    shared,
    out,
    pairwise,
    image,
    rows,
    columns,
    n,
    channels,
    out_stride_b,
    out_stride_n,
    out_stride_c,
    KEEP: tl.constexpr,
    OUT_ROWS: tl.constexpr,
    OUT_ALIGN: tl.constexpr,
):
    """The pairwise term plus the unary one; where KEEP also the pairwise term alone."""
    offsets, inside = places(
        rows, columns, n, channels, out_stride_n, out_stride_c, OUT_ROWS, OUT_ALIGN
    )
    offsets += image_offset(image, out_stride_b, OUT_ALIGN)
    if KEEP:
        tl.store(pairwise + offsets, rounded(result, pairwise.dtype.element_ty), mask=inside)
    u = tl.load(shared + image * channels + columns, mask=columns < channels, other=0.0)
    tl.store(out + offsets, rounded(result + u[None, :], out.dtype.element_ty), mask=inside)


@triton.jit
def merge(
    parts,
    part_log_sum_exp,
    shared,
    out,
    pairwise,
    log_sum_exp,
    n,
    channels,
    splits,
    batch,
    out_stride_b,
    out_stride_n,
    out_stride_c,
    KEEP: tl.constexpr,
    OUT_ROWS: tl.constexpr,
    OUT_ALIGN: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """The mean of the splits' outputs, weighted by their sums of exponentials, plus the unary
    term."""
    pid = tl.program_id(0)
    blocks = tl.cdiv(n, BLOCK_N)
    tiles = tl.cdiv(channels, BLOCK_C)
    rows = (pid % blocks) * BLOCK_N + tl.arange(0, BLOCK_N)
    tile = (pid // blocks) % tiles
    image = (pid // blocks // tiles).to(tl.int64)
    columns = tile * BLOCK_C + tl.arange(0, BLOCK_C)
    rows64 = rows.to(tl.int64)[:, None]
    inside = (rows < n)[:, None] & (columns < channels)[None, :]
    dtype = log_sum_exp.dtype.element_ty
    largest = tl.full([BLOCK_N], float("-inf"), dtype=dtype)
    for split in range(splits):
        each = tl.load(
            part_log_sum_exp + (split * batch + image) * n + rows, mask=rows < n, other=0.0
        )
        largest = tl.maximum(largest, each)
    total = tl.zeros([BLOCK_N], dtype=dtype)
    acc = tl.zeros([BLOCK_N, BLOCK_C], dtype=dtype)
    for split in range(splits):
        part = split * batch + image
        each = tl.load(part_log_sum_exp + part * n + rows, mask=rows < n, other=0.0)
        weight = tl.exp2(each - largest)
        total += weight
        offsets = part * n * channels + rows64 * channels + columns[None, :]
        acc += tl.load(parts + offsets, mask=inside, other=0.0) * weight[:, None]
    store_output(
        acc / total[:, None], shared, out, pairwise, image, rows, columns, n, channels,
        out_stride_b, out_stride_n, out_stride_c, KEEP, OUT_ROWS, OUT_ALIGN,
    )  # fmt: skip
    if tile == 0:
        tl.store(log_sum_exp + image * n + rows, largest + tl.log2(total), mask=rows < n)
