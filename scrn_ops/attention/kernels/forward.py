"""Launches the forward."""

from __future__ import annotations

from typing import NamedTuple

import triton
from torch import Tensor

from ..._core.checks import compute_dtype
from .. import table
from ..chunks import parts
from ..layout import empty_output, readable
from . import flash as flash_kernels
from . import forward_stages, launch, replay, split_softmax


class Results(NamedTuple):
    output: Tensor
    log_sum_exp: Tensor  # of the rows, in units of log 2 [B, N]
    shared: Tensor  # softmax(unary) times value [B, Dv]
    pairwise: Tensor  # the output without it [B, N, Dv], or nothing


def forward(
    query: Tensor,
    key: Tensor,
    unary: Tensor,
    value: Tensor,
    scale: float,
    path: str | None,
    keep: bool = False,
) -> Results:
    """``keep``: the pairwise term, too."""
    results, call = prepared(query, key, unary, value, scale, path, keep)
    if value.shape[0] > 0:
        replay.run(*call)
    return results


def prepared(
    query: Tensor,
    key: Tensor,
    unary: Tensor,
    value: Tensor,
    scale: float,
    path: str | None,
    keep: bool,
) -> tuple[Results, replay.Call]:
    """The results before they are computed, and how they are."""
    batch, n, width = query.shape
    channels = value.shape[2]
    dtype = compute_dtype(value)
    output = empty_output(value, n)
    log_sum_exp = value.new_empty(batch, n, dtype=dtype)
    shared = value.new_empty(batch, channels, dtype=dtype)
    pairwise = empty_output(value, n) if keep else value.new_empty(0)
    results = Results(output, log_sum_exp, shared, pairwise)
    chosen = table.choose_path(width, channels) if path is None else path
    inputs = readable(query), readable(key), unary, readable(value, often=True)
    options = scale, keep
    launcher = _flash if chosen == "flash" else _split_softmax
    return results, replay.Call(launcher, (*inputs, *results), options)


class _Whitened:
    """The buffers of what is before the products, and its two launches."""

    def __init__(self, tape: replay.Tape, padded: int) -> None:
        query, _, _, value, _, log_sum_exp, *_ = tape.tensors
        self.padded = padded
        (self.batch, self.n, self.width), (_, self.m, self.channels) = query.shape, value.shape
        self.queries, self.keys = launch.Splits.of(self.n), launch.Splits.of(self.m)
        batch, dtype = self.batch, log_sum_exp.dtype
        self.sizes: replay.Sizes = {
            "query_parts": ((batch, self.queries.parts, self.width), dtype),
            "key_parts": ((batch, self.keys.parts, self.width), dtype),
            "value_parts": ((batch, self.keys.parts, self.channels), dtype),
            "tops": ((batch, self.keys.parts), dtype),
            "sums": ((batch, self.keys.parts), dtype),
            "q": ((batch, self.n, padded), value.dtype),
            "k": ((batch, self.m, padded), value.dtype),
        }

    def launch(self, tape: replay.Tape, buffers: dict[str, Tensor], sign: float) -> None:
        query, key, unary, value, _, _, shared, _ = tape.tensors
        batch, n, m, width, channels = self.batch, self.n, self.m, self.width, self.channels
        queries, keys, padded = self.queries, self.keys, self.padded
        parts = [buffers[f"{name}_parts"] for name in ("query", "key", "value")]
        statistics = (*parts, buffers["tops"], buffers["sums"])
        of_queries, of_keys = queries.programs(batch, width), keys.programs(batch, width)
        tape.launch(
            forward_stages.forward_sums,
            of_queries + of_keys + keys.programs(batch, channels),
            *(query, key, value, unary, *statistics, of_queries, of_keys, n, m, width, channels),
            *(queries.rows, keys.rows, queries.parts, keys.parts),
            *(*query.stride(), *key.stride(), *value.stride(), *unary.stride()),
            **launch.axes(query=query, key=key, value=value),
            BLOCK_N=launch.BLOCK,
            BLOCK_C=launch.BLOCK,
        )
        tiles = launch.blocks(padded) * batch
        of_queries, of_keys = tiles * launch.blocks(n), tiles * launch.blocks(m)
        tape.launch(
            forward_stages.forward_whitened,
            of_queries + of_keys + launch.blocks(channels) * batch,
            *(query, key, *statistics, buffers["q"], buffers["k"], shared, of_queries, of_keys),
            *(n, m, width, padded, channels, queries.parts, keys.parts, n * padded, m * padded),
            *(sign, *query.stride(), *key.stride()),
            **launch.axes(query=query, key=key),
            QUERY_SPLITS=queries.power,
            KEY_SPLITS=keys.power,
            BLOCK_N=launch.BLOCK,
            BLOCK_C=launch.BLOCK,
        )


def _flash(tape: replay.Tape, scale: float, keep: bool) -> None:
    query, _, _, value, output, log_sum_exp, shared, pairwise = tape.tensors
    batch, n, width = query.shape
    _, m, channels = value.shape
    padded = max(16, triton.next_power_of_2(width))
    processors = launch.processors(value)
    tiles, programs, block_c = _flash_tiles(batch, n, width, value, processors)
    splits, split_keys = table.key_splits(programs, m, tiles.m, processors)
    split = splits > 1
    before = _Whitened(tape, padded)
    sizes = before.sizes
    if split:
        sizes["parts"] = (splits, batch, n, channels), log_sum_exp.dtype
        sizes["part_log_sum_exp"] = (splits, batch, n), log_sum_exp.dtype
    buffers = tape.buffers(sizes)
    factors = launch.Scale.of(scale)
    before.launch(tape, buffers, factors.sign)
    parts = (buffers["parts"], buffers["part_log_sum_exp"]) if split else (output, log_sum_exp)
    tape.launch(
        flash_kernels.flash,
        programs * splits,
        *(buffers["q"], buffers["k"], value, shared, parts[0], pairwise, parts[1], n, m, channels),
        *(split_keys, splits, batch, factors.rest, *value.stride(), *output.stride()),
        WIDTH=padded,
        SPLIT=split,
        KEEP=keep and not split,
        **launch.axes(value=value, out=output),
        BLOCK_N=tiles.n,
        BLOCK_M=tiles.m,
        BLOCK_C=block_c,
        warps=tiles.warps,
        stages=tiles.stages,
    )
    if not split:
        return
    block_n, block_c = 32, 64
    tape.launch(
        flash_kernels.merge,
        launch.blocks(n, block_n) * launch.blocks(channels, block_c) * batch,
        *(*parts, shared, output, pairwise, log_sum_exp, n, channels, splits, batch),
        *output.stride(),
        KEEP=keep,
        **launch.axes(out=output),
        BLOCK_N=block_n,
        BLOCK_C=block_c,
    )


def _flash_tiles(
    batch: int, n: int, width: int, value: Tensor, processors: int
) -> tuple[table.Tiles, int, int]:
    """The tiles, the programs without splits of the keys, and the channels of a tile: taller ones
    where even they are enough for the device."""
    channels = value.shape[2]

    def divided_by(kernel: str) -> tuple[table.Tiles, int, int]:
        tiles = table.tiles(kernel, width, channels, launch.family(value))
        block_c = min(tiles.k, max(16, triton.next_power_of_2(channels)))
        blocks = launch.blocks(n, tiles.n) * launch.blocks(channels, block_c)
        return tiles, blocks * batch, block_c

    few, many = divided_by("flash"), divided_by("flash_many")
    return many if many[1] >= table.MANY * processors else few


def _split_softmax(tape: replay.Tape, scale: float, keep: bool) -> None:
    query, _, _, value, output, log_sum_exp, shared, pairwise = tape.tensors
    batch, n, width = query.shape
    _, m, channels = value.shape
    family = launch.family(value)
    first = table.tiles("exponentials", width, channels, family)
    second = table.tiles("weighted_values", width, channels, family)
    padded, pitch = launch.blocks(width, first.k) * first.k, launch.blocks(m, 16) * 16
    key_tiles = launch.blocks(m, first.m)
    block_c = min(second.k, max(16, triton.next_power_of_2(channels)))
    limit = table.CHUNK_BYTES // value.dtype.itemsize
    slices = list(parts(batch, n, pitch, limit, max(first.n, second.n)))
    images, rows = slices[0]  # no later part is larger
    many, tall = images.stop, rows.stop
    before = _Whitened(tape, padded)
    statistics = (many, tall, key_tiles), log_sum_exp.dtype
    sizes = {"p": ((many, tall, pitch), value.dtype), "references": statistics}
    buffers = tape.buffers(before.sizes | sizes | {"totals": statistics})
    factors = launch.Scale.of(scale)
    before.launch(tape, buffers, factors.sign)
    tiles_of_p = buffers["p"], buffers["references"], buffers["totals"]
    for images, rows in slices:
        many, tall = images.stop - images.start, rows.stop - rows.start
        place = images.start, rows.start, tall, n, m, pitch
        tape.launch(
            split_softmax.exponentials,
            launch.blocks(tall, first.n) * key_tiles * many,
            *(buffers["q"], buffers["k"], *tiles_of_p, *place, padded, factors.rest),
            BLOCK_N=first.n,
            BLOCK_M=first.m,
            BLOCK_K=first.k,
            warps=first.warps,
            stages=first.stages,
        )
        tape.launch(
            split_softmax.weighted_values,
            launch.blocks(tall, second.n) * launch.blocks(channels, block_c) * many,
            *(*tiles_of_p, value, shared, output, pairwise, log_sum_exp, *place, channels),
            *(*value.stride(), *output.stride()),
            TILE=first.m,
            KEEP=keep,
            **launch.axes(value=value, out=output),
            BLOCK_N=second.n,
            BLOCK_M=min(second.m, first.m),  # the keys of a block share a reference
            BLOCK_C=block_c,
            warps=second.warps,
            stages=second.stages,
        )
