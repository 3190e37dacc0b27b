"""Launches the backward, the same for both paths of the forward.

Probabilities are computed again from the log-sum-exps: their product costs less than writing and
reading them through memory. A chunk of queries at a time, its probabilities and the gradients of
its scores are written once and multiplied three times.
"""

from __future__ import annotations

import triton
from torch import Tensor

from .. import table
from ..checks import compute_dtype
from ..chunks import chunks
from ..layout import empty_gradient
from . import gradients as kernels
from . import launch, unary

_LN_2 = 1 / launch.LOG2_E
_BLOCK = 64


def backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    logits: Tensor,
    value: Tensor,
    output: Tensor,
    log_sum_exp: Tensor,
    shared: Tensor,
    scale: float,
    needs: tuple[bool, ...],
) -> tuple[Tensor, ...]:
    """The gradients of query, key, unary and value."""
    inputs = (query, key, logits, value)
    gradients = tuple(empty_gradient(t, need) for t, need in zip(inputs, needs, strict=True))
    if value.shape[0] == 0:
        return gradients
    need_query, need_key, need_unary, need_value = needs
    grad_query, grad_key, grad_unary, grad_value = gradients
    with launch.on_device_of(value):
        grad, value = launch.readable(grad), launch.readable(value)
        total = launch.sums(grad)
        weights = launch.unary_weights(logits, compute_dtype(value))
        if need_unary:
            _unary_gradient(value, weights, shared, total, grad_unary)
        if not (need_query or need_key or need_value):
            return gradients
        pairwise = _Pairwise(query, key, value, grad, output, log_sum_exp, shared, scale)
        pairwise.run(
            grad_query if need_query else None,
            grad_key if need_key else None,
            grad_value if need_value else None,
            weights,
            total,
        )
    return gradients


def _unary_gradient(
    value: Tensor, weights: Tensor, shared: Tensor, total: Tensor, out: Tensor
) -> None:
    batch, m, channels = value.shape
    unary.unary_gradient[(triton.cdiv(m, _BLOCK) * batch,)](
        value,
        weights,
        shared,
        total,
        out,
        m,
        channels,
        *value.stride(),
        BLOCK_M=_BLOCK,
        BLOCK_C=_BLOCK,
    )


class _Pairwise:
    """The gradients that go through the scores."""

    def __init__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        grad: Tensor,
        output: Tensor,
        log_sum_exp: Tensor,
        shared: Tensor,
        scale: float,
    ) -> None:
        self.batch, self.n, self.width = query.shape
        _, self.m, self.channels = value.shape
        self.value, self.grad, self.scale = value, grad, scale
        self.log_sum_exp = log_sum_exp
        self.precision = launch.precision(value.dtype)
        self.tiles = self._tiles("score_gradients")
        padded = triton.cdiv(self.width, self.tiles.k) * self.tiles.k
        self.q, self.k = launch.whitened(query, key, scale, padded, value.dtype)
        self.delta = log_sum_exp.new_empty(self.batch, self.n)
        kernels.row_products[(triton.cdiv(self.n, _BLOCK) * self.batch,)](
            grad,
            output,
            shared,
            self.delta,
            self.n,
            self.channels,
            *grad.stride(),
            *output.stride(),
            BLOCK_N=_BLOCK,
            BLOCK_C=_BLOCK,
        )

    def run(
        self,
        grad_query: Tensor | None,
        grad_key: Tensor | None,
        grad_value: Tensor | None,
        weights: Tensor,
        total: Tensor,
    ) -> None:
        value, n, m = self.value, self.n, self.m
        limit = table.CHUNK_BYTES // value.dtype.itemsize // 2
        sums: dict[str, Tensor] = {}
        query_sums = self.delta.new_empty(self.batch, n, self.width)
        for (images, rows), (p, ds) in chunks(self.batch, n, m, limit, 2, value):
            self._score_gradients(images, rows, p, ds)
            if grad_query is not None:
                k = self.k[images, :, : self.width]
                out = query_sums[images, rows]
                self._product(ds, k, out, self.scale)
            first, last = rows.start == 0, rows.stop == n
            for name, a, b, gradient, factor in (
                ("key", ds, self.q[images, rows, : self.width], grad_key, _LN_2),
                ("value", p, self.grad[images, rows], grad_value, 1.0),
            ):
                if gradient is None:
                    continue
                before = None if first else sums[name]
                if last:
                    out = gradient[images]
                elif first:
                    out = sums[name] = self.delta.new_empty(len(a), m, b.shape[2])
                else:
                    out = sums[name]
                rank_one = (weights[images], total[images]) if last and name == "value" else None
                self._product(a.transpose(1, 2), b, out, factor if last else 1.0, before, rank_one)
        if grad_query is not None:
            launch.whiten(query_sums, 1.0, grad_query)

    def _tiles(self, kernel: str) -> table.Tiles:
        return table.tiles(
            kernel,
            self.width,
            self.channels,
            self.value.dtype.itemsize,
            launch.family(self.value),
        )

    def _score_gradients(self, images: slice, rows: slice, p: Tensor, ds: Tensor) -> None:
        tiles = self.tiles
        many, tall, m = p.shape
        grid = (triton.cdiv(tall, tiles.n) * triton.cdiv(m, tiles.m) * many,)
        kernels.score_gradients[grid](
            self.q,
            self.k,
            self.value,
            self.grad,
            self.log_sum_exp,
            self.delta,
            p,
            ds,
            images.start,
            rows.start,
            tall,
            self.n,
            m,
            self.q.shape[2],
            self.channels,
            *self.value.stride(),
            *self.grad.stride(),
            BLOCK_N=tiles.n,
            BLOCK_M=tiles.m,
            BLOCK_K=tiles.k,
            PRECISION=self.precision,
            num_warps=tiles.warps,
            num_stages=tiles.stages,
        )

    def _product(
        self,
        a: Tensor,
        b: Tensor,
        out: Tensor,
        factor: float,
        before: Tensor | None = None,
        rank_one: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        """out = factor * (a @ b + before), plus the outer product of the pair."""
        tiles = self._tiles("product")
        (many, rows, depth), columns = a.shape, b.shape[2]
        grid = (triton.cdiv(rows, tiles.n) * triton.cdiv(columns, tiles.m) * many,)
        weights, total = (self.delta, self.delta) if rank_one is None else rank_one
        kernels.product[grid](
            a,
            b,
            self.delta if before is None else before,
            out,
            weights,
            total,
            rows,
            columns,
            depth,
            factor,
            *a.stride(),
            *b.stride(),
            rows * columns,
            *out.stride(),
            CONTINUED=before is not None,
            RANK_ONE=rank_one is not None,
            BLOCK_N=tiles.n,
            BLOCK_M=tiles.m,
            BLOCK_K=tiles.k,
            PRECISION=self.precision,
            num_warps=tiles.warps,
            num_stages=tiles.stages,
        )
