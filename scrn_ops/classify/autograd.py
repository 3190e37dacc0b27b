"""The loss's :class:`torch.autograd.Function`, and the operators' autograd."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.autograd import Function

from ..autograd import (
    apply_operator,
    refuse_forward_mode,
    refuse_second_derivative,
    register_autograd,
)
from .operators import fold_samples

__all__ = ["UpsampledCrossEntropy", "apply_operator"]

_ops = torch.ops.scrn_ops
_NAME = "upsampled_cross_entropy"


class _Backward(Function):
    """What the two backward operators share: they have no derivative."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> NoReturn:
        refuse_second_derivative(_NAME)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> NoReturn:
        refuse_forward_mode(_NAME)


class UpsampledCrossEntropyBackward(_Backward):
    """(grad, logits, target, weight, ignore_index, label_smoothing, align_corners) -> the
    gradient of logits, of the loss without a reduction."""

    @staticmethod
    def forward(*args: Any) -> Tensor:
        return _ops.upsampled_cross_entropy_backward.default(*args)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        return fold_samples(UpsampledCrossEntropyBackward.apply, info.batch_size, in_dims, args)


class UpsampledCrossEntropyScale(_Backward):
    """(grad, gradient, statistics, reduction) -> the gradient of logits, of the mean or sum."""

    @staticmethod
    def forward(*args: Any) -> Tensor:
        return _ops.upsampled_cross_entropy_scale.default(*args)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        return fold_samples(UpsampledCrossEntropyScale.apply, info.batch_size, in_dims, args)


class UpsampledCrossEntropy(Function):
    """``apply(logits, target, weight, reduction, ignore_index, label_smoothing, align_corners,
    need_gradient)``: see :func:`scrn_ops.upsampled_cross_entropy`.

    Returns the loss, and what is not differentiable: the sum of the valid pixels' weights with
    the factor of the kept gradient, and that gradient, [0] without ``need_gradient``. It is
    needed for the backward of a mean and of a sum. ``reduction`` is 0 for none, 1 for the mean,
    2 for the sum.
    """

    @staticmethod
    def forward(
        logits: Tensor,
        target: Tensor,
        weight: Tensor | None,
        reduction: int,
        ignore_index: int,
        label_smoothing: float,
        align_corners: bool,
        need_gradient: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        return _ops.upsampled_cross_entropy.default(
            logits,
            target,
            weight,
            reduction,
            ignore_index,
            label_smoothing,
            align_corners,
            need_gradient,
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        logits, target, weight, ctx.reduction, *ctx.options, ctx.need_gradient = inputs
        _, statistics, gradient = output
        ctx.mark_non_differentiable(statistics, gradient)
        ctx.set_materialize_grads(False)
        if not ctx.needs_input_grad[0]:
            return
        if ctx.reduction:
            ctx.save_for_backward(gradient, statistics)
        else:
            ctx.save_for_backward(logits, target, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        none = (None,) * 8
        if grad is None or not ctx.needs_input_grad[0]:
            return none
        if not ctx.reduction:
            result = apply_operator(
                UpsampledCrossEntropyBackward,
                _ops.upsampled_cross_entropy_backward.default,
                *(grad, *ctx.saved_tensors, *ctx.options),
            )
        elif not ctx.need_gradient:
            raise RuntimeError(
                "scrn_ops.upsampled_cross_entropy: expected need_gradient=True, without which the "
                "backward of a mean or a sum finds no gradient"
            )
        else:
            result = apply_operator(
                UpsampledCrossEntropyScale,
                _ops.upsampled_cross_entropy_scale.default,
                *(grad, *ctx.saved_tensors, ctx.reduction),
            )
        return (result, *none[1:])

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> NoReturn:
        refuse_forward_mode(_NAME)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        return fold_samples(UpsampledCrossEntropy.apply, info.batch_size, in_dims, args)


register_autograd(
    {
        _NAME: UpsampledCrossEntropy,
        f"{_NAME}_backward": UpsampledCrossEntropyBackward,
        f"{_NAME}_scale": UpsampledCrossEntropyScale,
    }
)
