"""Argument checks of the family, shared by every backend."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .._core.checks import check_companion, check_dense, check_flag, check_number

REDUCTIONS = ("none", "mean", "sum")
TARGET_DTYPES = (torch.uint8, torch.int32, torch.int64)
LABEL_DTYPES = (torch.uint8, torch.int64)
MOST = 2**31 - 1  # rows or columns


def check_logits(logits: Tensor) -> None:
    check_dense("logits", logits)
    shape = logits.shape
    if len(shape) != 4:
        raise ValueError(
            f"logits: expected 4 dimensions [B, K, h, w], got {len(shape)}: {list(shape)}"
        )
    for i in (1, 2, 3):
        if shape[i] < 1:
            raise ValueError(
                f"logits: expected at least one class, row and column, got {list(shape)}"
            )


def check_cross_entropy(logits: Tensor, target: Tensor, weight: Tensor | None) -> None:
    check_logits(logits)
    if not isinstance(target, Tensor):
        raise TypeError(f"target: expected a Tensor, got {type(target).__name__}")
    if target.dtype not in TARGET_DTYPES:
        raise TypeError(f"target: expected dtype uint8, int32 or int64, got {target.dtype}")
    if target.layout != torch.strided:
        raise NotImplementedError(f"target: expected a dense tensor, got layout {target.layout}")
    shape = target.shape
    if len(shape) != 3:
        raise ValueError(
            f"target: expected 3 dimensions [B, H, W], got {len(shape)}: {list(shape)}"
        )
    if shape[1] < 1 or shape[2] < 1:
        raise ValueError(f"target: expected at least one row and column, got {list(shape)}")
    check_companion("target", target, "logits", logits)
    if weight is None:
        return
    check_dense("weight", weight)
    if weight.dim() != 1 or weight.shape[0] != logits.shape[1]:
        raise ValueError(
            f"weight: expected [{logits.shape[1]}], a number for every class, "
            f"got {list(weight.shape)}"
        )
    if weight.device != logits.device:
        raise ValueError(f"weight: expected logits' device {logits.device}, got {weight.device}")


def check_options(reduction: str, ignore_index: int, label_smoothing: float, align: bool) -> None:
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction: expected 'none', 'mean' or 'sum', got {reduction!r}")
    if isinstance(ignore_index, bool) or not isinstance(ignore_index, int):
        raise TypeError(f"ignore_index: expected an int, got {ignore_index!r}")
    if not -(2**63) <= ignore_index < 2**63:
        raise ValueError(f"ignore_index: expected a number that int64 has, got {ignore_index}")
    check_number("label_smoothing", label_smoothing)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing: expected a number from 0 to 1, got {label_smoothing}")
    check_flag("align_corners", align)


def check_weight_gradient(weight: Tensor | None) -> None:
    if weight is not None and weight.requires_grad:
        raise ValueError(
            "weight: expected a tensor that requires no gradient, which torch does not compute "
            "either; pass weight.detach()"
        )


def check_size(size: Sequence[int]) -> tuple[int, int]:
    if not isinstance(size, Sequence) or len(size) != 2:
        raise ValueError(f"size: expected (height, width), got {size!r}")
    height, width = (_length(value, size) for value in size)
    if height < 1 or width < 1:
        raise ValueError(f"size: expected numbers of at least 1, got {tuple(size)}")
    return height, width


def _length(value: Any, size: Sequence[Any]) -> int:
    """What stands for an int: also numpy's, and the tensors that torch.jit.trace has for sizes."""
    is_bool = isinstance(value, bool) or (isinstance(value, Tensor) and value.dtype == torch.bool)
    if isinstance(value, (int, torch.SymInt)) and not is_bool:
        # Of symbols a bound would be a condition of the traced program.
        if type(value) is int and not torch.compiler.is_compiling() and value > MOST:
            raise ValueError(f"size: expected numbers of at most {MOST}, got {tuple(size)}")
        return value  # type: ignore[return-value]
    if isinstance(value, Tensor) and torch._C._get_tracing_state() is not None:
        return value  # type: ignore[return-value]
    try:
        if not is_bool:
            return operator.index(value)
    except TypeError:  # of a fraction
        pass
    raise TypeError(f"size: expected two ints, got {size!r}")


def check_label_dtype(dtype: torch.dtype, classes: int) -> None:
    if dtype not in LABEL_DTYPES:
        raise ValueError(f"dtype: expected torch.uint8 or torch.int64, got {dtype}")
    if dtype == torch.uint8 and classes > 256:
        raise ValueError(f"dtype: expected torch.int64 for {classes} classes, got {dtype}")
