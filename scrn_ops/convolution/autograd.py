"""The operator's :class:`torch.autograd.Function`, and its autograd.

``apply`` takes what the operator takes. The gradients are those of PyTorch's convolution, and
can be differentiated again; forward-mode differentiation is not implemented and says so.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._core.derivatives import OperatorFunction, register_autograd
from .operators import fold_mapped_dims

__all__ = ["Conv3x3"]


class Conv3x3(OperatorFunction):
    """``apply(input, weight, bias, packed, minimum, maximum)``: see :func:`scrn_ops.conv3x3`."""

    operator = "conv3x3"
    fold = staticmethod(fold_mapped_dims)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        input, weight, _, _, ctx.minimum, ctx.maximum = inputs
        bounded = ctx.minimum is not None or ctx.maximum is not None
        ctx.save_for_backward(input, weight, output if bounded else None)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        input, weight, output = ctx.saved_tensors
        if output is not None:
            # What a bound has cut off has no slope, nor has NaN.
            for bound, within in ((ctx.minimum, torch.gt), (ctx.maximum, torch.lt)):
                if bound is not None:
                    grad = grad.masked_fill(~within(output, bound), 0)
        need_input, need_weight, need_bias = ctx.needs_input_grad[:3]
        if grad.numel() == 0:  # PyTorch's convolutions have one result at least
            nothing = [torch.zeros_like(t) for t in (input, weight)]
            return *nothing, weight.new_zeros(len(weight)) if need_bias else None, None, None, None
        ones, needs = [1, 1], [need_input, need_weight, False]
        grad_input, grad_weight, _ = torch.ops.aten.convolution_backward(
            grad, input, weight, None, ones, ones, ones, False, [0, 0], 1, needs
        )
        # torch's sum has more digits than oneDNN's.
        grad_bias = grad.sum((0, 2, 3)) if need_bias else None
        return grad_input, grad_weight, grad_bias, None, None, None


register_autograd(Conv3x3)
