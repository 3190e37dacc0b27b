"""Backward: probabilities and gradients of the scores of a chunk of queries, then products with
them. Every element is written by one program, chunks follow one another: no atomics."""

from __future__ import annotations

import triton
import triton.language as tl

from .dot import dot, rounded


@triton.jit
def row_products(
    grad,
    output,
    shared,
    delta,
    n,
    channels,
    grad_stride_b,
    grad_stride_n,
    grad_stride_c,
    out_stride_b,
    out_stride_n,
    out_stride_c,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """delta[b, i] = dO_i . (y_i - u): the mean of the probabilities' gradients under them."""
    pid = tl.program_id(0)
    blocks = tl.cdiv(n, BLOCK_N)
    rows = (pid % blocks) * BLOCK_N + tl.arange(0, BLOCK_N)
    image = (pid // blocks).to(tl.int64)
    rows64 = rows.to(tl.int64)[:, None]
    dtype = delta.dtype.element_ty
    acc = tl.zeros([BLOCK_N], dtype=dtype)
    for start in range(0, channels, BLOCK_C):
        columns = start + tl.arange(0, BLOCK_C)
        columns64 = columns.to(tl.int64)[None, :]
        inside = (rows < n)[:, None] & (columns < channels)[None, :]
        u = tl.load(shared + image * channels + columns, mask=columns < channels, other=0.0)
        g = tl.load(
            grad + image * grad_stride_b + rows64 * grad_stride_n + columns64 * grad_stride_c,
            mask=inside,
            other=0.0,
        )
        y = tl.load(
            output + image * out_stride_b + rows64 * out_stride_n + columns64 * out_stride_c,
            mask=inside,
            other=0.0,
        )
        acc += tl.sum(g.to(dtype) * (y.to(dtype) - u[None, :]), axis=1)
    tl.store(delta + image * n + rows, acc, mask=rows < n)


@triton.jit
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
    width,
    channels,
    value_stride_b,
    value_stride_m,
    value_stride_c,
    grad_stride_b,
    grad_stride_n,
    grad_stride_c,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
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
    grad += (first_image + image) * grad_stride_b
    value += (first_image + image) * value_stride_b
    dtype = delta.dtype.element_ty

    p = tl.zeros([BLOCK_N, BLOCK_M], dtype=dtype)
    for start in range(0, width, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        q = tl.load(query + rows64 * width + inner[None, :], mask=here[:, None], other=0.0)
        k = tl.load(key + keys64[:, None] * width + inner[None, :], mask=there[:, None], other=0.0)
        p = dot(q, tl.trans(k), p, PRECISION)
    p = tl.exp2(p - tl.load(log_sum_exp + row + rows, mask=here, other=0.0)[:, None])

    ds = tl.zeros([BLOCK_N, BLOCK_M], dtype=dtype)
    for start in range(0, channels, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        inner64 = inner.to(tl.int64)
        g = tl.load(
            grad + (first_row + rows64) * grad_stride_n + inner64[None, :] * grad_stride_c,
            mask=here[:, None] & (inner < channels)[None, :],
            other=0.0,
        )
        v = tl.load(
            value + keys64[None, :] * value_stride_m + inner64[:, None] * value_stride_c,
            mask=there[None, :] & (inner < channels)[:, None],
            other=0.0,
        )
        ds = dot(g, v, ds, PRECISION)
    ds = p * (ds - tl.load(delta + row + rows, mask=here, other=0.0)[:, None])

    places = (image * rows_here + rows64) * m + keys64[None, :]
    inside = here[:, None] & there[None, :]
    tl.store(probabilities + places, rounded(p, probabilities.dtype.element_ty), mask=inside)
    tl.store(slopes + places, rounded(ds, slopes.dtype.element_ty), mask=inside)


@triton.jit
def product(
    a,
    b,
    before,
    out,
    weights,
    total,
    rows_out,
    columns_out,
    depth,
    factor,
    a_stride_b,
    a_stride_row,
    a_stride_depth,
    b_stride_b,
    b_stride_depth,
    b_stride_column,
    before_stride_b,
    out_stride_b,
    out_stride_row,
    out_stride_column,
    CONTINUED: tl.constexpr,
    RANK_ONE: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """out = factor * (a @ b + before if CONTINUED) + weights total^T if RANK_ONE, by images.

    ``before`` is [B, rows_out, columns_out], ``weights`` [B, rows_out], ``total``
    [B, columns_out], all of them contiguous in one image.
    """
    pid = tl.program_id(0)
    blocks = tl.cdiv(rows_out, BLOCK_N)
    tiles = tl.cdiv(columns_out, BLOCK_M)
    rows = (pid % blocks) * BLOCK_N + tl.arange(0, BLOCK_N)
    columns = ((pid // blocks) % tiles) * BLOCK_M + tl.arange(0, BLOCK_M)
    image = (pid // blocks // tiles).to(tl.int64)
    rows64 = rows.to(tl.int64)[:, None]
    columns64 = columns.to(tl.int64)[None, :]
    here = (rows < rows_out)[:, None]
    there = (columns < columns_out)[None, :]
    a += image * a_stride_b
    b += image * b_stride_b
    acc = tl.zeros([BLOCK_N, BLOCK_M], dtype=total.dtype.element_ty)
    for start in range(0, depth, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        inner64 = inner.to(tl.int64)
        left = tl.load(
            a + rows64 * a_stride_row + inner64[None, :] * a_stride_depth,
            mask=here & (inner < depth)[None, :],
            other=0.0,
        )
        right = tl.load(
            b + inner64[:, None] * b_stride_depth + columns64 * b_stride_column,
            mask=(inner < depth)[:, None] & there,
            other=0.0,
        )
        acc = dot(left, right, acc, PRECISION)
    if CONTINUED:
        places = image * before_stride_b + rows64 * columns_out + columns64
        acc += tl.load(before + places, mask=here & there, other=0.0)
    acc = acc * factor
    if RANK_ONE:
        w = tl.load(weights + image * rows_out + rows, mask=rows < rows_out, other=0.0)
        t = tl.load(total + image * columns_out + columns, mask=columns < columns_out, other=0.0)
        acc += w[:, None] * t[None, :]
    tl.store(
        out + image * out_stride_b + rows64 * out_stride_row + columns64 * out_stride_column,
        rounded(acc, out.dtype.element_ty),
        mask=here & there,
    )
