"""What tracing, counting and mapping need to know of the operator."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor

from .._core.fake import register_fake
from .._core.flops import register_flop_formula
from .._core.layout import empty
from .._core.vmap import fold_batch_dims, register_vmap
from .checks import check_conv3x3, check_fused_dtype, check_packed

_ops = torch.ops.scrn_ops


@register_fake("conv3x3")
def _(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    packed: Tensor,
    minimum: float | None = None,
    maximum: float | None = None,
) -> Tensor:
    check_fused_dtype("input", input)
    check_conv3x3(input, weight, bias, minimum, maximum)
    check_packed(packed, weight)
    batch, _, height, width = input.shape
    shape = (batch, weight.shape[0], height, width)
    return empty(input, shape, input.dtype, torch.channels_last)


@register_flop_formula(_ops.conv3x3)
def _(input: Any, weight: Any, *_args: Any, **_kwargs: Any) -> int:
    """As torch counts a convolution, whatever the algorithm spares."""
    batch, _, height, width = input
    return int(2 * batch * height * width * prod(weight))


def fold_mapped_dims(
    call: Callable[..., Any], size: int, in_dims: tuple[int | None, ...], args: tuple[Any, ...]
) -> tuple[Any, Any]:
    """:func:`torch.func.vmap`: mapped images are images of one batch."""
    if any(dim is not None for dim in in_dims[1:]):
        raise NotImplementedError(
            "weight, bias, packed: expected none that torch.func.vmap maps; "
            'backend="eager" maps them'
        )
    return fold_batch_dims(lambda input: call(input, *args[1:]), size, in_dims[:1], args[:1])


register_vmap("conv3x3", fold_mapped_dims)
