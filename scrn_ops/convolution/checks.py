"""Argument checks shared by every backend: cheap, and traceable by torch.compile."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .._core import checks
from .packing import packed_shape


def check_weight(weight: Tensor) -> None:
    checks.check_dense("weight", weight)
    if weight.dim() != 4 or weight.shape[2] != 3 or weight.shape[3] != 3:
        raise ValueError(f"weight: expected [F, C, 3, 3], got {list(weight.shape)}")


def check_conv3x3(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    minimum: float | None,
    maximum: float | None,
) -> None:
    channels = checks.check_map("input", input)[1]
    check_weight(weight)
    if weight.shape[1] != channels:
        raise ValueError(
            f"weight: expected [F, {channels}, 3, 3] for input's {channels} channels, got "
            f"{list(weight.shape)}"
        )
    _check_companion("weight", weight, input)
    if bias is not None:
        checks.check_dense("bias", bias)
        if tuple(bias.shape) != (weight.shape[0],):
            raise ValueError(f"bias: expected [{weight.shape[0]}], got {list(bias.shape)}")
        _check_companion("bias", bias, input)
    largest = torch.finfo(input.dtype).max
    for name, bound in (("minimum", minimum), ("maximum", maximum)):
        if bound is None:
            continue
        checks.check_number(name, bound)
        # Neither NaN nor what becomes infinite.
        if not (-largest <= bound <= largest or bound in (math.inf, -math.inf)):
            raise ValueError(f"{name}: expected a number of {input.dtype}, got {bound}")


def check_fused_dtype(name: str, tensor: Tensor) -> None:
    checks.check_dense(name, tensor)
    if tensor.dtype != torch.float32:
        raise NotImplementedError(
            f"{name}: expected float32, the only type of the fused kernel, got {tensor.dtype}; "
            'conv3x3(..., backend="eager") takes every type, and no packed weight'
        )


def check_packed(packed: Tensor, weight: Tensor) -> None:
    checks.check_dense("packed", packed)
    if tuple(packed.shape) != (expected := packed_shape(weight)):
        raise ValueError(
            f"packed: expected {list(expected)}, as pack_conv3x3(weight) makes it, got "
            f"{list(packed.shape)}"
        )
    _check_companion("packed", packed, weight, "weight")


def _check_companion(name: str, tensor: Tensor, other: Tensor, other_name: str = "input") -> None:
    checks.check_same_device(name, tensor, other_name, other)
    # Exactly, as the kernel asks it: also under autocast.
    if tensor.dtype != other.dtype:
        raise TypeError(f"{name}: expected {other_name}'s dtype {other.dtype}, got {tensor.dtype}")
