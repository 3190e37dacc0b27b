"""Forward in one pass over the keys, with a running maximum and sum; keys split over programs
and merged by their log-sum-exps where the queries are too few for the device."""

from __future__ import annotations

import triton
import triton.language as tl

from .dot import dot, rounded


@triton.jit
def flash(
    query,
    key,
    value,
    shared,
    out,
    log_sum_exp,
    n,
    m,
    channels,
    split_keys,
    splits,
    batch,
    value_stride_b,
    value_stride_m,
    value_stride_c,
    out_stride_b,
    out_stride_n,
    out_stride_c,
    WIDTH: tl.constexpr,
    SPLIT: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_C: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One tile of channels of the output of BLOCK_N queries, from the keys of one split.

    Scores are in units of log 2. Where SPLIT, ``out`` is [splits, B, N, Dv] and ``log_sum_exp``
    [splits, B, N], which ``merge`` puts together; otherwise the unary term is added here.
    """
    pid = tl.program_id(0)
    blocks = tl.cdiv(n, BLOCK_N)
    tiles = tl.cdiv(channels, BLOCK_C)
    rows = (pid % blocks) * BLOCK_N + tl.arange(0, BLOCK_N)
    rest = pid // blocks
    tile = rest % tiles
    split = (rest // tiles) % splits
    image = (rest // tiles // splits).to(tl.int64)
    columns = tile * BLOCK_C + tl.arange(0, BLOCK_C)
    width = tl.arange(0, WIDTH)
    here = (rows < n)[:, None]
    rows64 = rows.to(tl.int64)[:, None]
    columns64 = columns.to(tl.int64)[None, :]

    q = tl.load(query + (image * n + rows64) * WIDTH + width[None, :], mask=here, other=0.0)
    key += image * m * WIDTH
    value += image * value_stride_b
    dtype = log_sum_exp.dtype.element_ty
    largest = tl.full([BLOCK_N], float("-inf"), dtype=dtype)
    total = tl.zeros([BLOCK_N], dtype=dtype)
    acc = tl.zeros([BLOCK_N, BLOCK_C], dtype=dtype)
    first = split * split_keys
    last = tl.minimum(first + split_keys, m)
    for start in range(first, last, BLOCK_M):
        keys = start + tl.arange(0, BLOCK_M)
        keys64 = keys.to(tl.int64)[:, None]
        there = (keys < last)[:, None]
        k = tl.load(key + keys64 * WIDTH + width[None, :], mask=there, other=0.0)
        scores = dot(q, tl.trans(k), tl.zeros([BLOCK_N, BLOCK_M], dtype=dtype), PRECISION)
        scores = tl.where((keys < last)[None, :], scores, float("-inf"))
        above = tl.maximum(largest, tl.max(scores, axis=1))
        rescale = tl.exp2(largest - above)
        p = tl.exp2(scores - above[:, None])
        total = total * rescale + tl.sum(p, axis=1)
        v = tl.load(
            value + keys64 * value_stride_m + columns64 * value_stride_c,
            mask=there & (columns < channels)[None, :],
            other=0.0,
        )
        acc = dot(rounded(p, v.dtype), v, acc * rescale[:, None], PRECISION)
        largest = above

    result = acc / total[:, None]
    if SPLIT:
        part = split * batch + image
        out += part * n * channels
        log_sum_exp += part * n
        places = rows64 * channels + columns64
    else:
        u = tl.load(shared + image * channels + columns, mask=columns < channels, other=0.0)
        result += u[None, :]
        out += image * out_stride_b
        log_sum_exp += image * n
        places = rows64 * out_stride_n + columns64 * out_stride_c
    inside = here & (columns < channels)[None, :]
    tl.store(out + places, rounded(result, out.dtype.element_ty), mask=inside)
    if tile == 0:
        tl.store(log_sum_exp + rows, largest + tl.log2(total), mask=rows < n)


@triton.jit
def merge(
    parts,
    part_log_sum_exp,
    shared,
    out,
    log_sum_exp,
    n,
    channels,
    splits,
    batch,
    out_stride_b,
    out_stride_n,
    out_stride_c,
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
    columns64 = columns.to(tl.int64)[None, :]
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
        places = (part * n + rows64) * channels + columns64
        acc += tl.load(parts + places, mask=inside, other=0.0) * weight[:, None]
    u = tl.load(shared + image * channels + columns, mask=columns < channels, other=0.0)
    result = acc / total[:, None] + u[None, :]
    tl.store(
        out + image * out_stride_b + rows64 * out_stride_n + columns64 * out_stride_c,
        rounded(result, out.dtype.element_ty),
        mask=inside,
    )
    if tile == 0:
        tl.store(log_sum_exp + image * n + rows, largest + tl.log2(total), mask=rows < n)
