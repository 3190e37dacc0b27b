"""The ops' :class:`torch.autograd.Function` classes, and the operators' autograd.

:class:`AggregateOffsets`, :class:`OffsetSample` and :class:`SemanticRefine` are what the
functions of :mod:`scrn_ops` apply: use them to build an op of your own out of the fused
kernels. ``apply`` takes every argument by position and checks nothing but what the kernels
check. The operators ``torch.ops.scrn_ops.*`` are registered with the same ``setup_context`` and
``backward``.

What is saved for the backward are the inputs (never ``skip``) and, for
:class:`SemanticRefine`, the aggregated offsets. The backward is an operator of its own, whose
derivative, like forward-mode differentiation, is not implemented and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor
from torch.autograd import Function

from ._vmap import fold_batch_dims

__all__ = ["AggregateOffsets", "OffsetSample", "SemanticRefine"]

_ops = torch.ops.scrn_ops


def refuse_forward_mode(name: str) -> NoReturn:
    raise NotImplementedError(
        f"scrn_ops.{name}: forward-mode differentiation (torch.func.jvp, jacfwd, dual numbers) "
        'is not implemented by the fused kernels; backend="reference" supports it'
    )


def refuse_second_derivative(name: str) -> NoReturn:
    raise NotImplementedError(
        f"scrn_ops.{name}: the backward of the fused kernels cannot be differentiated again; "
        'backend="reference" is twice differentiable'
    )


_functorch_transforms_active = torch._C._are_functorch_transforms_active
_is_compiling = torch.compiler.is_compiling
_has_torch_function = torch.overrides.has_torch_function
_is_tracing = torch._C._get_tracing_state
_dispatch_modes = torch._C._len_torch_dispatch_stack
_is_grad_enabled = torch.is_grad_enabled
_any_requires_grad = torch._C._any_requires_grad
_BelowAutograd = torch._C._AutoDispatchBelowAutograd


def apply_operator(function: type[Function], operator: Any, *args: Any) -> Any:
    """``operator(*args)`` with the derivative of ``function``, by the cheapest way there is.

    torch.func can transform a function's autograd, but not an operator's. Whoever traces, takes
    part in the call or differentiates forward gets the operator, one node of a traced graph.
    Everybody else gets the kernels without the operator's autograd, which is several times the
    Python of a node of its own: where something is differentiated, by a node of the graph;
    where nothing is, as they are. Never around somebody's __torch_function__, which may compute
    what is to be differentiated.
    """
    if _functorch_transforms_active():
        return function.apply(*args)
    if (
        _is_compiling()
        or forward_ad._current_level >= 0
        or _has_torch_function(args)
        or _dispatch_modes()
        or _is_tracing() is not None
    ):
        return operator(*args)
    if _is_grad_enabled() and _any_requires_grad(*args):
        return _NODES[function].apply(*args)
    with _BelowAutograd():
        return operator(*args)


_NODES: dict[type[Function], type[Function]] = {}


def _register_node(function: type[Function], operator: Any) -> None:
    """The function as a node for the graph. A ``forward`` that takes ``ctx`` spares what torch
    does for ``setup_context``: to bind the arguments to the signature takes longer than the
    whole of a small kernel's launch."""

    def forward(ctx: Any, *args: Any) -> Any:
        with _BelowAutograd():
            output = operator(*args)
        function.setup_context(ctx, args, output)
        return output

    members = {"forward": staticmethod(forward), "backward": staticmethod(function.backward)}
    _NODES[function] = type(function.__name__, (Function,), members)


def wanted(gradients: tuple[Tensor, ...], needs: tuple[bool, ...]) -> list[Tensor | None]:
    return [g if need else None for g, need in zip(gradients, needs, strict=True)]


class AggregateOffsetsBackward(Function):
    """(grad, offset, mask, mask_is_logits, need_offset, need_mask) -> the two gradients."""

    @staticmethod
    def forward(
        grad: Tensor,
        offset: Tensor,
        mask: Tensor,
        mask_is_logits: bool,
        need_offset: bool,
        need_mask: bool,
    ) -> tuple[Tensor, Tensor]:
        return _ops.aggregate_offsets_backward.default(
            grad, offset, mask, mask_is_logits, need_offset, need_mask
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> NoReturn:
        refuse_second_derivative("aggregate_offsets")

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> NoReturn:
        refuse_forward_mode("aggregate_offsets")

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        return fold_batch_dims(AggregateOffsetsBackward.apply, info.batch_size, in_dims, args)


class AggregateOffsets(Function):
    """``apply(offset, mask, mask_is_logits)``: see :func:`scrn_ops.aggregate_offsets`."""

    @staticmethod
    def forward(
        offset: Tensor,
        mask: Tensor,
        mask_is_logits: bool,
    ) -> Tensor:
        return _ops.aggregate_offsets.default(offset, mask, mask_is_logits)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        offset, mask, ctx.mask_is_logits = inputs
        ctx.save_for_backward(offset, mask)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        offset, mask = ctx.saved_tensors
        needs = ctx.needs_input_grad[:2]
        gradients = apply_operator(
            AggregateOffsetsBackward,
            _ops.aggregate_offsets_backward.default,
            grad,
            offset,
            mask,
            ctx.mask_is_logits,
            *needs,
        )
        return (*wanted(gradients, needs), None)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> NoReturn:
        refuse_forward_mode("aggregate_offsets")

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        return fold_batch_dims(AggregateOffsets.apply, info.batch_size, in_dims, args)


class OffsetSampleBackward(Function):
    """(grad, input, offset, align_corners, need_input, need_offset, deterministic) -> the two
    gradients."""

    @staticmethod
    def forward(
        grad: Tensor,
        input: Tensor,
        offset: Tensor,
        align_corners: bool,
        need_input: bool,
        need_offset: bool,
        deterministic: bool,
    ) -> tuple[Tensor, Tensor]:
        return _ops.offset_sample_backward.default(
            grad, input, offset, align_corners, need_input, need_offset, deterministic
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> NoReturn:
        refuse_second_derivative("offset_sample")

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> NoReturn:
        refuse_forward_mode("offset_sample")

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        return fold_batch_dims(OffsetSampleBackward.apply, info.batch_size, in_dims, args)


class OffsetSample(Function):
    """``apply(input, offset, align_corners)``: see :func:`scrn_ops.offset_sample`."""

    @staticmethod
    def forward(
        input: Tensor,
        offset: Tensor,
        align_corners: bool,
    ) -> Tensor:
        return _ops.offset_sample.default(input, offset, align_corners)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        input, offset, ctx.align_corners = inputs
        ctx.save_for_backward(input, offset)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        input, offset = ctx.saved_tensors
        needs = ctx.needs_input_grad[:2]
        gradients = apply_operator(
            OffsetSampleBackward,
            _ops.offset_sample_backward.default,
            grad,
            input.to(grad.dtype),  # another type only where autocast acted below this function
            offset,
            ctx.align_corners,
            *needs,
            torch.are_deterministic_algorithms_enabled(),
        )
        return (*wanted(gradients, needs), None)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> NoReturn:
        refuse_forward_mode("offset_sample")

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        return fold_batch_dims(OffsetSample.apply, info.batch_size, in_dims, args)


class SemanticRefineBackward(Function):
    """(grad, low, offset, mask, aggregated, mask_is_logits, align_corners, need_low,
    need_offset, need_mask, deterministic) -> the three gradients."""

    @staticmethod
    def forward(
        grad: Tensor,
        low: Tensor,
        offset: Tensor,
        mask: Tensor,
        aggregated: Tensor,
        mask_is_logits: bool,
        align_corners: bool,
        need_low: bool,
        need_offset: bool,
        need_mask: bool,
        deterministic: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        return _ops.semantic_refine_backward.default(
            grad,
            low,
            offset,
            mask,
            aggregated,
            mask_is_logits,
            align_corners,
            need_low,
            need_offset,
            need_mask,
            deterministic,
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> NoReturn:
        refuse_second_derivative("semantic_refine")

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> NoReturn:
        refuse_forward_mode("semantic_refine")

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        return fold_batch_dims(SemanticRefineBackward.apply, info.batch_size, in_dims, args)


class SemanticRefine(Function):
    """``apply(low, offset, mask, skip, mask_is_logits, align_corners)``: see
    :func:`scrn_ops.semantic_refine`. Returns the output and the aggregated offsets
    [B, 2, H, W], which are not differentiable."""

    @staticmethod
    def forward(
        low: Tensor,
        offset: Tensor,
        mask: Tensor,
        skip: Tensor | None,
        mask_is_logits: bool,
        align_corners: bool,
    ) -> tuple[Tensor, Tensor]:
        return _ops.semantic_refine.default(low, offset, mask, skip, mask_is_logits, align_corners)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        low, offset, mask, _, ctx.mask_is_logits, ctx.align_corners = inputs
        aggregated = output[1]
        ctx.mark_non_differentiable(aggregated)
        ctx.set_materialize_grads(False)
        if any(ctx.needs_input_grad[:3]):
            ctx.save_for_backward(low, offset, mask, aggregated)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
        needs = ctx.needs_input_grad[:3]
        if grad is None:
            return (None,) * 6
        # The sum's derivative by skip is the identity: its gradient is the incoming one.
        grad_skip = grad if any(ctx.needs_input_grad[3:4]) else None
        if not any(needs):
            return None, None, None, grad_skip, None, None
        low, offset, mask, aggregated = ctx.saved_tensors
        gradients = apply_operator(
            SemanticRefineBackward,
            _ops.semantic_refine_backward.default,
            grad,
            low.to(grad.dtype),  # another type only where autocast acted below this function
            offset,
            mask,
            aggregated,
            ctx.mask_is_logits,
            ctx.align_corners,
            *needs,
            torch.are_deterministic_algorithms_enabled(),
        )
        return (*wanted(gradients, needs), grad_skip, None, None)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> NoReturn:
        refuse_forward_mode("semantic_refine")

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        return fold_batch_dims(SemanticRefine.apply, info.batch_size, in_dims, args)


_FUNCTIONS: dict[str, type[Function]] = {
    "aggregate_offsets": AggregateOffsets,
    "aggregate_offsets_backward": AggregateOffsetsBackward,
    "offset_sample": OffsetSample,
    "offset_sample_backward": OffsetSampleBackward,
    "semantic_refine": SemanticRefine,
    "semantic_refine_backward": SemanticRefineBackward,
}


class _Registrations(torch.library.Library):
    """torch's autograd kernel for an operator drops the tangents of its arguments without a
    word, where it does not find a gradient to compute: this puts the refusal in front of it."""

    def impl(
        self, op_name: Any, fn: Callable[..., Any], dispatch_key: str = "", **kwargs: Any
    ) -> Any:
        kernel = fn
        if dispatch_key == "Autograd":

            def kernel(keyset: Any, *args: Any) -> Any:
                # Outside of any dual level, nearly always, there is no tangent to look for.
                if forward_ad._current_level >= 0 and any(map(_has_tangent, args)):
                    refuse_forward_mode(op_name.removesuffix("_backward"))
                return fn(keyset, *args)

        return super().impl(op_name, kernel, dispatch_key, **kwargs)  # type: ignore[no-untyped-call]


def _has_tangent(arg: Any) -> bool:
    return isinstance(arg, Tensor) and forward_ad.unpack_dual(arg).tangent is not None


_library = _Registrations("scrn_ops", "IMPL")  # type: ignore[no-untyped-call]


def register_autograd(functions: dict[str, type[Function]]) -> None:
    """Gives the operators of these names the functions' derivatives."""
    for name, function in functions.items():
        torch.library.register_autograd(
            f"scrn_ops::{name}",
            function.backward,
            setup_context=function.setup_context,
            lib=_library,
        )
        _register_node(function, getattr(_ops, name).default)


register_autograd(_FUNCTIONS)
