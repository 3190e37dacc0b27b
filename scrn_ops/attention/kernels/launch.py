"""What forward and backward launch alike."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

import torch
import triton
from torch import Tensor

from .. import table
from ..checks import compute_dtype
from . import columns, unary

LOG2_E = 1.4426950408889634
_BLOCK = 64
_SPLITS = 32


def on_device_of(tensor: Tensor) -> AbstractContextManager[object]:
    """Triton launches on the current device."""
    return torch.cuda.device_of(tensor) if tensor.is_cuda else contextlib.nullcontext()


def family(tensor: Tensor) -> int:
    capability = torch.cuda.get_device_capability(tensor.device) if tensor.is_cuda else (9, 0)
    return table.family(capability)


def processors(tensor: Tensor) -> int:
    if not tensor.is_cuda:
        return 1
    return torch.cuda.get_device_properties(tensor.device).multi_processor_count


def precision(dtype: torch.dtype) -> str:
    """Float32 products are exact to float32 unless torch's own may be in TF32."""
    allowed = dtype == torch.float32 and torch.backends.cuda.matmul.fp32_precision == "tf32"
    return "tf32" if allowed else "ieee"


def readable(tensor: Tensor) -> Tensor:
    """With rows or columns dense: any other strides are read element by element."""
    return tensor if 1 in tensor.stride()[1:] else tensor.contiguous()


def sum_parts(x: Tensor, weights: Tensor | None = None) -> Tensor:
    """Sums over parts of the rows of x [B, N, C], weighted by [B, N]: [B, parts, C]."""
    batch, n, channels = x.shape
    split_rows = max(4 * _BLOCK, triton.cdiv(triton.cdiv(n, _SPLITS), _BLOCK) * _BLOCK)
    splits = triton.cdiv(n, split_rows)
    parts = x.new_empty(batch, splits, channels, dtype=compute_dtype(x))
    grid = (triton.cdiv(channels, _BLOCK) * splits * batch,)
    columns.column_sums[grid](
        x,
        parts if weights is None else weights,
        parts,
        n,
        channels,
        split_rows,
        splits,
        *x.stride(),
        WEIGHTED=weights is not None,
        BLOCK_N=_BLOCK,
        BLOCK_C=_BLOCK,
    )
    return parts


def sums(x: Tensor, weights: Tensor | None = None) -> Tensor:
    """Sums over the rows of x [B, N, C], weighted by [B, N]: [B, C]."""
    parts = sum_parts(x, weights)
    batch, splits, channels = parts.shape
    out = parts.new_empty(batch, channels)
    grid = (triton.cdiv(channels, _BLOCK) * batch,)
    columns.add_parts[grid](parts, out, channels, splits, BLOCK_C=_BLOCK)
    return out


def whiten(x: Tensor, factor: float, out: Tensor) -> Tensor:
    """``out`` = (x - its mean over the rows) * factor; columns that x has not are zeros."""
    batch, n, channels = x.shape
    parts = sum_parts(x)
    grid = (triton.cdiv(out.shape[2], _BLOCK) * triton.cdiv(n, _BLOCK) * batch,)
    columns.whiten[grid](
        x,
        parts,
        out,
        n,
        channels,
        out.shape[2],
        parts.shape[1],
        factor,
        *x.stride(),
        *out.stride(),
        BLOCK_N=_BLOCK,
        BLOCK_C=_BLOCK,
    )
    return out


def whitened(
    query: Tensor, key: Tensor, scale: float, width: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Queries and keys without their means, padded to ``width``, such that their product is the
    score in units of log 2."""
    return tuple(  # type: ignore[return-value]
        whiten(readable(x), factor, x.new_empty(*x.shape[:2], width, dtype=dtype))
        for x, factor in ((query, scale * LOG2_E), (key, 1.0))
    )


def unary_weights(logits: Tensor, dtype: torch.dtype) -> Tensor:
    batch, m = logits.shape
    weights = logits.new_empty(batch, m, dtype=dtype)
    block = min(triton.next_power_of_2(m), 4096)
    unary.softmax_rows[(batch,)](logits, weights, m, *logits.stride(), BLOCK=block, num_warps=8)
    return weights
