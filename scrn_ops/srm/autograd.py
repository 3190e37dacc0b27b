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

_ops = torch.ops.scrn_ops

AggregateOffsetsBackward = backward_function("aggregate_offsets_backward")
OffsetSampleBackward = backward_function("offset_sample_backward")
SemanticRefineBackward = backward_function("semantic_refine_backward")


class AggregateOffsets(OperatorFunction):
    """``apply(offset, mask, mask_is_logits)``: see :func:`scrn_ops.aggregate_offsets`."""

    operator = "aggregate_offsets"

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


class OffsetSample(OperatorFunction):
    """``apply(input, offset, align_corners)``: see :func:`scrn_ops.offset_sample`."""

    operator = "offset_sample"

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
            in_dtype(input, grad.dtype),
            offset,
            ctx.align_corners,
            *needs,
            torch.are_deterministic_algorithms_enabled(),
        )
        return (*wanted(gradients, needs), None)


class SemanticRefine(OperatorFunction):
    """``apply(low, offset, mask, skip, mask_is_logits, align_corners)``: see
    :func:`scrn_ops.semantic_refine`. Returns the output and the aggregated offsets
    [B, 2, H, W], which are not differentiable."""

    operator = "semantic_refine"

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
            in_dtype(low, grad.dtype),
            offset,
            mask,
            aggregated,
            ctx.mask_is_logits,
            ctx.align_corners,
            *needs,
            torch.are_deterministic_algorithms_enabled(),
        )
        return (*wanted(gradients, needs), grad_skip, None, None)


register_autograd(
    AggregateOffsets,
    AggregateOffsetsBackward,
    OffsetSample,
    OffsetSampleBackward,
    SemanticRefine,
    SemanticRefineBackward,
)
