"""What tracing, counting and mapping need to know of the depthwise operators.

The fake kernels check what the real ones check: an operator called with bad arguments should
fail when it is traced, not when the program runs.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor

from .._core.autocast import register_autocast
from .._core.checks import check_gradient
from .._core.flops import register_flop_formula
from .._core.layout import empty, empty_gradient, memory_format, shape_of
from .._core.vmap import register_vmap
from .checks import (
    DILATED,
    LOCAL,
    check_dilation,
    check_out,
    check_packed,
    check_square,
    check_strip,
)
from .mapping import fold_mapped_dims

_ops = torch.ops.scrn_ops


def _check_multi_scale(input: Tensor, weights: Tensor, n0: int, n1: int, n2: int) -> None:
    for i, n in enumerate((n0, n1, n2)):
        check_strip(f"n{i}", n)
    check_packed(input, weights, LOCAL**2 + 1 + 2 * (n0 + n1 + n2 + 3))


def _check_large_kernel(input: Tensor, weights: Tensor, dilation: int) -> None:
    check_dilation(dilation)
    check_packed(input, weights, LOCAL**2 + 1 + DILATED**2 + 1)


def _check_gelu(input: Tensor, weights: Tensor, size: int) -> None:
    check_square("size", size)
    check_packed(input, weights, size**2 + 1)


def _empty_like(map: Tensor) -> Tensor:
    return empty(map, shape_of(map), map.dtype, memory_format(map))


def _gradients(
    grad: Tensor, input: Tensor, weights: Tensor, need_input: bool, need_weights: bool
) -> tuple[Tensor, Tensor]:
    check_gradient("grad", grad, shape_of(input), input.dtype, input.device)
    grad_input = empty_gradient(input, need_input, memory_format(input))
    return grad_input, empty_gradient(weights, need_weights)


@torch.library.register_fake("scrn_ops::multi_scale_depthwise")
def _(input: Tensor, weights: Tensor, n0: int, n1: int, n2: int) -> Tensor:
    _check_multi_scale(input, weights, n0, n1, n2)
    return _empty_like(input)


@torch.library.register_fake("scrn_ops::multi_scale_depthwise_backward")
def _(
    grad: Tensor,
    input: Tensor,
    weights: Tensor,
    n0: int,
    n1: int,
    n2: int,
    need_input: bool,
    need_weights: bool,
) -> tuple[Tensor, Tensor]:
    _check_multi_scale(input, weights, n0, n1, n2)
    return _gradients(grad, input, weights, need_input, need_weights)


@torch.library.register_fake("scrn_ops::large_kernel_depthwise")
def _(input: Tensor, weights: Tensor, dilation: int) -> Tensor:
    _check_large_kernel(input, weights, dilation)
    return _empty_like(input)


@torch.library.register_fake("scrn_ops::large_kernel_depthwise_backward")
def _(
    grad: Tensor,
    input: Tensor,
    weights: Tensor,
    dilation: int,
    need_input: bool,
    need_weights: bool,
) -> tuple[Tensor, Tensor]:
    _check_large_kernel(input, weights, dilation)
    return _gradients(grad, input, weights, need_input, need_weights)


@torch.library.register_fake("scrn_ops::depthwise_gelu")
def _(input: Tensor, weights: Tensor, size: int) -> Tensor:
    _check_gelu(input, weights, size)
    return _empty_like(input)


@torch.library.register_fake("scrn_ops::depthwise_gelu_out")
def _(input: Tensor, weights: Tensor, size: int, out: Tensor) -> None:
    _check_gelu(input, weights, size)
    check_out(out, input)


@torch.library.register_fake("scrn_ops::depthwise_gelu_backward")
def _(
    grad: Tensor, input: Tensor, weights: Tensor, size: int, need_input: bool, need_weights: bool
) -> tuple[Tensor, Tensor]:
    _check_gelu(input, weights, size)
    return _gradients(grad, input, weights, need_input, need_weights)


def _flops(input: Any, taps: int, directions: int = 1) -> int:
    """As torch counts a convolution: a multiplication and an addition for every tap and element,
    in the backward once for each gradient."""
    return int(2 * prod(input) * taps * directions)


@register_flop_formula(_ops.multi_scale_depthwise)
def _(input: Any, weights: Any, n0: int, n1: int, n2: int, *_args: Any, **_kwargs: Any) -> int:
    return _flops(input, LOCAL**2 + 2 * (n0 + n1 + n2))


@register_flop_formula(_ops.multi_scale_depthwise_backward)
def _(
    grad: Any,
    input: Any,
    weights: Any,
    n0: int,
    n1: int,
    n2: int,
    need_input: bool,
    need_weights: bool,
    **_kwargs: Any,
) -> int:
    return _flops(input, LOCAL**2 + 2 * (n0 + n1 + n2), need_input + need_weights)


@register_flop_formula(_ops.large_kernel_depthwise)
def _(input: Any, weights: Any, *_args: Any, **_kwargs: Any) -> int:
    return _flops(input, LOCAL**2 + DILATED**2)


@register_flop_formula(_ops.large_kernel_depthwise_backward)
def _(
    grad: Any,
    input: Any,
    weights: Any,
    dilation: int,
    need_input: bool,
    need_weights: bool,
    **_kwargs: Any,
) -> int:
    return _flops(input, LOCAL**2 + DILATED**2, need_input + need_weights)


@register_flop_formula(_ops.depthwise_gelu)
def _(input: Any, weights: Any, size: int, *_args: Any, **_kwargs: Any) -> int:
    return _flops(input, size**2)


@register_flop_formula(_ops.depthwise_gelu_out)
def _(input: Any, weights: Any, size: int, *_args: Any, **_kwargs: Any) -> int:
    return _flops(input, size**2)


@register_flop_formula(_ops.depthwise_gelu_backward)
def _(
    grad: Any,
    input: Any,
    weights: Any,
    size: int,
    need_input: bool,
    need_weights: bool,
    **_kwargs: Any,
) -> int:
    return _flops(input, size**2, need_input + need_weights)


for _name in ("multi_scale_depthwise", "large_kernel_depthwise", "depthwise_gelu"):
    register_vmap(_name, fold_mapped_dims)
    register_vmap(f"{_name}_backward", fold_mapped_dims)
    register_autocast(_name, (0,))
