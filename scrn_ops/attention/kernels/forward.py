"""Launches the forward."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from .. import table
from ..checks import compute_dtype
from ..chunks import chunks
from ..layout import empty_output
from . import flash as flash_kernels
from . import launch, split_softmax


def forward(
    query: Tensor, key: Tensor, unary: Tensor, value: Tensor, scale: float, path: str | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The output, the rows' log-sum-exps in units of log 2 [B, N], and softmax(unary) times
    value [B, Dv]."""
    batch, n, width = query.shape
    channels = value.shape[2]
    dtype = compute_dtype(value)
    output = empty_output(value, n)
    log_sum_exp = value.new_empty(batch, n, dtype=dtype)
    if batch == 0:
        return output, log_sum_exp, value.new_empty(0, channels, dtype=dtype)
    chosen = table.choose_path(width, channels, value.dtype.itemsize) if path is None else path
    run = _flash if chosen == "flash" else _split_softmax
    with launch.on_device_of(value):
        value = launch.readable(value)
        shared = launch.sums(value, launch.unary_weights(unary, dtype))
        run(query, key, value, scale, shared, output, log_sum_exp)
    return output, log_sum_exp, shared


def _flash(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    shared: Tensor,
    output: Tensor,
    log_sum_exp: Tensor,
) -> None:
    batch, n, _ = query.shape
    _, m, channels = value.shape
    family = launch.family(value)
    tiles = table.tiles("flash", query.shape[2], channels, value.dtype.itemsize, family)
    width = max(16, triton.next_power_of_2(query.shape[2]))
    q, k = launch.whitened(query, key, scale, width, value.dtype)
    block_c = min(tiles.k, max(16, triton.next_power_of_2(channels)))
    channel_tiles = triton.cdiv(channels, block_c)
    programs = triton.cdiv(n, tiles.n) * channel_tiles * batch
    splits, split_keys = table.key_splits(programs, m, tiles.m, launch.processors(value))
    split = splits > 1
    parts, part_lse = output, log_sum_exp
    if split:
        parts = shared.new_empty(splits, batch, n, channels)
        part_lse = shared.new_empty(splits, batch, n)
    flash_kernels.flash[(programs * splits,)](
        q,
        k,
        value,
        shared,
        parts,
        part_lse,
        n,
        m,
        channels,
        split_keys,
        splits,
        batch,
        *value.stride(),
        *output.stride(),
        WIDTH=width,
        SPLIT=split,
        BLOCK_N=tiles.n,
        BLOCK_M=tiles.m,
        BLOCK_C=block_c,
        PRECISION=launch.precision(value.dtype),
        num_warps=tiles.warps,
        num_stages=tiles.stages,
    )
    if not split:
        return
    block_n, block_c = 32, 64
    grid = (triton.cdiv(n, block_n) * triton.cdiv(channels, block_c) * batch,)
    flash_kernels.merge[grid](
        parts,
        part_lse,
        shared,
        output,
        log_sum_exp,
        n,
        channels,
        splits,
        batch,
        *output.stride(),
        BLOCK_N=block_n,
        BLOCK_C=block_c,
    )


def _split_softmax(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    shared: Tensor,
    output: Tensor,
    log_sum_exp: Tensor,
) -> None:
    batch, n, width = query.shape
    _, m, channels = value.shape
    itemsize, family = value.dtype.itemsize, launch.family(value)
    first = table.tiles("exponentials", width, channels, itemsize, family)
    second = table.tiles("weighted_values", width, channels, itemsize, family)
    padded = triton.cdiv(width, first.k) * first.k
    q, k = launch.whitened(query, key, scale, padded, value.dtype)
    precision = launch.precision(value.dtype)
    key_tiles = triton.cdiv(m, first.m)
    block_c = min(second.k, max(16, triton.next_power_of_2(channels)))
    for (images, rows), (p,) in chunks(batch, n, m, table.CHUNK_BYTES // itemsize, 1, value):
        many, tall, _ = p.shape
        references, totals = torch.empty(
            2, many, tall, key_tiles, dtype=shared.dtype, device=value.device
        )
        split_softmax.exponentials[(triton.cdiv(tall, first.n) * key_tiles * many,)](
            q,
            k,
            p,
            references,
            totals,
            images.start,
            rows.start,
            tall,
            n,
            m,
            padded,
            BLOCK_N=first.n,
            BLOCK_M=first.m,
            BLOCK_K=first.k,
            PRECISION=precision,
            num_warps=first.warps,
            num_stages=first.stages,
        )
        grid = (triton.cdiv(tall, second.n) * triton.cdiv(channels, block_c) * many,)
        split_softmax.weighted_values[grid](
            p,
            references,
            totals,
            value,
            shared,
            output,
            log_sum_exp,
            images.start,
            rows.start,
            tall,
            n,
            m,
            channels,
            *value.stride(),
            *output.stride(),
            TILE=first.m,
            BLOCK_N=second.n,
            BLOCK_M=min(second.m, first.m),  # the keys of a block share a reference
            BLOCK_C=block_c,
            PRECISION=precision,
            num_warps=second.warps,
            num_stages=second.stages,
        )
