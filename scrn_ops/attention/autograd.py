"""The attention's :class:`torch.autograd.Function`, and the operators' autograd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .._core.checks import in_dtype
from .._core.derivatives import (
    OperatorFunction,
    apply_operator,
    backward_function,
    register_autograd,
    wanted,
)
from .._core.vmap import fold_batch_dims, register_vmap
from . import by_products, operators  # noqa: F401 (defines the operators)
from .checks import takes_triton

__all__ = ["WhitenedAttention"]

_ops = torch.ops.scrn_ops
_NAME = "whitened_attention"
_LOG_SUM_EXP, _PROBABILITIES = 6, 8  # their places among the backward's arguments


def _fold_forward(
    call: Callable[..., Any], size: int, in_dims: tuple[int | None, ...], args: tuple[Any, ...]
) -> tuple[Any, Any]:
    """Whether probabilities are kept was decided for one sample: all have to fit together."""

    def within_memory(
        query: Tensor,
        key: Tensor,
        unary: Tensor,
        value: Tensor,
        scale: float = 1.0,
        keep: bool = False,
        path: str | None = None,
    ) -> Any:
        fits = takes_triton(path, value) or by_products.keeps_probabilities(query, value)
        keep = keep and fits
        return call(query, key, unary, value, scale, keep, path)

    return fold_batch_dims(within_memory, size, in_dims, args)


def _fold_backward(
    call: Callable[..., Any], size: int, in_dims: tuple[int | None, ...], args: tuple[Any, ...]
) -> tuple[Any, Any]:
    """Probabilities that all samples share, as for a Jacobian, would be copied for each."""
    probabilities = args[_PROBABILITIES]
    by_triton = args[_LOG_SUM_EXP].numel() > 0
    copied = size * probabilities.numel() * probabilities.element_size()
    if in_dims[_PROBABILITIES] is None and copied > by_products.KEPT_BYTES and not by_triton:
        without = probabilities.new_empty(0)
        args = (*args[:_PROBABILITIES], without, *args[_PROBABILITIES + 1 :])
    return fold_batch_dims(call, size, in_dims, args)


# (grad, query, key, unary, value, output, log_sum_exp, shared, probabilities, scale, need_query,
# need_key, need_unary, need_value) -> the four gradients.
WhitenedAttentionBackward = backward_function(f"{_NAME}_backward", _fold_backward)


class WhitenedAttention(OperatorFunction):
    """``apply(query, key, unary, value, scale, keep_probabilities, path)``: see
    :func:`scrn_ops.whitened_attention`.

    Returns the output, and what the backward needs, which is not differentiable: the rows'
    log-sum-exps [B, N] (of Triton's kernels), softmax(unary) times value [B, Dv] (which only the
    backward of Triton's reads), and, if kept,
    the probabilities [B, N, M], of Triton's kernels the output without its shared term
    [B, N, Dv].
    """

    operator = _NAME
    fold = staticmethod(_fold_forward)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *tensors, ctx.scale, _, _ = inputs
        result, log_sum_exp, *rest = output
        ctx.mark_non_differentiable(log_sum_exp, *rest)
        ctx.set_materialize_grads(False)
        # The backward by products does without the output, and so it does with the pairwise term.
        if log_sum_exp.dim() != 2:
            result = log_sum_exp
        elif rest[1].dim() == 3:
            result = rest[1]
        ctx.save_for_backward(*tensors, result, log_sum_exp, *rest)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        if grad is None:
            return (None,) * 7
        query, key, unary, value, *saved = ctx.saved_tensors
        needs = ctx.needs_input_grad[:4]
        value = in_dtype(value, grad.dtype)
        gradients = apply_operator(
            WhitenedAttentionBackward,
            _ops.whitened_attention_backward.default,
            *(grad, query, key, unary, value, *saved, ctx.scale, *needs),
        )
        return (*wanted(gradients, needs), None, None, None)


register_autograd(WhitenedAttention, WhitenedAttentionBackward)
register_vmap(_NAME, _fold_forward)
register_vmap(f"{_NAME}_backward", _fold_backward)
