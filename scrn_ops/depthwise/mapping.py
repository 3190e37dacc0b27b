"""torch.func.vmap of the depthwise units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from .._core.vmap import fold_batch_dims


def fold_mapped_dims(
    call: Callable[..., Any],
    size: int,
    in_dims: tuple[int | None, ...],
    args: tuple[Any, ...],
) -> tuple[Any, Any]:
    """:func:`torch.func.vmap` of an operator: with weights that are mapped, or where their gradient
    is wanted, the mapped dimension becomes channels, since every channel is on its own; otherwise
    images of the batch."""
    weights = next(i for i, arg in enumerate(args) if isinstance(arg, Tensor) and arg.dim() < 4)
    is_backward = weights == 2
    shared = in_dims[weights] is None and not (is_backward and args[-1])
    if shared:
        kept = args[weights]

        def with_weights(*rest: Any) -> Any:
            return call(*rest[:weights], kept, *rest[weights:])

        return fold_batch_dims(
            with_weights,
            size,
            (*in_dims[:weights], *in_dims[weights + 1 :]),
            (*args[:weights], *args[weights + 1 :]),
        )

    def fold(arg: Any, dim: int | None) -> Any:
        if not isinstance(arg, Tensor):
            return arg
        mapped = arg.expand(size, *arg.shape) if dim is None else arg.movedim(dim, 0)
        return mapped.flatten(0, 1) if mapped.dim() == 3 else mapped.movedim(0, 1).flatten(1, 2)

    unmapped = [s for d, s in enumerate(args[weights].shape) if d != in_dims[weights]]
    channels = unmapped[0]

    def unfold(result: Tensor) -> tuple[Tensor, int | None]:
        if result.dim() == 1:  # what stands for a result that was not asked for
            return result, None
        if result.dim() == 2:
            return result.unflatten(0, (size, channels)), 0
        return result.unflatten(1, (size, channels)).movedim(1, 0), 0

    results = call(*(fold(arg, dim) for arg, dim in zip(args, in_dims, strict=True)))
    if isinstance(results, Tensor):
        return unfold(results)
    outputs, out_dims = zip(*(unfold(result) for result in results), strict=True)
    return outputs, out_dims
