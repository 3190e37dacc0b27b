"""Sums over the rows of [B, N, C], and what is done with them: whitening, projection, casts.

A sum is made in parts, which another kernel adds up in their order: no atomics, and the same bits
every time.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .dot import rounded


@triton.jit
def column_sums(
    x,
    weights,
    parts,
    n,
    channels,
    split_rows,
    splits,
    stride_b,
    stride_n,
    stride_c,
    WEIGHTED: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """parts[b, split, c] = the sum of weights[b, i] * x[b, i, c] over the rows i of a split."""
    pid = tl.program_id(0)
    tiles = tl.cdiv(channels, BLOCK_C)
    tile = pid % tiles
    split = (pid // tiles) % splits
    image = (pid // tiles // splits).to(tl.int64)
    columns = tile * BLOCK_C + tl.arange(0, BLOCK_C)
    first = split * split_rows
    last = tl.minimum(first + split_rows, n)
    acc = tl.zeros([BLOCK_C], dtype=parts.dtype.element_ty)
    for start in range(first, last, BLOCK_N):
        rows = start + tl.arange(0, BLOCK_N)
        inside = (rows < last)[:, None] & (columns < channels)[None, :]
        places = rows.to(tl.int64)[:, None] * stride_n + columns.to(tl.int64)[None, :] * stride_c
        tile_x = tl.load(x + image * stride_b + places, mask=inside, other=0.0).to(acc.dtype)
        if WEIGHTED:
            tile_w = tl.load(weights + image * n + rows, mask=rows < last, other=0.0)
            tile_x = tile_x * tile_w[:, None]
        acc += tl.sum(tile_x, axis=0)
    tl.store(parts + (image * splits + split) * channels + columns, acc, mask=columns < channels)


@triton.jit
def add_parts(parts, out, channels, splits, BLOCK_C: tl.constexpr):
    """out[b, c] = the sum of parts[b, split, c]."""
    pid = tl.program_id(0)
    tiles = tl.cdiv(channels, BLOCK_C)
    columns = (pid % tiles) * BLOCK_C + tl.arange(0, BLOCK_C)
    image = (pid // tiles).to(tl.int64)
    acc = tl.zeros([BLOCK_C], dtype=out.dtype.element_ty)
    for split in range(splits):
        place = (image * splits + split) * channels + columns
        acc += tl.load(parts + place, mask=columns < channels, other=0.0)
    tl.store(out + image * channels + columns, acc, mask=columns < channels)


@triton.jit
def whiten(
    x,
    parts,
    out,
    n,
    channels,
    out_channels,
    splits,
    factor,
    stride_b,
    stride_n,
    stride_c,
    out_stride_b,
    out_stride_n,
    out_stride_c,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """out = (x - mean of x over the rows) * factor, and 0 in channels that x has not."""
    pid = tl.program_id(0)
    tiles = tl.cdiv(out_channels, BLOCK_C)
    blocks = tl.cdiv(n, BLOCK_N)
    columns = (pid % tiles) * BLOCK_C + tl.arange(0, BLOCK_C)
    rows = ((pid // tiles) % blocks) * BLOCK_N + tl.arange(0, BLOCK_N)
    image = (pid // tiles // blocks).to(tl.int64)
    mean = tl.zeros([BLOCK_C], dtype=parts.dtype.element_ty)
    for split in range(splits):
        place = (image * splits + split) * channels + columns
        mean += tl.load(parts + place, mask=columns < channels, other=0.0)
    mean = mean / n
    rows64 = rows.to(tl.int64)[:, None]
    columns64 = columns.to(tl.int64)[None, :]
    inside = (rows < n)[:, None] & (columns < channels)[None, :]
    tile = tl.load(
        x + image * stride_b + rows64 * stride_n + columns64 * stride_c, mask=inside, other=0.0
    )
    tile = tl.where(inside, (tile.to(mean.dtype) - mean[None, :]) * factor, 0.0)
    tl.store(
        out + image * out_stride_b + rows64 * out_stride_n + columns64 * out_stride_c,
        rounded(tile, out.dtype.element_ty),
        mask=(rows < n)[:, None] & (columns < out_channels)[None, :],
    )
