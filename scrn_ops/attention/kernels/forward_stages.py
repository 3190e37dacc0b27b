"""What comes before the forward's products, several parts to a launch: a launch costs the host
more than most of these parts cost the device."""

from __future__ import annotations

import triton
import triton.language as tl

from .columns import sum_part, whiten_tile
from .unary import shared_tile, weighted_sum_part


@triton.jit
def forward_sums(
    query,
    key,
    value,
    unary,
    query_parts,
    key_parts,
    value_parts,
    tops,
    sums,
    query_programs,
    key_programs,
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
    value_stride_b,
    value_stride_m,
    value_stride_c,
    unary_stride_b,
    unary_stride_m,
    QUERY_ROWS: tl.constexpr,
    QUERY_ALIGN: tl.constexpr,
    KEY_ROWS: tl.constexpr,
    KEY_ALIGN: tl.constexpr,
    VALUE_ROWS: tl.constexpr,
    VALUE_ALIGN: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Parts of the sums of queries and keys, and of the values' sum weighted by the unary term."""
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
    else:
        weighted_sum_part(
            pid - query_programs - key_programs,
            value, unary, value_parts, tops, sums, m, channels, key_rows, key_splits,
            value_stride_b, value_stride_m, value_stride_c, unary_stride_b, unary_stride_m,
            VALUE_ROWS, VALUE_ALIGN, BLOCK_N, BLOCK_C,
        )  # fmt: skip


@triton.jit
def forward_whitened(
    query,
    key,
    query_parts,
    key_parts,
    value_parts,
    tops,
    sums,
    whitened_query,
    whitened_key,
    shared,
    query_programs,
    key_programs,
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
    QUERY_ROWS: tl.constexpr,
    QUERY_ALIGN: tl.constexpr,
    KEY_ROWS: tl.constexpr,
    KEY_ALIGN: tl.constexpr,
    QUERY_SPLITS: tl.constexpr,
    KEY_SPLITS: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Queries times ``sign`` and keys without their means, in rows of ``padded`` channels, and
    the term that all queries share. An image has ``query_image`` and ``key_image`` elements of
    them."""
    pid = tl.program_id(0)
    if pid < query_programs:
        whiten_tile(
            pid, query, query_parts, whitened_query, n, width, padded, query_splits, sign,
            query_stride_b, query_stride_n, query_stride_c, query_image, padded, 1,
            QUERY_ROWS, QUERY_ALIGN, True, 16, QUERY_SPLITS, BLOCK_N, BLOCK_C,
        )  # fmt: skip
    elif pid < query_programs + key_programs:
        whiten_tile(
            pid - query_programs, key, key_parts, whitened_key, m, width, padded, key_splits, 1.0,
            key_stride_b, key_stride_m, key_stride_c, key_image, padded, 1,
            KEY_ROWS, KEY_ALIGN, True, 16, KEY_SPLITS, BLOCK_N, BLOCK_C,
        )  # fmt: skip
    else:
        shared_tile(
            pid - query_programs - key_programs, value_parts, tops, sums, shared, channels,
            key_splits, KEY_SPLITS, BLOCK_C,
        )  # fmt: skip
