"""The unary term: its softmax, from statistics of parts of the keys, and its gradient."""

from __future__ import annotations

import triton
import triton.language as tl

from .columns import part_of
from .dot import rounded
from .tiles import image_offset, places


@triton.jit
def largest_logit(unary, first, last, stride_m, dtype: tl.constexpr, BLOCK_N: tl.constexpr):
    """The largest logit of a split, and a reference for its exponentials: 0 where every key of
    the split is masked out by -inf."""
    largest = tl.full([BLOCK_N], float("-inf"), dtype=dtype)
    for start in range(first, last, BLOCK_N):
        keys = start + tl.arange(0, BLOCK_N)
        logits = tl.load(
            unary + keys.to(tl.int64) * stride_m, mask=keys < last, other=float("-inf")
        )
        largest = tl.maximum(largest, logits.to(dtype))
    top = tl.max(largest, axis=0)
    return top, tl.where(top == float("-inf"), 0.0, top)


@triton.jit
def exponentials_of(unary, keys, last, stride_m, reference, dtype: tl.constexpr):
    logits = tl.load(unary + keys.to(tl.int64) * stride_m, mask=keys < last, other=float("-inf"))
    return tl.where(keys < last, tl.exp(logits.to(dtype) - reference), 0.0)


@triton.jit
def weighted_sum_part(
    pid,
    value,
    unary,
    parts,
    tops,
    sums,
    m,
    channels,
    split_rows,
    splits,
    value_stride_b,
    value_stride_m,
    value_stride_c,
    unary_stride_b,
    unary_stride_m,
    ROWS: tl.constexpr,
    ALIGN: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """parts[b, split, c] = the sum of exp(m_j - reference) * g[b, j, c] over the keys of a split;
    its largest logit, and the sum of its exponentials."""
    columns, split, image = part_of(pid, channels, splits, BLOCK_C)
    first = split * split_rows
    last = tl.minimum(first + split_rows, m)
    dtype = parts.dtype.element_ty
    unary += image * unary_stride_b
    value += image_offset(image, value_stride_b, ALIGN)
    top, reference = largest_logit(unary, first, last, unary_stride_m, dtype, BLOCK_N)
    acc = tl.zeros([BLOCK_C], dtype=dtype)
    total = tl.zeros([BLOCK_N], dtype=dtype)
    for start in range(first, last, BLOCK_N):
        keys = start + tl.arange(0, BLOCK_N)
        weights = exponentials_of(unary, keys, last, unary_stride_m, reference, dtype)
        offsets, inside = places(
            keys, columns, last, channels, value_stride_m, value_stride_c, ROWS, ALIGN
        )
        tile = tl.load(value + offsets, mask=inside, other=0.0).to(dtype)
        acc += tl.sum(tile * weights[:, None], axis=0)
        total += weights
    place = image * splits + split
    tl.store(parts + place * channels + columns, acc, mask=columns < channels)
    if pid % tl.cdiv(channels, BLOCK_C) == 0:
        tl.store(tops + place, top)
        tl.store(sums + place, tl.sum(total, axis=0))


@triton.jit
def logits_part(
    pid,
    unary,
    tops,
    sums,
    m,
    split_rows,
    splits,
    unary_stride_b,
    unary_stride_m,
    BLOCK_N: tl.constexpr,
):
    """The largest logit of a split, and the sum of its exponentials."""
    first = (pid % splits) * split_rows
    last = tl.minimum(first + split_rows, m)
    dtype = sums.dtype.element_ty
    unary += (pid // splits).to(tl.int64) * unary_stride_b
    top, reference = largest_logit(unary, first, last, unary_stride_m, dtype, BLOCK_N)
    total = tl.zeros([BLOCK_N], dtype=dtype)
    for start in range(first, last, BLOCK_N):
        keys = start + tl.arange(0, BLOCK_N)
        total += exponentials_of(unary, keys, last, unary_stride_m, reference, dtype)
    tl.store(tops + pid, top)
    tl.store(sums + pid, tl.sum(total, axis=0))


@triton.jit
def softmax_of_parts(tops, sums, image, splits, SPLITS: tl.constexpr):
    """The largest logit of an image, the factors that bring its splits' exponentials to it, and
    their sum. Where every logit is -inf all of it is NaN, as of any softmax."""
    each = tl.arange(0, SPLITS)
    tops_here = tl.load(tops + image * splits + each, mask=each < splits, other=float("-inf"))
    sums_here = tl.load(sums + image * splits + each, mask=each < splits, other=0.0)
    top = tl.max(tops_here, axis=0)
    factors = tl.where(each < splits, tl.exp(tops_here - top), 0.0)
    return top, factors, tl.sum(sums_here * factors, axis=0)


@triton.jit
def shared_tile(
    pid,
    parts,
    tops,
    sums,
    shared,
    channels,
    splits,
    SPLITS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """shared[b, c] = the sum of softmax(m)_j * g[b, j, c], from the parts."""
    tiles = tl.cdiv(channels, BLOCK_C)
    columns = (pid % tiles) * BLOCK_C + tl.arange(0, BLOCK_C)
    image = (pid // tiles).to(tl.int64)
    _, factors, total = softmax_of_parts(tops, sums, image, splits, SPLITS)
    each = tl.arange(0, SPLITS)
    offsets = (image * splits + each)[:, None] * channels + columns[None, :]
    inside = (each < splits)[:, None] & (columns < channels)[None, :]
    tile = tl.load(parts + offsets, mask=inside, other=0.0)
    result = tl.sum(tile * factors[:, None], axis=0) / total
    tl.store(shared + image * channels + columns, result, mask=columns < channels)


@triton.jit
def weights_block(
    pid,
    unary,
    tops,
    sums,
    weights,
    m,
    splits,
    unary_stride_b,
    unary_stride_m,
    SPLITS: tl.constexpr,
    BLOCK_M: tl.constexpr,
):
    """weights[b, j] = softmax(m)_j for a block of keys."""
    blocks = tl.cdiv(m, BLOCK_M)
    keys = (pid % blocks) * BLOCK_M + tl.arange(0, BLOCK_M)
    image = (pid // blocks).to(tl.int64)
    dtype = weights.dtype.element_ty
    top, _, total = softmax_of_parts(tops, sums, image, splits, SPLITS)
    logits = tl.load(
        unary + image * unary_stride_b + keys.to(tl.int64) * unary_stride_m,
        mask=keys < m,
        other=float("-inf"),
    )
    tl.store(weights + image * m + keys, tl.exp(logits.to(dtype) - top) / total, mask=keys < m)


@triton.jit
def unary_gradient(
    value,
    weights,
    shared,
    total,
    grad,
    m,
    channels,
    value_stride_b,
    value_stride_m,
    value_stride_c,
    VALUE_ROWS: tl.constexpr,
    VALUE_ALIGN: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """grad[b, j] = w_j (g_j . t - sum_l w_l g_l . t), with ``total`` t the sum of the outgoing
    gradients; the second term is ``shared`` . t."""
    pid = tl.program_id(0)
    blocks = tl.cdiv(m, BLOCK_M)
    keys = (pid % blocks) * BLOCK_M + tl.arange(0, BLOCK_M)
    image = (pid // blocks).to(tl.int64)
    dtype = weights.dtype.element_ty
    value += image_offset(image, value_stride_b, VALUE_ALIGN)
    slopes = tl.zeros([BLOCK_M], dtype=dtype)
    mean = tl.zeros([BLOCK_C], dtype=dtype)
    for start in range(0, channels, BLOCK_C):
        columns = start + tl.arange(0, BLOCK_C)
        here = columns < channels
        t = tl.load(total + image * channels + columns, mask=here, other=0.0)
        u = tl.load(shared + image * channels + columns, mask=here, other=0.0)
        offsets, inside = places(
            keys, columns, m, channels, value_stride_m, value_stride_c, VALUE_ROWS, VALUE_ALIGN
        )
        tile = tl.load(value + offsets, mask=inside, other=0.0).to(dtype)
        slopes += tl.sum(tile * t[None, :], axis=1)
        mean += u * t
    w = tl.load(weights + image * m + keys, mask=keys < m, other=0.0)
    result = w * (slopes - tl.sum(mean, axis=0))
    tl.store(grad + image * m + keys, rounded(result, grad.dtype.element_ty), mask=keys < m)
