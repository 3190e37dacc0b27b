"""What tracing, counting and mapping need to know of the depthwise operators.

The fake kernels check what the real ones check: an operator called with bad arguments should
fail when it is traced, not when the program runs.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor

from .._core.autocast import register_autocast
from .._core.checks import check_gradient
from .._core.fake import register_fake
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


def _register(name: str, check: Callable[..., None], taps: Callable[..., int]) -> None:
    """The fakes, the FLOP formulas and the rules of a unit and of its backward.

    Args:
        name: of the operator.
        check: takes the input, the packed weights and the unit's sizes.
        taps: takes the sizes, and gives the taps of all its convolutions. As torch counts one, in
            the backward once for each gradient, each is a multiplication and an addition.
    """

    @register_fake(name)
    def _(input: Tensor, weights: Tensor, *sizes: int) -> Tensor:
        check(input, weights, *sizes)
        return empty(input, shape_of(input), input.dtype, memory_format(input))

    @torch.library.register_fake(f"scrn_ops::{name}_backward")
    def _(grad: Tensor, input: Tensor, weights: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
        *sizes, need_input, need_weights = rest
        check(input, weights, *sizes)
        check_gradient("grad", grad, shape_of(input), input.dtype, input.device)
        grad_input = empty_gradient(input, need_input, memory_format(input))
        return grad_input, empty_gradient(weights, need_weights)

    @register_flop_formula(getattr(_ops, name))
    def _(input: Any, weights: Any, *sizes: Any, **_kwargs: Any) -> int:
        return int(2 * prod(input) * taps(*sizes))

    @register_flop_formula(getattr(_ops, f"{name}_backward"))
    def _(grad: Any, input: Any, weights: Any, *rest: Any, **_kwargs: Any) -> int:
        *sizes, need_input, need_weights = rest
        return int(2 * prod(input) * taps(*sizes) * (need_input + need_weights))

    register_vmap(name, fold_mapped_dims)
    register_vmap(f"{name}_backward", fold_mapped_dims)
    register_autocast(name, (0,))


_register("multi_scale_depthwise", _check_multi_scale, lambda *n: LOCAL**2 + 2 * sum(n))
_register("large_kernel_depthwise", _check_large_kernel, lambda dilation: LOCAL**2 + DILATED**2)
_register("depthwise_gelu", _check_gelu, lambda size: size**2)


@torch.library.register_fake("scrn_ops::depthwise_gelu_out")
def _(input: Tensor, weights: Tensor, size: int, out: Tensor) -> None:
    _check_gelu(input, weights, size)
    check_out(out, input)


@register_flop_formula(_ops.depthwise_gelu_out)
def _(input: Any, weights: Any, size: int, *_args: Any, **_kwargs: Any) -> int:
    return int(2 * prod(input) * size**2)
