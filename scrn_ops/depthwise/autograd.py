"""The units' :class:`torch.autograd.Function` classes, and the operators' autograd.

``apply`` takes what the operator takes: the input, the packed weights [C, taps], and the sizes
(the three strips' lengths, the dilation, or the convolution's edge). Saved for the backward are
input and weights alone: what lies between is computed again. The backward is an operator of its
own, whose derivative, like forward-mode differentiation, is not implemented and says so.
"""

from __future__ import annotations

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
from . import operators  # noqa: F401 (with an operator's autograd go its fakes and its rules)
from .mapping import fold_mapped_dims

__all__ = ["DepthwiseGelu", "LargeKernelDepthwise", "MultiScaleDepthwise"]

_ops = torch.ops.scrn_ops

MultiScaleDepthwiseBackward = backward_function("multi_scale_depthwise_backward", fold_mapped_dims)
LargeKernelDepthwiseBackward = backward_function(
    "large_kernel_depthwise_backward", fold_mapped_dims
)
DepthwiseGeluBackward = backward_function("depthwise_gelu_backward", fold_mapped_dims)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    input, weights, *ctx.sizes = inputs
    ctx.save_for_backward(input, weights)


def _gradients(function: type[OperatorFunction], ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    input, weights = ctx.saved_tensors
    needs = ctx.needs_input_grad[:2]
    gradients = apply_operator(
        function,
        getattr(_ops, function.operator).default,
        grad,
        in_dtype(input, grad.dtype),
        weights,
        *ctx.sizes,
        *needs,
    )
    return (*wanted(gradients, needs), *[None] * len(ctx.sizes))


def _backward(function: type[OperatorFunction]) -> Any:
    # A function, which compiled autograd asks for, and no partial.
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        return _gradients(function, ctx, grad)

    return staticmethod(backward)


class _Unit:
    fold = staticmethod(fold_mapped_dims)
    setup_context = staticmethod(_save)


class MultiScaleDepthwise(_Unit, OperatorFunction):
    """``apply(input, weights, n0, n1, n2)``: see :func:`scrn_ops.multi_scale_depthwise`."""

    operator = "multi_scale_depthwise"
    backward = _backward(MultiScaleDepthwiseBackward)


class LargeKernelDepthwise(_Unit, OperatorFunction):
    """``apply(input, weights, dilation)``: see :func:`scrn_ops.large_kernel_depthwise`."""

    operator = "large_kernel_depthwise"
    backward = _backward(LargeKernelDepthwiseBackward)


class DepthwiseGelu(_Unit, OperatorFunction):
    """``apply(input, weights, size)``: see :func:`scrn_ops.depthwise_gelu`."""

    operator = "depthwise_gelu"
    backward = _backward(DepthwiseGeluBackward)


register_autograd(
    MultiScaleDepthwise,
    MultiScaleDepthwiseBackward,
    LargeKernelDepthwise,
    LargeKernelDepthwiseBackward,
    DepthwiseGelu,
    DepthwiseGeluBackward,
)
