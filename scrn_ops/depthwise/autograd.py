"""The units' :class:`torch.autograd.Function` classes, and the operators' autograd.

``apply`` takes what the operator takes: the input, the packed weights [C, taps], and the sizes
(the three strips' lengths, the dilation, or the convolution's size). Saved for the backward are
input and weights alone: what lies between is computed again. The backward is an operator of its
own, whose derivative, like forward-mode differentiation, is not implemented and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.autograd import Function

from .._derivatives import apply_operator as apply_operator
from .._derivatives import refuse_forward_mode, register_autograd
from .._vmap import fold_batch_dims
from ..autograd import in_type_of, refuse_second_derivative, wanted

__all__ = ["DepthwiseGelu", "LargeKernelDepthwise", "MultiScaleDepthwise"]

_ops = torch.ops.scrn_ops


def fold_mapped_dims(
    call: Callable[..., Any],
    size: int,
    in_dims: tuple[int | None, ...],
    args: tuple[Any, ...],
) -> tuple[Any, Any]:
    """:func:`torch.func.vmap` of an operator: with weights that are mapped, or where their gradient
    is wanted, the mapped dimension becomes channels, since every channel is on its own; otherwise
    images of the batch."""
    weights = next(i for i, arg in enumerate(args) if isinstance(arg, Tensor) and arg.dim() < 4)
    is_backward = weights == 2
    shared = in_dims[weights] is None and not (is_backward and args[-1])
    if shared:
        kept = args[weights]

        def with_weights(*rest: Any) -> Any:
            return call(*rest[:weights], kept, *rest[weights:])

        return fold_batch_dims(
            with_weights,
            size,
            (*in_dims[:weights], *in_dims[weights + 1 :]),
            (*args[:weights], *args[weights + 1 :]),
        )

    def fold(arg: Any, dim: int | None) -> Any:
        if not isinstance(arg, Tensor):
            return arg
        mapped = arg.expand(size, *arg.shape) if dim is None else arg.movedim(dim, 0)
        return mapped.flatten(0, 1) if mapped.dim() == 3 else mapped.movedim(0, 1).flatten(1, 2)

    unmapped = [s for d, s in enumerate(args[weights].shape) if d != in_dims[weights]]
    channels = unmapped[0]

    def unfold(result: Tensor) -> tuple[Tensor, int | None]:
        if result.dim() == 1:  # what stands for a result that was not asked for
            return result, None
        if result.dim() == 2:
            return result.unflatten(0, (size, channels)), 0
        return result.unflatten(1, (size, channels)).movedim(1, 0), 0

    results = call(*(fold(arg, dim) for arg, dim in zip(args, in_dims, strict=True)))
    if isinstance(results, Tensor):
        return unfold(results)
    outputs, out_dims = zip(*(unfold(result) for result in results), strict=True)
    return outputs, out_dims


def _define(name: str) -> tuple[type[Function], type[Function]]:
    """The operator's function and that of its backward."""
    operator = getattr(_ops, name).default
    backward_operator = getattr(_ops, f"{name}_backward").default

    class Backward(Function):
        """(grad, input, weights, *sizes, need_input, need_weights) -> the two gradients."""

        @staticmethod
        def forward(*args: Any) -> Any:
            return backward_operator(*args)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            pass

        @staticmethod
        def backward(ctx: Any, *grads: Tensor | None) -> NoReturn:
            refuse_second_derivative(name)

        @staticmethod
        def jvp(ctx: Any, *tangents: Tensor | None) -> NoReturn:
            refuse_forward_mode(name)

        @staticmethod
        def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
            return fold_mapped_dims(Backward.apply, info.batch_size, in_dims, args)

    class Forward(Function):
        """(input, weights, *sizes) -> output."""

        @staticmethod
        def forward(*args: Any) -> Any:
            return operator(*args)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
            input, weights, *ctx.sizes = inputs
            ctx.save_for_backward(input, weights)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
            input, weights = ctx.saved_tensors
            needs = ctx.needs_input_grad[:2]
            gradients = apply_operator(
                Backward,
                backward_operator,
                grad,
                in_type_of(grad, input),
                weights,
                *ctx.sizes,
                *needs,
            )
            return (*wanted(gradients, needs), *[None] * len(ctx.sizes))

        @staticmethod
        def jvp(ctx: Any, *tangents: Tensor | None) -> NoReturn:
            refuse_forward_mode(name)

        @staticmethod
        def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
            return fold_mapped_dims(Forward.apply, info.batch_size, in_dims, args)

    title = "".join(word.capitalize() for word in name.split("_"))
    for made, suffix in ((Forward, ""), (Backward, "Backward")):
        made.__name__ = made.__qualname__ = title + suffix
    register_autograd({name: Forward, f"{name}_backward": Backward})
    return Forward, Backward


MultiScaleDepthwise, MultiScaleDepthwiseBackward = _define("multi_scale_depthwise")
LargeKernelDepthwise, LargeKernelDepthwiseBackward = _define("large_kernel_depthwise")
DepthwiseGelu, DepthwiseGeluBackward = _define("depthwise_gelu")
