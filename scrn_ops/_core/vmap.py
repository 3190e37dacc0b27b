"""torch.func.vmap: the mapped dimension is folded into the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def fold_batch_dims(
    call: Callable[..., Any],
    size: int,
    in_dims: tuple[int | None, ...],
    args: tuple[Any, ...],
) -> tuple[Any, Any]:
    """``call`` on tensors [size * B, ...]: its results as [size, B, ...], and their dims."""
    # Not by dividing the results' first dimension: the mapped one may be 0.
    batch = args[0].shape[1 if in_dims[0] == 0 else 0]

    def fold(arg: Any, dim: int | None) -> Any:
        if not isinstance(arg, Tensor):
            return arg
        mapped = arg.expand(size, *arg.shape) if dim is None else arg.movedim(dim, 0)
        return mapped.flatten(0, 1)

    def unfold(result: Tensor) -> tuple[Tensor, int | None]:
        if result.dim() == 1:  # what stands for a result that was not asked for
            return result, None
        return result.unflatten(0, (size, batch)), 0

    results = call(*(fold(arg, dim) for arg, dim in zip(args, in_dims, strict=True)))
    if isinstance(results, Tensor):
        return unfold(results)
    outputs, out_dims = zip(*(unfold(result) for result in results), strict=True)
    return outputs, out_dims


def register_vmap(name: str, fold: Callable[..., tuple[Any, Any]] = fold_batch_dims) -> None:
    """``fold`` has the arguments and results of :func:`fold_batch_dims`."""
    operator = getattr(torch.ops.scrn_ops, name).default

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
        return fold(operator, info.batch_size, in_dims, args)

    torch.library.register_vmap(f"scrn_ops::{name}", rule)
