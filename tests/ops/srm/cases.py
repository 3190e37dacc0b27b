"""Inputs that the tests of the SRM's ops share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

import scrn_ops.reference

from ..common.maps import F32, F64, generator, leaf, normal


@dataclass(frozen=True)
class Size:
    """Batch, channels, and the sizes of input and output."""

    batch: int
    channels: int
    low: tuple[int, int]
    high: tuple[int, int]

    def __str__(self) -> str:
        (h, w), (height, width) = self.low, self.high
        return f"{self.batch}x{self.channels}x{h}x{w}-{height}x{width}"


# Exact doubling, other ratios, equal sizes, sizes of 1; channels around and beyond the widths
# of vectors and tiles.
REFINE_SIZES = (
    Size(2, 5, (4, 4), (8, 8)),
    Size(1, 33, (23, 12), (45, 24)),
    Size(2, 8, (3, 9), (5, 17)),
    Size(1, 16, (7, 9), (7, 9)),
    Size(1, 1, (6, 5), (13, 16)),
    Size(3, 4, (1, 1), (1, 1)),
    Size(1, 3, (1, 1), (4, 7)),
    Size(1, 2, (1, 6), (1, 35)),
    Size(2, 3, (6, 1), (35, 1)),
    Size(1, 130, (5, 6), (10, 12)),
)
# Sampling also goes down in size.
SAMPLE_SIZES = (*REFINE_SIZES, Size(2, 6, (9, 8), (4, 5)), Size(1, 3, (1, 8), (5, 3)))


def refine_inputs(
    size: Size,
    dtype: torch.dtype,
    device: str,
    *,
    layout: str = "nchw",
    coordinate_dtype: torch.dtype = F32,
    is_logits: bool = True,
    spread: float = 2.0,
    seed: int = 0,
) -> list[Tensor]:
    """low, offset, mask, skip, with no sampling point so near to a cell's border that rounding
    could carry it over."""
    (h, w), (height, width) = size.low, size.high
    for attempt in range(100):
        numbers = generator(size, seed, attempt)
        low = leaf(normal((size.batch, size.channels, h, w), numbers), dtype, device, layout)
        skip_values = normal((size.batch, size.channels, height, width), numbers)
        skip = leaf(skip_values, dtype, device, layout)
        offset_values = normal((size.batch, 2, height, width), numbers) * spread
        mask_values = normal((size.batch, 9, height, width), numbers)
        if not is_logits:
            mask_values = mask_values / 3
        offset = leaf(offset_values, coordinate_dtype, device)
        mask = leaf(mask_values, coordinate_dtype, device)
        aggregated = scrn_ops.reference.aggregate_offsets(
            offset.detach().cpu().double(), mask.detach().cpu().double(), mask_is_logits=is_logits
        )
        if (aggregated - aggregated.round()).abs().min() > 3e-6:
            return [low, offset, mask, skip]
    raise AssertionError("no inputs found that stay off the borders of cells")


def sample_inputs(
    size: Size,
    dtype: torch.dtype,
    device: str,
    *,
    align_corners: bool,
    layout: str = "nchw",
    coordinate_dtype: torch.dtype = F32,
    spread: float = 2.0,
) -> list[Tensor]:
    """input, offset: as refine_inputs."""
    (h, w), (height, width) = size.low, size.high
    numbers = generator(size, align_corners)
    input = leaf(normal((size.batch, size.channels, h, w), numbers), dtype, device, layout)
    offset = (normal((size.batch, 2, height, width), numbers) * spread).to(coordinate_dtype)
    for _ in range(100):
        near = near_border(offset.double(), size.low, align_corners)
        if not near.any():
            return [input, leaf(offset, coordinate_dtype, device)]
        offset = torch.where(near, offset + 0.3, offset)
    raise AssertionError("no inputs found that stay off the borders of cells")


def near_border(offset: Tensor, in_size: tuple[int, int], align_corners: bool) -> Tensor:
    positions = sampling_positions(offset, in_size, align_corners)
    near = (positions - positions.round()).abs() < 1e-5
    for channel, dim, size in ((0, 3, in_size[1]), (1, 2, in_size[0])):
        if align_corners and tuple(offset.shape[2:]) != in_size and 1 in (size, offset.shape[dim]):
            near[:, channel] = False  # the coordinate is 0, whatever the offset
    return near


def sampling_positions(offset: Tensor, in_size: tuple[int, int], align_corners: bool) -> Tensor:
    """[B, 2, H, W]: where in the input every pixel samples, by the formulas of the docs."""
    height, width = offset.shape[2:]
    x = torch.arange(width, dtype=F64) + offset[:, 0]
    y = torch.arange(height, dtype=F64)[:, None] + offset[:, 1]
    if (height, width) != in_size:
        h, w = in_size
        if align_corners:
            x = x * ((w - 1) / (width - 1) if width > 1 else 0)
            y = y * ((h - 1) / (height - 1) if height > 1 else 0)
        else:
            x, y = (x + 0.5) * w / width - 0.5, (y + 0.5) * h / height - 0.5
    return torch.stack((x, y), 1)
