"""Sums over the rows of [B, N, C], and what is done with them: whitening, projection, casts.

A sum is made in parts, each by one program, and whoever needs it adds them up in their order: no
atomics, and the same bits every time. The functions here are parts of a program; ``stages`` has
the kernels that put several of them into one launch.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .dot import rounded
from .tiles import image_offset, places


@triton.jit
def part_of(pid, channels, splits, BLOCK_C: tl.constexpr):
    """Columns, split and image of a program that sums."""
    tiles = tl.cdiv(channels, BLOCK_C)
    columns = (pid % tiles) * BLOCK_C + tl.arange(0, BLOCK_C)
    return columns, (pid // tiles) % splits, (pid // tiles // splits).to(tl.int64)


@triton.jit
def sum_part(
    pid,
    x,
    parts,
    n,
    channels,
    split_rows,
    splits,
    stride_b,
    stride_n,
    stride_c,
    ROWS: tl.constexpr,
    ALIGN: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """parts[b, split, c] = the sum of x[b, i, c] over the rows i of a split."""
    columns, split, image = part_of(pid, channels, splits, BLOCK_C)
    first = split * split_rows
    last = tl.minimum(first + split_rows, n)
    x += image_offset(image, stride_b, ALIGN)
    acc = tl.zeros([BLOCK_C], dtype=parts.dtype.element_ty)
    for start in range(first, last, BLOCK_N):
        rows = start + tl.arange(0, BLOCK_N)
        offsets, inside = places(rows, columns, last, channels, stride_n, stride_c, ROWS, ALIGN)
        acc += tl.sum(tl.load(x + offsets, mask=inside, other=0.0).to(acc.dtype), axis=0)
    tl.store(parts + (image * splits + split) * channels + columns, acc, mask=columns < channels)


@triton.jit
def added_parts(parts, image, columns, channels, splits, SPLITS: tl.constexpr):
    """The sum of parts[b, split, c]; SPLITS is a power of two and at least ``splits``."""
    each = tl.arange(0, SPLITS)
    offsets = (image * splits + each)[:, None] * channels + columns[None, :]
    inside = (each < splits)[:, None] & (columns < channels)[None, :]
    return tl.sum(tl.load(parts + offsets, mask=inside, other=0.0), axis=0)


@triton.jit
def whiten_tile(
    pid,
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
    ROWS: tl.constexpr,
    ALIGN: tl.constexpr,
    OUT_ROWS: tl.constexpr,
    OUT_ALIGN: tl.constexpr,
    SPLITS: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """out = (x - mean of x over the rows) * factor, and 0 in channels that x has not."""
    tiles = tl.cdiv(out_channels, BLOCK_C)
    blocks = tl.cdiv(n, BLOCK_N)
    columns = (pid % tiles) * BLOCK_C + tl.arange(0, BLOCK_C)
    rows = ((pid // tiles) % blocks) * BLOCK_N + tl.arange(0, BLOCK_N)
    image = (pid // tiles // blocks).to(tl.int64)
    mean = added_parts(parts, image, columns, channels, splits, SPLITS) / n
    x += image_offset(image, stride_b, ALIGN)
    offsets, inside = places(rows, columns, n, channels, stride_n, stride_c, ROWS, ALIGN)
    tile = tl.load(x + offsets, mask=inside, other=0.0)
    tile = tl.where(inside, (tile.to(mean.dtype) - mean[None, :]) * factor, 0.0)
    out += image_offset(image, out_stride_b, OUT_ALIGN)
    offsets, inside = places(
        rows, columns, n, out_channels, out_stride_n, out_stride_c, OUT_ROWS, OUT_ALIGN
    )
    tl.store(out + offsets, rounded(tile, out.dtype.element_ty), mask=inside)
