"""The unary term: its weights, once per image, and its gradient."""

from __future__ import annotations

import triton
import triton.language as tl

from .dot import rounded


@triton.jit
def softmax_rows(unary, weights, m, stride_b, stride_m, BLOCK: tl.constexpr):
    """weights[b] = softmax(unary[b]); a program per image."""
    image = tl.program_id(0).to(tl.int64)
    dtype = weights.dtype.element_ty
    unary += image * stride_b
    weights += image * m
    largest = tl.full([BLOCK], float("-inf"), dtype=dtype)
    for start in range(0, m, BLOCK):
        keys = start + tl.arange(0, BLOCK)
        logits = tl.load(unary + keys.to(tl.int64) * stride_m, mask=keys < m, other=float("-inf"))
        largest = tl.maximum(largest, logits.to(dtype))
    largest_of_all = tl.max(largest, axis=0)
    total = tl.zeros([BLOCK], dtype=dtype)
    for start in range(0, m, BLOCK):
        keys = start + tl.arange(0, BLOCK)
        logits = tl.load(unary + keys.to(tl.int64) * stride_m, mask=keys < m, other=float("-inf"))
        exponentials = tl.exp(logits.to(dtype) - largest_of_all)
        total += tl.where(keys < m, exponentials, 0.0)
    total_of_all = tl.sum(total, axis=0)
    for start in range(0, m, BLOCK):
        keys = start + tl.arange(0, BLOCK)
        logits = tl.load(unary + keys.to(tl.int64) * stride_m, mask=keys < m, other=float("-inf"))
        exponentials = tl.exp(logits.to(dtype) - largest_of_all)
        tl.store(weights + keys, exponentials / total_of_all, mask=keys < m)


@triton.jit
def unary_gradient(
    value,
    weights,
    shared,
    total,
    grad,
    m,
    channels,
    stride_b,
    stride_m,
    stride_c,
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
    slopes = tl.zeros([BLOCK_M], dtype=dtype)
    mean = tl.zeros([BLOCK_C], dtype=dtype)
    for start in range(0, channels, BLOCK_C):
        columns = start + tl.arange(0, BLOCK_C)
        here = columns < channels
        t = tl.load(total + image * channels + columns, mask=here, other=0.0)
        u = tl.load(shared + image * channels + columns, mask=here, other=0.0)
        places = keys.to(tl.int64)[:, None] * stride_m + columns.to(tl.int64)[None, :] * stride_c
        inside = (keys < m)[:, None] & here[None, :]
        tile = tl.load(value + image * stride_b + places, mask=inside, other=0.0).to(dtype)
        slopes += tl.sum(tile * t[None, :], axis=1)
        mean += u * t
    w = tl.load(weights + image * m + keys, mask=keys < m, other=0.0)
    result = w * (slopes - tl.sum(mean, axis=0))
    tl.store(grad + image * m + keys, rounded(result, grad.dtype.element_ty), mask=keys < m)
