"""The chain as it is written in PyTorch today: interpolate, unfold, grid_sample, add.

This is what the fused kernels are timed against. Coordinates go through ``grid_sample``'s
normalised grid, whose rounding may move a coordinate that is exactly integral into the
neighbouring cell; apart from the gradient of the offset there, and from points that are not
finite, the results agree with :mod:`scrn_ops.reference`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .._core.checks import autocast_features, compute_dtype
from .checks import check_aggregate_offsets, check_offset_sample, check_semantic_refine

__all__ = ["aggregate_offsets", "offset_sample", "semantic_refine"]


def aggregate_offsets(offset: Tensor, mask: Tensor, *, mask_is_logits: bool = False) -> Tensor:
    """Eq. 3 by ``unfold``; see :func:`scrn_ops.aggregate_offsets`."""
    check_aggregate_offsets(offset, mask)
    double = torch.float64 in (offset.dtype, mask.dtype)
    return _aggregate(offset, mask, mask_is_logits, torch.float64 if double else torch.float32)


def offset_sample(input: Tensor, offset: Tensor, *, align_corners: bool = True) -> Tensor:
    """Eq. 4 by ``grid_sample``; see :func:`scrn_ops.offset_sample`."""
    check_offset_sample(input, offset)
    input = autocast_features(input)
    return _sample(input, offset, align_corners)


def semantic_refine(
    low: Tensor,
    offset: Tensor,
    mask: Tensor,
    skip: Tensor | None = None,
    *,
    mask_is_logits: bool = False,
    align_corners: bool = False,
) -> Tensor:
    """The whole chain; see :func:`scrn_ops.semantic_refine`."""
    check_semantic_refine(low, offset, mask, skip)
    low = autocast_features(low)
    aggregated = _aggregate(offset, mask, mask_is_logits, compute_dtype(low))
    upsampled = F.interpolate(
        low, size=offset.shape[2:], mode="bilinear", align_corners=align_corners
    )
    output = _sample(upsampled, aggregated, align_corners=True)
    if skip is not None:
        output = output + skip.to(output.dtype)
    return output


def _aggregate(offset: Tensor, mask: Tensor, is_logits: bool, dtype: torch.dtype) -> Tensor:
    height, width = offset.shape[2:]
    weights = mask.to(dtype)
    if is_logits:
        weights = weights.softmax(dim=1)
    windows = F.unfold(offset.to(dtype), kernel_size=3, padding=1)
    windows = windows.view(-1, 2, 9, height, width)
    return (windows * weights.unsqueeze(1)).sum(dim=2)


def _sample(input: Tensor, offset: Tensor, align_corners: bool) -> Tensor:
    dtype = compute_dtype(input)
    height, width = offset.shape[2:]
    same_size = input.shape[2] == height and input.shape[3] == width
    if same_size:
        # Both normalisations give the same pixels, but that of align_corners=True divides
        # by zero, and cannot leave the map, where a size is 1.
        align_corners = bool(height > 1 and width > 1)  # numbers of a trace are tensors
    grid = torch.stack(
        (
            _normalised(offset[:, 0], width, -1, align_corners, dtype),
            _normalised(offset[:, 1], height, -2, align_corners, dtype),
        ),
        dim=-1,
    )
    # The grid has to be float32 even for half types, and grid_sample takes one type only.
    output = F.grid_sample(
        input.to(dtype), grid, mode="bilinear", padding_mode="zeros", align_corners=align_corners
    )
    return output.to(input.dtype)


def _normalised(
    offset: Tensor, size: int, dim: int, align_corners: bool, dtype: torch.dtype
) -> Tensor:
    positions = torch.arange(size, dtype=dtype, device=offset.device)
    if dim == -2:
        positions = positions[:, None]
    if not align_corners:
        scale, base = 2 / size, (2 * positions + 1) / size - 1
    elif size > 1:
        scale, base = 2 / (size - 1), positions * (2 / (size - 1)) - 1
    else:
        scale, base = 0.0, positions - 1
    return torch.add(base, offset.to(dtype), alpha=scale)
