"""Argument checks of the refinement ops, shared by every backend."""

from __future__ import annotations

import torch
from torch import Tensor

from .._core.checks import (
    check_channels,
    check_companion,
    check_coordinate_dtype,
    check_map,
    check_same_dtype,
    check_same_size,
)


def check_aggregate_offsets(offset: Tensor, mask: Tensor) -> None:
    _check_offset_and_mask(offset, check_map("offset", offset), mask)


def check_offset_sample(input: Tensor, offset: Tensor) -> None:
    check_map("input", input)
    check_channels("offset", check_map("offset", offset), 2)
    check_companion("offset", offset, "input", input)
    check_coordinate_dtype("offset", offset, "input", input)


def check_semantic_refine(low: Tensor, offset: Tensor, mask: Tensor, skip: Tensor | None) -> None:
    shape, size = check_map("low", low), check_map("offset", offset)
    _check_offset_and_mask(offset, size, mask)
    check_companion("offset", offset, "low", low)
    check_coordinate_dtype("offset", offset, "low", low)
    check_coordinate_dtype("mask", mask, "low", low)
    _check_upsampled(shape, "offset", size)
    if skip is not None:
        skip_shape = check_map("skip", skip)
        if skip_shape[1] != shape[1]:
            raise ValueError(f"skip: expected low's {shape[1]} channels, got {skip_shape[1]}")
        check_companion("skip", skip, "low", low)
        check_same_size("skip", skip_shape, "offset", size)
        check_same_dtype("skip", skip, "low", low)


def check_low_and_high(low: Tensor, high: Tensor) -> None:
    """Of a module's two inputs, each of which was checked."""
    check_companion("high", high, "low", low)
    check_same_dtype("high", high, "low", low)
    _check_upsampled(low.shape, "high", high.shape)


def _check_offset_and_mask(offset: Tensor, size: torch.Size, mask: Tensor) -> None:
    """``size``: that of ``offset``."""
    check_channels("offset", size, 2)
    shape = check_map("mask", mask)
    check_channels("mask", shape, 9)
    check_companion("mask", mask, "offset", offset)
    check_same_size("mask", shape, "offset", size)


def _check_upsampled(low: torch.Size, other_name: str, other: torch.Size) -> None:
    _, _, h, w = low
    _, _, height, width = other
    if h > height or w > width:
        raise ValueError(
            f"low: expected a map no larger than {other_name}'s {height}x{width}, got {h}x{w}; "
            f"low is upsampled to the size of {other_name}"
        )
