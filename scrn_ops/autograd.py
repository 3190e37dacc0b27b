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

from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.autograd import Function

from ._derivatives import apply_operator as apply_operator
from ._derivatives import refuse_forward_mode as refuse_forward_mode
from ._derivatives import register_autograd as register_autograd
from ._vmap import fold_batch_dims

__all__ = ["AggregateOffsets", "OffsetSample", "SemanticRefine"]

_ops = torch.ops.scrn_ops


def refuse_second_derivative(name: str) -> NoReturn:
    raise NotImplementedError(
        f"scrn_ops.{name}: the backward of the fused kernels cannot be differentiated again; "
        'backend="reference" is twice differentiable'
    )


def in_type_of(grad: Tensor, saved: Tensor) -> Tensor:
    """``saved`` has another type only where autocast acted below the function that saved it; and
    `to` goes all the way to torch's dispatcher even where there is nothing to do."""
    return saved if saved.dtype == grad.dtype else saved.to(grad.dtype)


def wanted(
    gradients: tuple[Tensor, ...], needs: tuple[bool, ...]
) -> tuple[Tensor, ...] | list[Tensor | None]:
    if False not in needs:
        return gradients
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
            in_type_of(grad, input),
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
        if grad is None:
            return (None,) * 6
        all_needs = ctx.needs_input_grad  # without skip's, where an operator was called without
        needs = all_needs[:3]
        # The sum's derivative by skip is the identity: its gradient is the incoming one.
        grad_skip = grad if True in all_needs[3:4] else None
        if True not in needs:
            return None, None, None, grad_skip, None, None
        low, offset, mask, aggregated = ctx.saved_tensors
        gradients = apply_operator(
            SemanticRefineBackward,
            _ops.semantic_refine_backward.default,
            grad,
            in_type_of(grad, low),
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


register_autograd(_FUNCTIONS)
