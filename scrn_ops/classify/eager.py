"""The chain as users write it today: interpolate, then cross_entropy or argmax."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .._core.checks import compute_dtype
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
    """The chain; see :func:`scrn_ops.upsampled_cross_entropy`."""
    checks.check_options(reduction, ignore_index, label_smoothing, align_corners)
    checks.check_cross_entropy(logits, target, weight)
    checks.check_weight_gradient(weight)
    upsampled = _upsampled(logits, target.shape[1:], align_corners)
    loss = F.cross_entropy(
        upsampled,
        target.long(),
        weight=None if weight is None else weight.to(upsampled.dtype),
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )
    return loss.to(compute_dtype(logits))


def upsampled_argmax(
    logits: Tensor,
    size: Sequence[int],
    *,
    align_corners: bool = False,
    with_confidence: bool = False,
    dtype: torch.dtype = torch.int64,
) -> Tensor | tuple[Tensor, Tensor]:
    """The chain; see :func:`scrn_ops.upsampled_argmax`."""
    checks.check_logits(logits)
    checks.check_label_dtype(dtype, logits.shape[1])
    size = checks.check_size(size)
    upsampled = _upsampled(logits.detach(), size, align_corners)
    labels = upsampled.argmax(1).to(dtype)
    if not with_confidence:
        return labels
    return labels, upsampled.float().softmax(1).amax(1)


def upsampled_logits(logits: Tensor, size: Sequence[int], *, align_corners: bool = False) -> Tensor:
    """``interpolate``; see :func:`scrn_ops.upsampled_logits`."""
    checks.check_logits(logits)
    return _upsampled(logits, checks.check_size(size), align_corners)


def _upsampled(logits: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    if logits.shape[0] == 0:  # which torch's interpolate refuses
        return logits.new_zeros((0, logits.shape[1], *size)) + logits.sum()
    return F.interpolate(logits, size=tuple(size), mode="bilinear", align_corners=align_corners)
