"""The definition of the family's ops in plain PyTorch: gathers, twice differentiable."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .._core.checks import compute_dtype, without_autocast
from . import checks

__all__ = ["upsampled_argmax", "upsampled_cross_entropy", "upsampled_logits"]


def upsampled_cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    align_corners: bool = False,
) -> Tensor:
    """By its definition; see :func:`scrn_ops.upsampled_cross_entropy`."""
    checks.check_options(reduction, ignore_index, label_smoothing, align_corners)
    checks.check_cross_entropy(logits, target, weight)
    checks.check_weight_gradient(weight)
    dtype, classes = compute_dtype(logits), logits.shape[1]
    with without_autocast(logits.device.type):
        scores = _upsampled(logits.to(dtype), target.shape[1:], align_corners).log_softmax(1)
        weights = scores.new_ones(classes) if weight is None else weight.to(dtype)
        labels = target.long()
        valid = labels != ignore_index
        labels = torch.where(valid, labels, 0)
        weight_of = torch.where(valid, weights[labels], 0)
        picked = scores.gather(1, labels[:, None]).squeeze(1)
        loss = -(1 - label_smoothing) * torch.where(valid, weight_of * picked, 0)
        if label_smoothing > 0:
            spread = (scores * weights[:, None, None]).sum(1)
            loss = loss - label_smoothing / classes * torch.where(valid, spread, 0)
        if reduction == "none":
            return loss
        return loss.sum() if reduction == "sum" else loss.sum() / weight_of.sum()


def upsampled_argmax(
    logits: Tensor,
    size: Sequence[int],
    *,
    align_corners: bool = False,
    with_confidence: bool = False,
    dtype: torch.dtype = torch.int64,
) -> Tensor | tuple[Tensor, Tensor]:
    """By its definition; see :func:`scrn_ops.upsampled_argmax`."""
    checks.check_logits(logits)
    checks.check_label_dtype(dtype, logits.shape[1])
    size = checks.check_size(size)
    with without_autocast(logits.device.type):
        upsampled = _upsampled(logits.detach().to(compute_dtype(logits)), size, align_corners)
        labels = upsampled.argmax(1).to(dtype)
        if not with_confidence:
            return labels
        return labels, upsampled.softmax(1).amax(1).float()


def upsampled_logits(logits: Tensor, size: Sequence[int], *, align_corners: bool = False) -> Tensor:
    """By its definition; see :func:`scrn_ops.upsampled_logits`."""
    checks.check_logits(logits)
    size = checks.check_size(size)
    with without_autocast(logits.device.type):
        upsampled = _upsampled(logits.to(compute_dtype(logits)), size, align_corners)
        return upsampled.to(logits.dtype)


def _upsampled(logits: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    for dim, out_size in ((2, size[0]), (3, size[1])):
        in_size = logits.shape[dim]
        position = torch.arange(out_size, device=logits.device)
        # Integers, so that a position is rounded once, at any size.
        if align_corners:
            numerator, divisor = position * (in_size - 1), max(out_size - 1, 1)
        else:
            numerator = ((2 * position + 1) * in_size - out_size).clamp(min=0)
            divisor = 2 * out_size
        cell = torch.div(numerator, divisor, rounding_mode="floor")
        share = (numerator - cell * divisor).to(logits.dtype) / divisor
        if dim == 2:
            share = share[:, None]
        first = logits.index_select(dim, cell)
        second = logits.index_select(dim, (cell + 1).clamp(max=in_size - 1))
        logits = (1 - share) * first + share * second
    return logits
