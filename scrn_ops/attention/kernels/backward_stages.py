"""What comes before and after the backward's products, several parts to a launch."""

from __future__ import annotations

import triton
import triton.language as tl

from .columns import added_parts, sum_part, whiten_tile
from .tiles import image_offset, places
from .unary import logits_part, weights_block


@triton.jit
def backward_sums(
    query,
    key,
    grad,
    unary,
    query_parts,
    key_parts,
    grad_parts,
    tops,
    sums,
    query_programs,
    key_programs,
    grad_programs,
    n,
    m,
    width,
    channels,
    query_rows,
    key_rows,
    query_splits,
    key_splits,
    query_stride_b,
    query_stride_n,
    query_stride_c,
    key_stride_b,
    key_stride_m,
    key_stride_c,
    grad_stride_b,
    grad_stride_n,
    grad_stride_c,
    unary_stride_b,
    unary_stride_m,
    QUERY_ROWS: tl.constexpr,
    QUERY_ALIGN: tl.constexpr,
    KEY_ROWS: tl.constexpr,
    KEY_ALIGN: tl.constexpr,
    GRAD_ROWS: tl.constexpr,
    GRAD_ALIGN: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Parts of the sums of queries, keys and outgoing gradients, and of the unary softmax."""
    pid = tl.program_id(0)
    if pid < query_programs:
        sum_part(
            pid, query, query_parts, n, width, query_rows, query_splits,
            query_stride_b, query_stride_n, query_stride_c,
            QUERY_ROWS, QUERY_ALIGN, BLOCK_N, BLOCK_C,
        )  # fmt: skip
    elif pid < query_programs + key_programs:
        sum_part(
            pid - query_programs, key, key_parts, m, width, key_rows, key_splits,
            key_stride_b, key_stride_m, key_stride_c,
            KEY_ROWS, KEY_ALIGN, BLOCK_N, BLOCK_C,
        )  # fmt: skip
    elif pid < query_programs + key_programs + grad_programs:
        sum_part(
            pid - query_programs - key_programs, grad, grad_parts, n, channels, query_rows,
            query_splits, grad_stride_b, grad_stride_n, grad_stride_c,
            GRAD_ROWS, GRAD_ALIGN, BLOCK_N, BLOCK_C,
        )  # fmt: skip
    else:
        logits_part(
            pid - query_programs - key_programs - grad_programs, unary, tops, sums, m, key_rows,
            key_splits, unary_stride_b, unary_stride_m, BLOCK_N,
        )  # fmt: skip


@triton.jit
def backward_whitened(
    query,
    key,
    grad,
    output,
    shared,
    unary,
    query_parts,
    key_parts,
    grad_parts,
    tops,
    sums,
    whitened_query,
    whitened_key,
    total,
    weights,
    delta,
    query_programs,
    key_programs,
    total_programs,
    weight_programs,
    n,
    m,
    width,
    padded,
    channels,
    query_splits,
    key_splits,
    query_image,
    key_image,
    sign,
    query_stride_b,
    query_stride_n,
    query_stride_c,
    key_stride_b,
    key_stride_m,
    key_stride_c,
    grad_stride_b,
    grad_stride_n,
    grad_stride_c,
    out_stride_b,
    out_stride_n,
    out_stride_c,
    unary_stride_b,
    unary_stride_m,
    QUERY_ROWS: tl.constexpr,
    QUERY_ALIGN: tl.constexpr,
    KEY_ROWS: tl.constexpr,
    KEY_ALIGN: tl.constexpr,
    GRAD_ROWS: tl.constexpr,
    GRAD_ALIGN: tl.constexpr,
    OUT_ROWS: tl.constexpr,
    OUT_ALIGN: tl.constexpr,
    PAIRWISE: tl.constexpr,
    QUERY_SPLITS: tl.constexpr,
    KEY_SPLITS: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """As in the forward; and the sum of the outgoing gradients, the unary term's weights and the
    rows' delta, of ``output`` without its shared term where PAIRWISE."""
    pid = tl.program_id(0)
    first_key = query_programs
    first_total = first_key + key_programs
    first_weight = first_total + total_programs
    first_delta = first_weight + weight_programs
    if pid < first_key:
        whiten_tile(
            pid, query, query_parts, whitened_query, n, width, padded, query_splits, sign,
            query_stride_b, query_stride_n, query_stride_c, query_image, padded, 1,
            QUERY_ROWS, QUERY_ALIGN, True, 16, QUERY_SPLITS, BLOCK_N, BLOCK_C,
        )  # fmt: skip
    elif pid < first_total:
        whiten_tile(
            pid - first_key, key, key_parts, whitened_key, m, width, padded, key_splits, 1.0,
            key_stride_b, key_stride_m, key_stride_c, key_image, padded, 1,
            KEY_ROWS, KEY_ALIGN, True, 16, KEY_SPLITS, BLOCK_N, BLOCK_C,
        )  # fmt: skip
    elif pid < first_weight:
        total_tile(
            pid - first_total, grad_parts, total, channels, query_splits, QUERY_SPLITS, BLOCK_C
        )
    elif pid < first_delta:
        weights_block(
            pid - first_weight, unary, tops, sums, weights, m, key_splits,
            unary_stride_b, unary_stride_m, KEY_SPLITS, BLOCK_N,
        )  # fmt: skip
    else:
        row_products(
            pid - first_delta, grad, output, shared, delta, n, channels,
            grad_stride_b, grad_stride_n, grad_stride_c, out_stride_b, out_stride_n, out_stride_c,
            GRAD_ROWS, GRAD_ALIGN, OUT_ROWS, OUT_ALIGN, PAIRWISE, BLOCK_N, BLOCK_C,
        )  # fmt: skip


@triton.jit
def total_tile(pid, parts, total, channels, splits, SPLITS: tl.constexpr, BLOCK_C: tl.constexpr):
    """total[b, c] = the sum of parts[b, split, c]."""
    tiles = tl.cdiv(channels, BLOCK_C)
    columns = (pid % tiles) * BLOCK_C + tl.arange(0, BLOCK_C)
    image = (pid // tiles).to(tl.int64)
    added = added_parts(parts, image, columns, channels, splits, SPLITS)
    tl.store(total + image * channels + columns, added, mask=columns < channels)


@triton.jit
def row_products(
    pid,
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
    GRAD_ROWS: tl.constexpr,
    GRAD_ALIGN: tl.constexpr,
    OUT_ROWS: tl.constexpr,
    OUT_ALIGN: tl.constexpr,
    PAIRWISE: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """delta[b, i] = dO_i . (y_i - u): the mean of the probabilities' gradients under them."""
    blocks = tl.cdiv(n, BLOCK_N)
    rows = (pid % blocks) * BLOCK_N + tl.arange(0, BLOCK_N)
    image = (pid // blocks).to(tl.int64)
    grad += image_offset(image, grad_stride_b, GRAD_ALIGN)
    output += image_offset(image, out_stride_b, OUT_ALIGN)
    dtype = delta.dtype.element_ty
    acc = tl.zeros([BLOCK_N], dtype=dtype)
    for start in range(0, channels, BLOCK_C):
        columns = start + tl.arange(0, BLOCK_C)
        offsets, inside = places(
            rows, columns, n, channels, grad_stride_n, grad_stride_c, GRAD_ROWS, GRAD_ALIGN
        )
        g = tl.load(grad + offsets, mask=inside, other=0.0).to(dtype)
        offsets, inside = places(
            rows, columns, n, channels, out_stride_n, out_stride_c, OUT_ROWS, OUT_ALIGN
        )
        y = tl.load(output + offsets, mask=inside, other=0.0).to(dtype)
        if not PAIRWISE:
            u = tl.load(shared + image * channels + columns, mask=columns < channels, other=0.0)
            y -= u[None, :]
        acc += tl.sum(g * y, axis=1)
    tl.store(delta + image * n + rows, acc, mask=rows < n)


@triton.jit
def gradient_sums(
    query_sums,
    key_sums,
    query_parts,
    key_parts,
    query_programs,
    n,
    m,
    width,
    query_rows,
    key_rows,
    query_splits,
    key_splits,
    query_image,
    key_image,
    ALIGN: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Parts of the sums of the gradients of whitened queries and keys."""
    pid = tl.program_id(0)
    if pid < query_programs:
        sum_part(
            pid, query_sums, query_parts, n, width, query_rows, query_splits,
            query_image, width, 1, True, ALIGN, BLOCK_N, BLOCK_C,
        )  # fmt: skip
    else:
        sum_part(
            pid - query_programs, key_sums, key_parts, m, width, key_rows, key_splits,
            key_image, width, 1, True, ALIGN, BLOCK_N, BLOCK_C,
        )  # fmt: skip


@triton.jit
def whitened_gradients(
    query_sums,
    key_sums,
    query_parts,
    key_parts,
    grad_query,
    grad_key,
    query_programs,
    n,
    m,
    width,
    query_splits,
    key_splits,
    query_image,
    key_image,
    query_factor,
    key_factor,
    query_stride_b,
    query_stride_n,
    query_stride_c,
    key_stride_b,
    key_stride_m,
    key_stride_c,
    ALIGN: tl.constexpr,
    QUERY_ROWS: tl.constexpr,
    QUERY_ALIGN: tl.constexpr,
    KEY_ROWS: tl.constexpr,
    KEY_ALIGN: tl.constexpr,
    QUERY_SPLITS: tl.constexpr,
    KEY_SPLITS: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """The gradients of queries and keys: whitening is a projection, and its own adjoint."""
    pid = tl.program_id(0)
    if pid < query_programs:
        whiten_tile(
            pid, query_sums, query_parts, grad_query, n, width, width, query_splits, query_factor,
            query_image, width, 1, query_stride_b, query_stride_n, query_stride_c,
            True, ALIGN, QUERY_ROWS, QUERY_ALIGN, QUERY_SPLITS, BLOCK_N, BLOCK_C,
        )  # fmt: skip
    else:
        whiten_tile(
            pid - query_programs, key_sums, key_parts, grad_key, m, width, width, key_splits,
            key_factor, key_image, width, 1, key_stride_b, key_stride_m, key_stride_c,
            True, ALIGN, KEY_ROWS, KEY_ALIGN, KEY_SPLITS, BLOCK_N, BLOCK_C,
        )  # fmt: skip
