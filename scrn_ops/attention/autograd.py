"""The attention's :class:`torch.autograd.Function`, and the operators' autograd."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.autograd import Function

from .._vmap import fold_batch_dims
from ..autograd import refuse_forward_mode, refuse_second_derivative, register_autograd, wanted

__all__ = ["WhitenedAttention"]

_ops = torch.ops.scrn_ops
_NAME = "whitened_attention"


class WhitenedAttentionBackward(Function):
    """(grad, query, key, unary, value, output, log_sum_exp, shared, probabilities, scale,
    need_query, need_key, need_unary, need_value) -> the four gradients."""

    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, ...]:
        return _ops.whitened_attention_backward.default(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> NoReturn:
        refuse_second_derivative(_NAME)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> NoReturn:
        refuse_forward_mode(_NAME)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        return fold_batch_dims(WhitenedAttentionBackward.apply, info.batch_size, in_dims, args)


class WhitenedAttention(Function):
    """``apply(query, key, unary, value, scale, keep_probabilities, path)``: see
    :func:`scrn_ops.whitened_attention`.

    Returns the output, and what the backward needs, which is not differentiable: the rows'
    log-sum-exps [B, N] (of Triton's kernels), softmax(unary) times value [B, Dv], and the
    probabilities [B, N, M] if kept.
    """

    @staticmethod
    def forward(
        query: Tensor,
        key: Tensor,
        unary: Tensor,
        value: Tensor,
        scale: float,
        keep_probabilities: bool,
        path: str | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return _ops.whitened_attention.default(
            query, key, unary, value, scale, keep_probabilities, path
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *tensors, ctx.scale, _, _ = inputs
        result, log_sum_exp, *rest = output
        ctx.mark_non_differentiable(log_sum_exp, *rest)
        ctx.set_materialize_grads(False)
        # The CPU's backward does without the output.
        kept = result if log_sum_exp.dim() == 2 else log_sum_exp
        ctx.save_for_backward(*tensors, kept, log_sum_exp, *rest)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        if grad is None:
            return (None,) * 7
        query, key, unary, value, *saved = ctx.saved_tensors
        needs = ctx.needs_input_grad[:4]
        # Of another type only where autocast acted below this function.
        value = value.to(grad.dtype)
        gradients = WhitenedAttentionBackward.apply(
            grad, query, key, unary, value, *saved, ctx.scale, *needs
        )
        return (*wanted(gradients, needs), None, None, None)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> NoReturn:
        refuse_forward_mode(_NAME)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        return fold_batch_dims(WhitenedAttention.apply, info.batch_size, in_dims, args)


register_autograd({_NAME: WhitenedAttention, f"{_NAME}_backward": WhitenedAttentionBackward})
