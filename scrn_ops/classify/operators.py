"""Fake kernels, FLOP formulas and vmap of ``torch.ops.scrn_ops.upsampled_*``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .._core.checks import check_gradient, compute_dtype
from .._core.fake import register_fake
from .._core.flops import register_flop_formula
from .._core.layout import empty, empty_gradient, memory_format, shape_of
from .._core.vmap import fold_batch_dims, register_vmap
from .checks import (
    REDUCTIONS,
    check_cross_entropy,
    check_label_dtype,
    check_logits,
    check_size,
)

_ops = torch.ops.scrn_ops
_REDUCTIONS = range(len(REDUCTIONS))


def _check_loss(logits: Tensor, target: Tensor, weight: Tensor | None, smoothing: float) -> None:
    check_cross_entropy(logits, target, weight)
    dtype = compute_dtype(logits)
    if weight is not None and weight.dtype != dtype:
        raise TypeError(f"weight: expected dtype {dtype}, got {weight.dtype}")
    if not 0 <= smoothing <= 1:
        raise ValueError(f"label_smoothing: expected a number from 0 to 1, got {smoothing}")


def _check_reduction(reduction: int) -> None:
    if reduction not in _REDUCTIONS:
        raise ValueError(f"reduction: expected 0, 1 or 2, got {reduction}")


@torch.library.register_fake("scrn_ops::upsampled_cross_entropy")
def _(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: int = 1,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    align_corners: bool = False,
    need_gradient: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    _check_loss(logits, target, weight, label_smoothing)
    _check_reduction(reduction)
    shape = () if reduction else tuple(target.shape)
    return (
        logits.new_empty(shape, dtype=compute_dtype(logits)),
        logits.new_empty(2, dtype=torch.float64),
        empty_gradient(logits, bool(reduction) and need_gradient, memory_format(logits)),
    )


@torch.library.register_fake("scrn_ops::upsampled_cross_entropy_backward")
def _(
    grad: Tensor,
    logits: Tensor | None,
    target: Tensor | None,
    weight: Tensor | None,
    gradient: Tensor | None,
    statistics: Tensor | None,
    reduction: int,
    ignore_index: int,
    label_smoothing: float,
    align_corners: bool,
) -> Tensor:
    _check_reduction(reduction)
    if reduction:
        kept, numbers = _needed("gradient", gradient), _needed("statistics", statistics)
        check_logits(kept)
        check_gradient("grad", grad, (), compute_dtype(kept), kept.device)
        check_gradient("statistics", numbers, (2,), torch.float64, kept.device)
        return empty_gradient(kept, True, memory_format(kept))
    logits, target = _needed("logits", logits), _needed("target", target)
    _check_loss(logits, target, weight, label_smoothing)
    check_gradient("grad", grad, shape_of(target), compute_dtype(logits), logits.device)
    return empty_gradient(logits, True, memory_format(logits))


def _needed(name: str, tensor: Tensor | None) -> Tensor:
    if tensor is None:
        raise ValueError(f"{name}: expected a tensor for this reduction, got None")
    return tensor


@register_fake("upsampled_argmax")
def _(
    logits: Tensor,
    height: int,
    width: int,
    align_corners: bool = False,
    wide_labels: bool = True,
    with_confidence: bool = False,
) -> tuple[Tensor, Tensor]:
    check_logits(logits)
    check_size((height, width))
    dtype = torch.int64 if wide_labels else torch.uint8
    check_label_dtype(dtype, logits.shape[1])
    pixels = (logits.shape[0], height, width)
    return (
        logits.new_empty(pixels, dtype=dtype),
        logits.new_empty(pixels if with_confidence else 0, dtype=torch.float32),
    )


@register_fake("upsampled_logits")
def _(logits: Tensor, height: int, width: int, align_corners: bool = False) -> Tensor:
    check_logits(logits)
    check_size((height, width))
    shape = (*logits.shape[:2], height, width)
    return empty(logits, shape, logits.dtype, memory_format(logits))


# Of every class of every pixel: the interpolation is 4 products and their sum, the softmax a
# subtraction, an exponential and an addition, its gradient a product, and its way back to the
# corners another 4 products that are added. The argmax is a comparison.
_INTERPOLATION, _SOFTMAX, _GRADIENT, _COMPARISON = 7, 3, 1 + 2 * 4, 1


@register_flop_formula(_ops.upsampled_cross_entropy)
def _(
    logits: Any,
    target: Any,
    weight: Any = None,
    reduction: int = 1,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    align_corners: bool = False,
    need_gradient: bool = False,
    *_args: Any,
    **_kwargs: Any,
) -> int:
    batch, height, width = target
    work = _INTERPOLATION + _SOFTMAX + (_GRADIENT if need_gradient and reduction else 0)
    return int(batch * height * width * logits[1] * work)


@register_flop_formula(_ops.upsampled_cross_entropy_backward)
def _(
    grad: Any, logits: Any, target: Any, weight: Any, gradient: Any, *_args: Any, **_: Any
) -> int:
    if gradient is not None:  # it is only scaled
        return math.prod(gradient)
    batch, height, width = grad
    work = _INTERPOLATION + _SOFTMAX + _GRADIENT
    return int(batch * height * width * logits[1] * work)


@register_flop_formula(_ops.upsampled_argmax)
def _(
    logits: Any,
    height: int,
    width: int,
    align_corners: bool = False,
    wide_labels: bool = True,
    with_confidence: bool = False,
    *_args: Any,
    **_kwargs: Any,
) -> int:
    batch, classes = logits[:2]
    work = _INTERPOLATION + _COMPARISON + (_SOFTMAX if with_confidence else 0)
    return int(batch * height * width * classes * work)


@register_flop_formula(_ops.upsampled_logits)
def _(logits: Any, height: int, width: int, *_args: Any, **_kwargs: Any) -> int:
    return int(math.prod(logits[:2]) * height * width * _INTERPOLATION)


def fold_samples(
    call: Callable[..., Any], size: int, in_dims: tuple[int | None, ...], args: tuple[Any, ...]
) -> tuple[Any, Any]:
    """One call for every sample: the reduction is that of a sample, and so are the weights."""

    def sample(index: int) -> tuple[Any, ...]:
        return tuple(
            arg if dim is None else arg.select(dim, index)
            for arg, dim in zip(args, in_dims, strict=True)
        )

    def zeros() -> tuple[Any, ...]:
        """A sample of the shapes and the graph of those that there are none of."""
        return tuple(
            arg if dim is None else arg.sum(dim, dtype=arg.dtype)
            for arg, dim in zip(args, in_dims, strict=True)
        )

    def stack(parts: Sequence[Tensor]) -> Tensor:
        return torch.stack(tuple(parts))[:size]

    results = [call(*sample(index)) for index in range(size)] or [call(*zeros())]
    if isinstance(results[0], Tensor):
        return stack(results), 0
    stacked = tuple(stack(parts) for parts in zip(*results, strict=True))
    return stacked, (0,) * len(stacked)


register_vmap("upsampled_cross_entropy", fold_samples)
register_vmap("upsampled_cross_entropy_backward", fold_samples)
register_vmap("upsampled_argmax", fold_batch_dims)
register_vmap("upsampled_logits", fold_batch_dims)
