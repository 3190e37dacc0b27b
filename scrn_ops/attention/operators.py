"""The operators ``torch.ops.scrn_ops.whitened_attention*``: kernels, fakes, FLOPs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._core.autocast import register_autocast
from .._core.checks import check_gradient, compute_dtype
from .._core.direct import register_direct
from .._core.fake import register_fake
from .._core.flops import register_flop_formula
from . import by_products
from .checks import check_path, check_whitened_attention, takes_triton
from .layout import empty_gradient, empty_output

_library = torch.library.Library("scrn_ops", "IMPL")
_ops = torch.ops.scrn_ops


Results = tuple[Tensor, Tensor, Tensor, Tensor]


@torch.library.impl(_library, "whitened_attention", "CPU")
@torch.library.impl(_library, "whitened_attention", "CUDA")
def _(query: Tensor, key: Tensor, unary: Tensor, value: Tensor, *options: Any) -> Results:
    check_whitened_attention(query, key, unary, value)
    return _forward(query, key, unary, value, *options)


def _forward(
    query: Tensor,
    key: Tensor,
    unary: Tensor,
    value: Tensor,
    scale: float = 1.0,
    keep_probabilities: bool = False,
    path: str | None = None,
) -> Results:
    """Of arguments that are checked."""
    check_path(path, value)
    scale = float(scale)  # Triton compiles for an integer's value
    if takes_triton(path, value):
        from .kernels.forward import forward

        # In the place of the probabilities the pairwise term is kept: what the backward needs of
        # the output, without the rounding of the shared term.
        return forward(query, key, unary, value, scale, path, keep_probabilities)
    output, shared, probabilities = by_products.forward(
        query, key, unary, value, scale, keep_probabilities
    )
    return output, shared.new_empty(0), shared, probabilities


@torch.library.impl(_library, "whitened_attention_backward", "CPU")
@torch.library.impl(_library, "whitened_attention_backward", "CUDA")
def _backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    unary: Tensor,
    value: Tensor,
    output: Tensor,
    log_sum_exp: Tensor,
    shared: Tensor,
    probabilities: Tensor,
    scale: float,
    *needs: bool,
) -> tuple[Tensor, ...]:
    _check_backward(grad, query, key, unary, value, output, log_sum_exp, shared, probabilities)
    scale = float(scale)
    if _by_triton(log_sum_exp, value):
        from .kernels.backward import backward

        # Read without strides; under vmap an image's may be one row for all samples.
        statistics = log_sum_exp.contiguous(), shared.contiguous()
        inputs = (query, key, unary, value)
        return backward(grad, *inputs, output, *statistics, probabilities, scale, needs)
    return by_products.backward(grad, query, key, unary, value, probabilities, scale, needs)


register_direct(_ops.whitened_attention.default, _forward)
register_direct(_ops.whitened_attention_backward.default, _backward)


@register_fake("whitened_attention", lib=_library)
def _(
    query: Tensor,
    key: Tensor,
    unary: Tensor,
    value: Tensor,
    scale: float = 1.0,
    keep_probabilities: bool = False,
    path: str | None = None,
) -> Results:
    check_whitened_attention(query, key, unary, value)
    check_path(path, value)
    batch, n, _ = query.shape
    _, m, channels = value.shape
    dtype = compute_dtype(value)
    by_triton = takes_triton(path, value)
    kept = value.new_empty(0, dtype=value.dtype if by_triton else dtype)
    if keep_probabilities:
        kept = empty_output(value, n) if by_triton else value.new_empty(batch, n, m, dtype=dtype)
    return (
        empty_output(value, n),
        value.new_empty((batch, n) if by_triton else (0,), dtype=dtype),
        value.new_empty(batch, channels, dtype=dtype),
        kept,
    )


@torch.library.register_fake("scrn_ops::whitened_attention_backward", lib=_library)
def _(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    unary: Tensor,
    value: Tensor,
    output: Tensor,
    log_sum_exp: Tensor,
    shared: Tensor,
    probabilities: Tensor,
    scale: float,
    *needs: bool,
) -> tuple[Tensor, ...]:
    _check_backward(grad, query, key, unary, value, output, log_sum_exp, shared, probabilities)
    inputs = (query, key, unary, value)
    return tuple(empty_gradient(t, need) for t, need in zip(inputs, needs, strict=True))


def _by_triton(log_sum_exp: Tensor, value: Tensor) -> bool:
    """Whether the forward was Triton's: on CUDA the type tells, and otherwise what was saved."""
    return takes_triton(None, value) if value.is_cuda else log_sum_exp.dim() == 2


def _check_backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    unary: Tensor,
    value: Tensor,
    output: Tensor,
    log_sum_exp: Tensor,
    shared: Tensor,
    probabilities: Tensor,
) -> None:
    check_whitened_attention(query, key, unary, value)
    (batch, n, _), channels = query.shape, value.shape[2]
    device, dtype = value.device, compute_dtype(value)
    check_gradient("grad", grad, (batch, n, channels), value.dtype, device)
    check_gradient("shared", shared, (batch, channels), dtype, device)
    by_triton = _by_triton(log_sum_exp, value)
    # Where it is of products, of one dimension and empty.
    rows = (batch, n) if by_triton else (0,)
    check_gradient("log_sum_exp", log_sum_exp, rows, dtype, device)
    # Of one dimension and empty where they are not kept.
    last = channels if by_triton else value.shape[1]
    kept = (0,) if probabilities.dim() == 1 else (batch, n, last)
    kept_dtype = value.dtype if by_triton else dtype
    check_gradient("probabilities", probabilities, kept, kept_dtype, device)
    if by_triton:
        check_gradient("output", output, (batch, n, channels), value.dtype, device)


# As torch counts: the multiplications and additions of matrix products, two each.
@register_flop_formula(_ops.whitened_attention)
def _(query: Any, key: Any, unary: Any, value: Any, *_args: Any, **_kwargs: Any) -> int:
    (batch, n, embedding), (_, m, channels) = query, value
    return int(2 * batch * m * (n * (embedding + channels) + channels))


@register_flop_formula(_ops.whitened_attention_backward)
def _(
    grad: Any,
    query: Any,
    key: Any,
    unary: Any,
    value: Any,
    output: Any,
    log_sum_exp: Any,
    shared: Any,
    probabilities: Any,
    scale: float,
    need_query: bool,
    need_key: bool,
    need_unary: bool,
    need_value: bool,
    **_kwargs: Any,
) -> int:
    (batch, n, embedding), (_, m, channels) = query, value
    pairwise = need_query or need_key or need_value
    # By Triton always: in their place is the output's pairwise term.
    recomputed = pairwise and (len(log_sum_exp) == 2 or len(probabilities) != 3)
    embeddings = need_query + need_key + recomputed
    values = (need_query or need_key) + need_value
    per_key = n * (embedding * embeddings + channels * values)
    per_key += channels * (need_unary + need_value)
    return int(2 * batch * m * per_key)


# Queries and keys in float32 are cast by the kernels, after their means were taken off. The
# backward consists of products, which must not be cast.
register_autocast("whitened_attention", features=(3,))
register_autocast("whitened_attention_backward", features=())
