"""Backward: probabilities and gradients of the scores of a chunk of queries, then products with
them. Every element is written by one program, chunks follow one another: no atomics.

Rows of probabilities and slopes are ``pitch`` elements apart, as in ``split_softmax``, and the
ends of both are zeros.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .dot import dot, rounded
from .tiles import image_offset, places


@triton.jit(do_not_specialize=["first_image", "first_row", "rows_here"])
def score_gradients(
    query,
    key,
    value,
    grad,
    log_sum_exp,
    delta,
    probabilities,
    slopes,
    first_image,
    first_row,
    rows_here,
    n,
    m,
    pitch,
    width,
    channels,
    rest,
    value_stride_b,
    value_stride_m,
    value_stride_c,
    grad_stride_b,
    grad_stride_n,
    grad_stride_c,
    VALUE_ROWS: tl.constexpr,
    VALUE_ALIGN: tl.constexpr,
    GRAD_ROWS: tl.constexpr,
    GRAD_ALIGN: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """One tile of P = exp2(scores - log-sum-exp) and of dS = P * (dO g^T - delta)."""
    pid = tl.program_id(0)
    blocks = tl.cdiv(rows_here, BLOCK_N)
    tiles = tl.cdiv(m, BLOCK_M)
    rows = (pid % blocks) * BLOCK_N + tl.arange(0, BLOCK_N)
    tile = (pid // blocks) % tiles
    image = (pid // blocks // tiles).to(tl.int64)
    keys = tile * BLOCK_M + tl.arange(0, BLOCK_M)
    rows64 = rows.to(tl.int64)[:, None]
    keys64 = keys.to(tl.int64)
    here = rows < rows_here
    there = keys < m
    row = (first_image + image) * n + first_row
    query += row * width
    key += (first_image + image) * m * width
    grad += image_offset(first_image + image, grad_stride_b, GRAD_ALIGN)
    value += image_offset(first_image + image, value_stride_b, VALUE_ALIGN)
    dtype = delta.dtype.element_ty

    p = tl.zeros([BLOCK_N, BLOCK_M], dtype=dtype)
    for start in range(0, width, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        q = tl.load(query + rows64 * width + inner[None, :], mask=here[:, None], other=0.0)
        k = tl.load(key + keys64[:, None] * width + inner[None, :], mask=there[:, None], other=0.0)
        p = dot(q, tl.trans(k), p)
    p = tl.exp2(p * rest - tl.load(log_sum_exp + row + rows, mask=here, other=0.0)[:, None])
    p = tl.where(there[None, :], p, 0.0)

    ds = tl.zeros([BLOCK_N, BLOCK_M], dtype=dtype)
    grad_rows = first_row // 16 * 16 + rows
    for start in range(0, channels, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        offsets, inside = places(
            grad_rows, inner, n, channels, grad_stride_n, grad_stride_c, GRAD_ROWS, GRAD_ALIGN
        )
        g = tl.load(grad + offsets, mask=inside, other=0.0)
        offsets, inside = places(
            keys, inner, m, channels, value_stride_m, value_stride_c, VALUE_ROWS, VALUE_ALIGN
        )
        v = tl.load(value + offsets, mask=inside, other=0.0)
        ds = dot(g, tl.trans(v), ds)
    ds = p * (ds - tl.load(delta + row + rows, mask=here, other=0.0)[:, None])
    ds = tl.where(there[None, :], ds, 0.0)  # where a NaN of delta would spread to the ends

    offsets = (image * rows_here + rows64) * pitch + keys64[None, :]
    inside = here[:, None] & (keys < pitch)[None, :]
    tl.store(probabilities + offsets, rounded(p, probabilities.dtype.element_ty), mask=inside)
    tl.store(slopes + offsets, rounded(ds, slopes.dtype.element_ty), mask=inside)


@triton.jit
def tile_of(pid, rows_out, columns_out, BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr):
    """Rows, columns and image of a program of a product."""
    blocks = tl.cdiv(rows_out, BLOCK_N)
    tiles = tl.cdiv(columns_out, BLOCK_M)
    rows = (pid % blocks) * BLOCK_N + tl.arange(0, BLOCK_N)
    columns = ((pid // blocks) % tiles) * BLOCK_M + tl.arange(0, BLOCK_M)
    return rows, columns, (pid // blocks // tiles).to(tl.int64)


@triton.jit
def by_keys(
    scores,
    factors,
    acc,
    keys,
    columns,
    image,
    first_row,
    rows_here,
    n,
    channels,
    pitch,
    stride_b,
    stride_n,
    stride_c,
    ROWS: tl.constexpr,
    ALIGN: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """``acc`` + scores^T @ factors, the sum over the rows of a chunk, which begin at ``first_row``
    of ``factors``. Beyond the chunk there are no rows, as ``chunks`` divides them."""
    keys64 = keys.to(tl.int64)[:, None]
    factors += image_offset(image, stride_b, ALIGN)
    first = first_row // 16 * 16
    for start in range(0, rows_here, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        left = tl.load(
            scores + inner.to(tl.int64)[None, :] * pitch + keys64,
            mask=(keys < pitch)[:, None] & (inner < rows_here)[None, :],
            other=0.0,
        )
        offsets, inside = places(
            first + inner, columns, n, channels, stride_n, stride_c, ROWS, ALIGN
        )
        right = tl.load(factors + offsets, mask=inside, other=0.0)
        acc = dot(left, right, acc)
    return acc


@triton.jit
def query_product(
    pid,
    slopes,
    key,
    query_sums,
    first_image,
    first_row,
    rows_here,
    n,
    m,
    pitch,
    width,
    padded,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """query_sums [B, N, Dk] = dS k' of the rows of a chunk."""
    rows, columns, image = tile_of(pid, rows_here, width, BLOCK_N, BLOCK_M)
    rows64 = rows.to(tl.int64)[:, None]
    columns64 = columns.to(tl.int64)[None, :]
    slopes += image * rows_here * pitch
    key += (first_image + image) * m * padded
    acc = tl.zeros([BLOCK_N, BLOCK_M], dtype=query_sums.dtype.element_ty)
    for start in range(0, m, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        inner64 = inner.to(tl.int64)
        left = tl.load(
            slopes + rows64 * pitch + inner64[None, :],
            mask=(rows < rows_here)[:, None] & (inner < pitch)[None, :],
            other=0.0,
        )
        right = tl.load(
            key + inner64[:, None] * padded + columns64,
            mask=(inner < m)[:, None] & (columns < padded)[None, :],
            other=0.0,
        )
        acc = dot(left, right, acc)
    offsets = ((first_image + image) * n + first_row + rows64) * width + columns64
    inside = (rows < rows_here)[:, None] & (columns < width)[None, :]
    tl.store(query_sums + offsets, acc, mask=inside)


@triton.jit
def key_product(
    pid,
    slopes,
    query,
    key_sums,
    first_image,
    first_row,
    rows_here,
    continued,
    n,
    m,
    pitch,
    width,
    padded,
    query_image,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """key_sums [B, M, Dk] (+)= dS^T q'."""
    keys, columns, image = tile_of(pid, m, width, BLOCK_N, BLOCK_M)
    offsets = keys.to(tl.int64)[:, None] * width + columns.to(tl.int64)[None, :]
    inside = (keys < m)[:, None] & (columns < width)[None, :]
    key_sums += (first_image + image) * m * width
    acc = tl.load(key_sums + offsets, mask=inside & (continued != 0), other=0.0)
    acc = by_keys(
        slopes + image * rows_here * pitch, query, acc, keys, columns, first_image + image,
        first_row, rows_here, n, padded, pitch, query_image, padded, 1, True, 16, BLOCK_K,
    )  # fmt: skip
    tl.store(key_sums + offsets, acc, mask=inside)


@triton.jit
def value_product(
    pid,
    probabilities,
    grad,
    value_sums,
    grad_value,
    weights,
    total,
    first_image,
    first_row,
    rows_here,
    continued,
    last,
    n,
    m,
    pitch,
    channels,
    grad_stride_b,
    grad_stride_n,
    grad_stride_c,
    out_stride_b,
    out_stride_m,
    out_stride_c,
    GRAD_ROWS: tl.constexpr,
    GRAD_ALIGN: tl.constexpr,
    OUT_ROWS: tl.constexpr,
    OUT_ALIGN: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """P^T dO is added up in value_sums [B, M, Dv] until the last chunk, which puts all of it and
    the unary term's outer product into ``grad_value``."""
    keys, columns, image = tile_of(pid, m, channels, BLOCK_N, BLOCK_M)
    offsets = keys.to(tl.int64)[:, None] * channels + columns.to(tl.int64)[None, :]
    inside = (keys < m)[:, None] & (columns < channels)[None, :]
    probabilities += image * rows_here * pitch
    image += first_image
    value_sums += image * m * channels
    acc = tl.load(value_sums + offsets, mask=inside & (continued != 0), other=0.0)
    acc = by_keys(
        probabilities, grad, acc, keys, columns, image, first_row, rows_here, n, channels, pitch,
        grad_stride_b, grad_stride_n, grad_stride_c, GRAD_ROWS, GRAD_ALIGN, BLOCK_K,
    )  # fmt: skip
    if last == 0:
        tl.store(value_sums + offsets, acc, mask=inside)
    else:
        w = tl.load(weights + image * m + keys, mask=keys < m, other=0.0)
        t = tl.load(total + image * channels + columns, mask=columns < channels, other=0.0)
        result = rounded(acc + w[:, None] * t[None, :], grad_value.dtype.element_ty)
        places_out, inside_out = places(
            keys, columns, m, channels, out_stride_m, out_stride_c, OUT_ROWS, OUT_ALIGN
        )
        out_image = image_offset(image, out_stride_b, OUT_ALIGN)
        tl.store(grad_value + out_image + places_out, result, mask=inside_out)


@triton.jit(do_not_specialize=["first_image", "first_row", "rows_here", "continued", "last"])
def products(
    probabilities,
    slopes,
    query,
    key,
    grad,
    query_sums,
    key_sums,
    value_sums,
    grad_value,
    weights,
    total,
    query_programs,
    key_programs,
    first_image,
    first_row,
    rows_here,
    continued,
    last,
    n,
    m,
    pitch,
    width,
    padded,
    query_image,
    channels,
    grad_stride_b,
    grad_stride_n,
    grad_stride_c,
    out_stride_b,
    out_stride_m,
    out_stride_c,
    GRAD_ROWS: tl.constexpr,
    GRAD_ALIGN: tl.constexpr,
    OUT_ROWS: tl.constexpr,
    OUT_ALIGN: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """What the scores of a chunk of queries contribute to the three gradients. ``continued`` says
    that these images had chunks before."""
    pid = tl.program_id(0)
    if pid < query_programs:
        query_product(
            pid, slopes, key, query_sums, first_image, first_row, rows_here, n, m, pitch, width,
            padded, BLOCK_N, BLOCK_M, BLOCK_K,
        )  # fmt: skip
    elif pid < query_programs + key_programs:
        key_product(
            pid - query_programs, slopes, query, key_sums, first_image, first_row, rows_here,
            continued, n, m, pitch, width, padded, query_image,
            BLOCK_N, BLOCK_M, BLOCK_K,
        )  # fmt: skip
    else:
        value_product(
            pid - query_programs - key_programs, probabilities, grad, value_sums, grad_value,
            weights, total, first_image, first_row, rows_here, continued, last,
            n, m, pitch, channels, grad_stride_b, grad_stride_n, grad_stride_c,
            out_stride_b, out_stride_m, out_stride_c,
            GRAD_ROWS, GRAD_ALIGN, OUT_ROWS, OUT_ALIGN, BLOCK_N, BLOCK_M, BLOCK_K,
        )  # fmt: skip
