"""Launches the backward, the same for both paths of the forward.

Probabilities are computed again from the log-sum-exps: their product costs less than writing and
reading them through memory. A chunk of queries at a time, its probabilities and the gradients of
its scores are written once and multiplied three times.
"""

from __future__ import annotations

import math

from torch import Tensor

from .. import table
from ..chunks import parts
from ..layout import empty_gradient, readable
from . import backward_stages, gradients, launch, replay, unary

_LN_2 = 1 / launch.LOG2_E
Needs = tuple[bool, ...]


def backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    logits: Tensor,
    value: Tensor,
    output: Tensor,
    log_sum_exp: Tensor,
    shared: Tensor,
    pairwise: Tensor,
    scale: float,
    needs: Needs,
) -> tuple[Tensor, ...]:
    """The gradients of query, key, unary and value. ``pairwise`` is what the forward kept."""
    inputs = (query, key, logits, value)
    results, call = prepared(grad, *inputs, output, log_sum_exp, shared, pairwise, scale, needs)
    if value.shape[0] > 0:
        replay.run(*call)
    return results


def prepared(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    logits: Tensor,
    value: Tensor,
    output: Tensor,
    log_sum_exp: Tensor,
    shared: Tensor,
    pairwise: Tensor,
    scale: float,
    needs: Needs,
) -> tuple[tuple[Tensor, ...], replay.Call]:
    """The gradients before they are computed, and how they are."""
    inputs = (query, key, logits, value)
    results = tuple(empty_gradient(t, need) for t, need in zip(inputs, needs, strict=True))
    kept = pairwise.dim() == 3
    tensors = (
        *(readable(grad, often=True), readable(query), readable(key), logits),
        *(readable(value, often=True), pairwise if kept else output, log_sum_exp, shared, *results),
    )
    options = scale, needs, kept
    return results, replay.Call(_backward, tensors, options)


def _backward(tape: replay.Tape, scale: float, needs: Needs, kept: bool) -> None:
    call = _Backward(tape, scale, needs)
    call.statistics(kept)
    if needs[2]:
        call.unary_gradient()
    if call.pairwise:
        for images, rows in call.slices:
            call.chunk(images, rows)
    if needs[0] or needs[1]:
        call.whiten_gradients()


class _Backward:
    """One call: its sizes, its buffers and its launches."""

    def __init__(self, tape: replay.Tape, scale: float, needs: Needs) -> None:
        self.tape, self.needs = tape, needs
        self.scale, self.factors = scale, launch.Scale.of(scale)
        _, query, _, _, value, _, log_sum_exp, *_ = tape.tensors
        (self.batch, self.n, self.width), (_, self.m, self.channels) = query.shape, value.shape
        self.pairwise = needs[0] or needs[1] or needs[3]
        self.tiles = self._tiles("score_gradients", value)
        self.product = self._tiles("products", value)
        self.padded = launch.blocks(self.width, self.tiles.k) * self.tiles.k
        self.pitch = launch.blocks(self.m, 16) * 16
        self.queries, self.keys = launch.Splits.of(self.n), launch.Splits.of(self.m)
        limit = table.CHUNK_BYTES // value.dtype.itemsize // 2
        multiple = max(self.tiles.n, self.product.n, self.product.k)
        self.slices = list(parts(self.batch, self.n, self.pitch, limit, multiple))
        self.buffers = tape.buffers(self._sizes(value, log_sum_exp))

    def _tiles(self, kernel: str, value: Tensor) -> table.Tiles:
        return table.tiles(kernel, self.width, self.channels, launch.family(value))

    def _sizes(self, value: Tensor, log_sum_exp: Tensor) -> replay.Sizes:
        batch, n, m, width, channels = self.batch, self.n, self.m, self.width, self.channels
        sums, dtype = log_sum_exp.dtype, value.dtype
        embeddings = batch if self.pairwise else 0
        sizes: replay.Sizes = {
            "query_parts": ((embeddings, self.queries.parts, width), sums),
            "key_parts": ((embeddings, self.keys.parts, width), sums),
            "grad_parts": ((batch, self.queries.parts, channels), sums),
            "tops": ((batch, self.keys.parts), sums),
            "sums": ((batch, self.keys.parts), sums),
            "total": ((batch, channels), sums),
            "weights": ((batch, m), sums),
            "delta": ((embeddings, n), sums),
            "q": ((embeddings, n, self.padded), dtype),
            "k": ((embeddings, m, self.padded), dtype),
        }
        if not self.pairwise:
            return sizes
        images, rows = self.slices[0]  # no later part is larger
        chunk = images.stop, rows.stop, self.pitch
        chunked = rows.stop < n
        return sizes | {
            "p": (chunk, dtype),
            "ds": (chunk, dtype),
            "query_sums": ((batch, n, width) if self.needs[0] else (0,), sums),
            "key_sums": ((batch, m, width) if self.needs[1] else (0,), sums),
            "value_sums": ((batch, m, channels) if self.needs[3] and chunked else (0,), sums),
        }

    def statistics(self, kept: bool) -> None:
        grad, query, key, logits, _, output, _, shared, *_ = self.tape.tensors
        batch, n, m, buffers = self.batch, self.n, self.m, self.buffers
        queries, keys, wanted = self.queries, self.keys, int(self.pairwise)
        embeddings = (*query.stride(), *key.stride())
        counts = (
            wanted * queries.programs(batch, self.width),
            wanted * keys.programs(batch, self.width),
            queries.programs(batch, self.channels),
        )
        parts = [buffers[f"{name}_parts"] for name in ("query", "key", "grad")]
        statistics = (*parts, buffers["tops"], buffers["sums"])
        self.tape.launch(
            backward_stages.backward_sums,
            sum(counts) + keys.parts * batch,
            *(query, key, grad, logits, *statistics, *counts, n, m, self.width, self.channels),
            *(queries.rows, keys.rows, queries.parts, keys.parts),
            *(*embeddings, *grad.stride(), *logits.stride()),
            **launch.axes(query=query, key=key, grad=grad),
            BLOCK_N=launch.BLOCK,
            BLOCK_C=launch.BLOCK,
        )
        tiles = wanted * launch.blocks(self.padded) * batch
        programs = (
            tiles * launch.blocks(n),
            tiles * launch.blocks(m),
            launch.blocks(self.channels) * batch,
            launch.blocks(m) * batch,
        )
        q, k, total = buffers["q"], buffers["k"], buffers["total"]
        self.tape.launch(
            backward_stages.backward_whitened,
            sum(programs) + wanted * launch.blocks(n) * batch,
            *(query, key, grad, output, shared, logits, *statistics),
            *(q, k, total, buffers["weights"], buffers["delta"], *programs),
            *(n, m, self.width, self.padded, self.channels, queries.parts, keys.parts),
            *(n * self.padded, m * self.padded, self.factors.sign, *embeddings),
            *(*grad.stride(), *output.stride(), *logits.stride()),
            **launch.axes(query=query, key=key, grad=grad, out=output),
            PAIRWISE=kept,
            QUERY_SPLITS=queries.power,
            KEY_SPLITS=keys.power,
            BLOCK_N=launch.BLOCK,
            BLOCK_C=launch.BLOCK,
            warps=8,  # With four it uses local memory on 10.0, compiled by Triton 3.6.
        )

    def unary_gradient(self) -> None:
        value, shared, grad_unary = (self.tape.tensors[i] for i in (4, 7, 10))
        self.tape.launch(
            unary.unary_gradient,
            launch.blocks(self.m) * self.batch,
            *(value, self.buffers["weights"], shared, self.buffers["total"], grad_unary),
            *(self.m, self.channels, *value.stride()),
            **launch.axes(value=value),
            BLOCK_M=launch.BLOCK,
            BLOCK_C=launch.BLOCK,
        )

    def chunk(self, images: slice, rows: slice) -> None:
        grad, _, _, _, value, _, log_sum_exp, *_, grad_value = self.tape.tensors
        buffers, tiles = self.buffers, self.tiles
        n, m, many, tall = self.n, self.m, images.stop - images.start, rows.stop - rows.start
        q, k, p, ds = (buffers[name] for name in ("q", "k", "p", "ds"))
        place = images.start, rows.start, tall
        self.tape.launch(
            gradients.score_gradients,
            launch.blocks(tall, tiles.n) * launch.blocks(m, tiles.m) * many,
            *(q, k, value, grad, log_sum_exp, buffers["delta"], p, ds, *place),
            *(n, m, self.pitch, self.padded, self.channels, self.factors.rest),
            *(*value.stride(), *grad.stride()),
            **launch.axes(value=value, grad=grad),
            BLOCK_N=tiles.n,
            BLOCK_M=tiles.m,
            BLOCK_K=tiles.k,
            warps=tiles.warps,
            stages=tiles.stages,
        )
        tiles = self.product

        def programs(rows_out: int, columns_out: int, needed: bool) -> int:
            across = launch.blocks(rows_out, tiles.n) * launch.blocks(columns_out, tiles.m)
            return across * many if needed else 0

        need_query, need_key, _, need_value = self.needs
        counts = programs(tall, self.width, need_query), programs(m, self.width, need_key)
        sums = [buffers[f"{name}_sums"] for name in ("query", "key", "value")]
        # Where the values' gradient is not wanted, none of it is written.
        strides = grad_value.stride() if need_value else value.stride()
        out = launch.axes(out=grad_value if need_value else value)
        self.tape.launch(
            gradients.products,
            sum(counts) + programs(m, self.channels, need_value),
            *(p, ds, q, k, grad, *sums, grad_value, buffers["weights"], buffers["total"], *counts),
            *(*place, int(rows.start > 0), int(rows.stop == n), n, m, self.pitch, self.width),
            *(self.padded, n * self.padded, self.channels, *grad.stride(), *strides),
            **launch.axes(grad=grad),
            **out,
            BLOCK_N=tiles.n,
            BLOCK_M=tiles.m,
            BLOCK_K=tiles.k,
            warps=tiles.warps,
            stages=tiles.stages,
        )

    def whiten_gradients(self) -> None:
        query, key, grad_query, grad_key = (self.tape.tensors[i] for i in (1, 2, 8, 9))
        batch, n, m, width, buffers = self.batch, self.n, self.m, self.width, self.buffers
        queries, keys = self.queries, self.keys
        need_query, need_key = (int(need) for need in self.needs[:2])
        align = math.gcd(16, width)
        sums = buffers["query_sums"], buffers["key_sums"]
        parts = buffers["query_parts"], buffers["key_parts"]
        sizes = n, m, width
        images = n * width, m * width
        of_queries = need_query * queries.programs(batch, width)
        self.tape.launch(
            backward_stages.gradient_sums,
            of_queries + need_key * keys.programs(batch, width),
            *(*sums, *parts, of_queries, *sizes, queries.rows, keys.rows),
            *(queries.parts, keys.parts, *images),
            ALIGN=align,
            BLOCK_N=launch.BLOCK,
            BLOCK_C=launch.BLOCK,
        )
        tiles = launch.blocks(width) * batch
        of_queries = need_query * tiles * launch.blocks(n)
        query, key = (grad_query if need_query else query), (grad_key if need_key else key)
        self.tape.launch(
            backward_stages.whitened_gradients,
            of_queries + need_key * tiles * launch.blocks(m),
            *(*sums, *parts, grad_query, grad_key, of_queries, *sizes),
            *(queries.parts, keys.parts, *images, self.scale, _LN_2 * self.factors.rest),
            *(*query.stride(), *key.stride()),
            ALIGN=align,
            **launch.axes(query=query, key=key),
            QUERY_SPLITS=queries.power,
            KEY_SPLITS=keys.power,
            BLOCK_N=launch.BLOCK,
            BLOCK_C=launch.BLOCK,
        )
