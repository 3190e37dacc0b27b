"""The :class:`torch.autograd.Function` of loss and logits, and the operators' autograd."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._core.derivatives import (
    OperatorFunction,
    apply_operator,
    backward_function,
    register_autograd,
)
from .operators import fold_samples

__all__ = ["UpsampledCrossEntropy", "UpsampledLogits"]

_ops = torch.ops.scrn_ops

UpsampledCrossEntropyBackward = backward_function("upsampled_cross_entropy_backward", fold_samples)


class UpsampledCrossEntropy(OperatorFunction):
    """``apply(logits, target, weight, reduction, ignore_index, label_smoothing, align_corners,
    need_gradient)``: see :func:`scrn_ops.upsampled_cross_entropy`.

    ``reduction`` is 0 for none, 1 for the mean, 2 for the sum. Returns the loss, and what is not
    differentiable: the sum of the valid pixels' weights with the factor of the kept gradient, and
    that gradient, [0] without ``need_gradient``. The backward of a mean and of a sum needs it.
    """

    operator = "upsampled_cross_entropy"
    fold = staticmethod(fold_samples)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        logits, target, weight, ctx.reduction, *options, ctx.need_gradient = inputs
        ctx.options = options
        _, statistics, gradient = output
        ctx.mark_non_differentiable(statistics, gradient)
        ctx.set_materialize_grads(False)
        if not ctx.needs_input_grad[0]:
            return
        if ctx.reduction:
            ctx.save_for_backward(_stand_in(logits), None, None, gradient, statistics)
        else:
            ctx.save_for_backward(logits, target, weight, None, None)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        none = (None,) * 8
        if grad is None or not ctx.needs_input_grad[0]:
            return none
        if ctx.reduction and not ctx.need_gradient:
            raise RuntimeError(
                "scrn_ops.upsampled_cross_entropy: expected need_gradient=True, without which the "
                "backward of a mean or a sum finds no gradient"
            )
        result = apply_operator(
            UpsampledCrossEntropyBackward,
            _ops.upsampled_cross_entropy_backward.default,
            *(grad, *ctx.saved_tensors, ctx.reduction, *ctx.options),
        )
        return (result, *none[1:])


class UpsampledLogits(OperatorFunction):
    """``apply(logits, height, width, align_corners)``: see :func:`scrn_ops.upsampled_logits`. The
    gradient is PyTorch's, and can be differentiated again."""

    operator = "upsampled_logits"

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        logits, *ctx.size, ctx.align_corners = inputs
        ctx.shape = logits.shape

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if grad.shape[0] == 0:  # which torch refuses
            return grad.sum((2, 3), keepdim=True).expand(ctx.shape), None, None, None
        # In traces its fake takes no symbols: a program is compiled for every size.
        sizes = ([int(n) for n in size] for size in (ctx.size, ctx.shape))
        result = torch.ops.aten.upsample_bilinear2d_backward(grad, *sizes, ctx.align_corners)
        return result, None, None, None


def _stand_in(logits: Tensor) -> Tensor:
    """An empty tensor in the place of the logits in the graph. They play no part in the backward of
    a mean or a sum, but its own derivative depends on them: that is refused instead of being left
    out without a word."""
    if torch._C._are_functorch_transforms_active():
        return logits
    with torch.enable_grad():
        stand_in = logits.narrow(0, 0, 0).clone()
    # Below autograd, where torch.library calls this, nothing is recorded.
    return stand_in if stand_in.requires_grad else logits


register_autograd(UpsampledCrossEntropy, UpsampledCrossEntropyBackward)
register_autograd(UpsampledLogits)
