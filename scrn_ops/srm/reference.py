"""The definition of the ops in plain PyTorch.

Pixel coordinates and gathers, no ``grid_sample``: the cell of an exactly integral coordinate
``s`` is ``floor(s)``, and its slope there is that cell's. The upsampling of
:func:`semantic_refine` is formed. Everything is computed in float64 for float64 features and
in float32 otherwise, and is differentiable as often as wanted, in every mode of autograd.
Slow and hungry for memory: meant for ``gradcheck``, for tests, and for second derivatives.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .._core.checks import autocast_features, compute_dtype
from .checks import check_aggregate_offsets, check_offset_sample, check_semantic_refine

__all__ = ["aggregate_offsets", "offset_sample", "semantic_refine"]


class _Points(NamedTuple):
    """Where every output pixel samples along one dimension."""

    cell: Tensor  # int64, any value where `inside` is false
    fraction: Tensor  # in [0, 1): position within the cell
    inside: Tensor


def aggregate_offsets(offset: Tensor, mask: Tensor, *, mask_is_logits: bool = False) -> Tensor:
    """Eq. 3 by its definition; see :func:`scrn_ops.aggregate_offsets`."""
    check_aggregate_offsets(offset, mask)
    double = torch.float64 in (offset.dtype, mask.dtype)
    return _aggregate(offset, mask, mask_is_logits, torch.float64 if double else torch.float32)


def offset_sample(input: Tensor, offset: Tensor, *, align_corners: bool = True) -> Tensor:
    """Eq. 4 by its definition; see :func:`scrn_ops.offset_sample`."""
    check_offset_sample(input, offset)
    input = autocast_features(input)
    dtype = compute_dtype(input)
    in_size, out_size = input.shape[2:], offset.shape[2:]
    same_size = tuple(in_size) == tuple(out_size)
    axes = [
        _points(
            offset[:, 1 - d].to(dtype),
            in_size[d],
            (1, 0, 1) if same_size else _ratio(in_size[d], out_size[d], align_corners),
            dim=d - 2,
        )
        for d in (0, 1)
    ]
    return _sample(input.to(dtype), *axes).to(input.dtype)


def semantic_refine(
    low: Tensor,
    offset: Tensor,
    mask: Tensor,
    skip: Tensor | None = None,
    *,
    mask_is_logits: bool = False,
    align_corners: bool = False,
) -> Tensor:
    """Upsampling, Eq. 3, Eq. 4 and the skip, one after the other; see
    :func:`scrn_ops.semantic_refine`."""
    check_semantic_refine(low, offset, mask, skip)
    low = autocast_features(low)
    dtype = compute_dtype(low)
    height, width = offset.shape[2:]
    aggregated = _aggregate(offset, mask, mask_is_logits, dtype)
    upsampled = _upsample(low.to(dtype), height, width, align_corners)
    rows = _points(aggregated[:, 1], height, (1, 0, 1), dim=-2)
    columns = _points(aggregated[:, 0], width, (1, 0, 1), dim=-1)
    output = _sample(upsampled, rows, columns)
    if skip is not None:
        output = output + autocast_features(skip).to(dtype)
    return output.to(low.dtype)


def _aggregate(offset: Tensor, mask: Tensor, is_logits: bool, dtype: torch.dtype) -> Tensor:
    height, width = offset.shape[2:]
    weights = mask.to(dtype)
    if is_logits:
        weights = weights.softmax(dim=1)
    padded = F.pad(offset.to(dtype), (1, 1, 1, 1))
    windows = [
        padded[:, :, dy : dy + height, dx : dx + width] * weights[:, k : k + 1]
        for k, (dy, dx) in enumerate((dy, dx) for dy in range(3) for dx in range(3))
    ]
    return torch.stack(windows).sum(0)


def _ratio(in_size: int, out_size: int, align_corners: bool) -> tuple[int, int, int]:
    """mul, add, den: output index i lies at (i * mul + add) / den on the input's grid."""
    if align_corners:
        return (in_size - 1, 0, out_size - 1) if out_size > 1 else (0, 0, 1)
    return 2 * in_size, in_size - out_size, 2 * out_size


def _split_index(
    out_size: int, ratio: tuple[int, int, int], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Cell and fraction of every output index. The division is one of integers, so that a
    coordinate that is integral in exact arithmetic is so here, too."""
    mul, add, den = ratio
    numerator = torch.arange(out_size, device=device) * mul + add
    cell = torch.div(numerator, den, rounding_mode="floor")
    return cell, (numerator - cell * den).to(dtype) / den


def _points(offset: Tensor, in_size: int, ratio: tuple[int, int, int], dim: int) -> _Points:
    cell, fraction = _split_index(offset.shape[dim], ratio, offset.dtype, offset.device)
    if dim == -2:
        cell, fraction = cell[:, None], fraction[:, None]
    scale = ratio[0] / ratio[2]
    shift = fraction + offset * scale
    # Relative to the cell: the sum of index and offset would lose the fraction's last digits.
    # NaN is outside, since every comparison with it is false.
    inside = (shift >= -1 - cell) & (shift < in_size - cell)
    shift = torch.where(inside, fraction + torch.where(inside, offset, 0) * scale, 0)
    whole = shift.detach().floor()
    return _Points(cell + whole.to(torch.int64), shift - whole, inside)


def _sample(input: Tensor, rows: _Points, columns: _Points) -> Tensor:
    height, width = input.shape[2:]
    inside = rows.inside & columns.inside

    def corner(dy: int, dx: int) -> Tensor:
        y, x = rows.cell + dy, columns.cell + dx
        valid = inside & (y >= 0) & (y < height) & (x >= 0) & (x < width)
        index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
        index = index.flatten(1).unsqueeze(1).expand(-1, input.shape[1], -1)
        values = input.flatten(2).gather(2, index).unflatten(2, inside.shape[1:])
        return torch.where(valid.unsqueeze(1), values, 0)

    fy, fx = rows.fraction.unsqueeze(1), columns.fraction.unsqueeze(1)
    top = (1 - fx) * corner(0, 0) + fx * corner(0, 1)
    bottom = (1 - fx) * corner(1, 0) + fx * corner(1, 1)
    return (1 - fy) * top + fy * bottom


def _upsample(input: Tensor, height: int, width: int, align_corners: bool) -> Tensor:
    for dim, out_size in ((2, height), (3, width)):
        in_size = input.shape[dim]
        ratio = _ratio(in_size, out_size, align_corners)
        cell, fraction = _split_index(out_size, ratio, input.dtype, input.device)
        fraction = torch.where(cell < 0, 0, fraction)  # replicated border
        cell = cell.clamp(min=0)
        if dim == 2:
            fraction = fraction[:, None]
        first = input.index_select(dim, cell)
        second = input.index_select(dim, (cell + 1).clamp(max=in_size - 1))
        input = (1 - fraction) * first + fraction * second
    return input
