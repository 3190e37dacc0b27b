"""What torch needs to know of the operators: fake kernels, FLOP formulas, vmap, autocast.

The fake kernels check what the real ones check: an operator called with bad arguments should
fail when it is traced, not when the program runs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._core.autocast import register_autocast
from .._core.checks import check_gradient, compute_dtype
from .._core.fake import register_fake
from .._core.flops import register_flop_formula
from .._core.layout import empty, empty_gradient, memory_format, shape_of
from .._core.vmap import register_vmap
from .checks import check_aggregate_offsets, check_offset_sample, check_semantic_refine

_ops = torch.ops.scrn_ops


def _output_shape(input: Tensor, offset: Tensor) -> tuple[int, ...]:
    return (*input.shape[:2], *offset.shape[2:])


@register_fake("aggregate_offsets")
def _(offset: Tensor, mask: Tensor, mask_is_logits: bool = False) -> Tensor:
    check_aggregate_offsets(offset, mask)
    double = torch.float64 in (offset.dtype, mask.dtype)
    return empty(offset, shape_of(offset), torch.float64 if double else torch.float32)


@torch.library.register_fake("scrn_ops::aggregate_offsets_backward")
def _(
    grad: Tensor,
    offset: Tensor,
    mask: Tensor,
    mask_is_logits: bool,
    need_offset: bool,
    need_mask: bool,
) -> tuple[Tensor, Tensor]:
    check_aggregate_offsets(offset, mask)
    dtype = torch.float64 if torch.float64 in (offset.dtype, mask.dtype) else torch.float32
    check_gradient("grad", grad, shape_of(offset), dtype, offset.device)
    return empty_gradient(offset, need_offset), empty_gradient(mask, need_mask)


@register_fake("offset_sample")
def _(input: Tensor, offset: Tensor, align_corners: bool = True) -> Tensor:
    check_offset_sample(input, offset)
    return empty(input, _output_shape(input, offset), input.dtype, memory_format(input))


@torch.library.register_fake("scrn_ops::offset_sample_backward")
def _(
    grad: Tensor,
    input: Tensor,
    offset: Tensor,
    align_corners: bool,
    need_input: bool,
    need_offset: bool,
    deterministic: bool,
) -> tuple[Tensor, Tensor]:
    check_offset_sample(input, offset)
    shape = _output_shape(input, offset)
    check_gradient("grad", grad, shape, input.dtype, input.device)
    grad_input = empty_gradient(input, need_input, memory_format(input))
    return grad_input, empty_gradient(offset, need_offset)


@register_fake("semantic_refine")
def _(
    low: Tensor,
    offset: Tensor,
    mask: Tensor,
    skip: Tensor | None = None,
    mask_is_logits: bool = False,
    align_corners: bool = False,
) -> tuple[Tensor, Tensor]:
    check_semantic_refine(low, offset, mask, skip)
    output = empty(low, _output_shape(low, offset), low.dtype, memory_format(low))
    return output, empty(low, shape_of(offset), compute_dtype(low))


@torch.library.register_fake("scrn_ops::semantic_refine_backward")
def _(
    grad: Tensor,
    low: Tensor,
    offset: Tensor,
    mask: Tensor,
    aggregated: Tensor,
    mask_is_logits: bool,
    align_corners: bool,
    need_low: bool,
    need_offset: bool,
    need_mask: bool,
    deterministic: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    check_semantic_refine(low, offset, mask, None)
    shape = _output_shape(low, offset)
    check_gradient("grad", grad, shape, low.dtype, low.device)
    coordinates = compute_dtype(low)
    check_gradient("aggregated", aggregated, shape_of(offset), coordinates, low.device)
    grad_low = empty_gradient(low, need_low, memory_format(low))
    return grad_low, empty_gradient(offset, need_offset), empty_gradient(mask, need_mask)


# A multiplication and an addition count one each, everything per pixel of the output: Eq. 3 is
# 9 products for x and for y, its softmax a subtraction, an exponential, an addition and a
# product for each of the 9; Eq. 4 is 4 products per channel of an input that is sampled
# directly and 9 (3 rows of 3) of one that is upsampled on the way.
_AGGREGATION = 2 * 9 * 2
_SOFTMAX = 9 * 4
_DIRECT_TAPS = 4
_UPSAMPLED_TAPS = 9


def _aggregation_flops(mask_shape: Any, mask_is_logits: bool) -> int:
    batch, _, height, width = mask_shape
    per_pixel = _AGGREGATION + (_SOFTMAX if mask_is_logits else 0)
    return int(batch * height * width * per_pixel)


def _sampling_flops(input_shape: Any, offset_shape: Any, per_channel: int) -> int:
    batch, channels = input_shape[:2]
    height, width = offset_shape[2:]
    return int(batch * channels * height * width * per_channel)


@register_flop_formula(_ops.aggregate_offsets)
def _(offset: Any, mask: Any, mask_is_logits: bool = False, *_args: Any, **_kwargs: Any) -> int:
    return _aggregation_flops(mask, mask_is_logits)


@register_flop_formula(_ops.aggregate_offsets_backward)
def _(
    grad: Any,
    offset: Any,
    mask: Any,
    mask_is_logits: bool,
    need_offset: bool,
    need_mask: bool,
    **_kwargs: Any,
) -> int:
    return (need_offset + need_mask) * _aggregation_flops(mask, mask_is_logits)


@register_flop_formula(_ops.offset_sample)
def _(input: Any, offset: Any, *_args: Any, **_kwargs: Any) -> int:
    return _sampling_flops(input, offset, 2 * _DIRECT_TAPS)


@register_flop_formula(_ops.offset_sample_backward)
def _(
    grad: Any,
    input: Any,
    offset: Any,
    align_corners: bool,
    need_input: bool,
    need_offset: bool,
    *_args: Any,
    **_kwargs: Any,
) -> int:
    # By each of x and y the offset's gradient is another sum over the taps.
    return _sampling_flops(input, offset, 2 * _DIRECT_TAPS * (need_input + 2 * need_offset))


@register_flop_formula(_ops.semantic_refine)
def _(
    low: Any,
    offset: Any,
    mask: Any,
    skip: Any = None,
    mask_is_logits: bool = False,
    *_args: Any,
    **_kwargs: Any,
) -> int:
    per_channel = 2 * _UPSAMPLED_TAPS + (0 if skip is None else 1)
    return _sampling_flops(low, offset, per_channel) + _aggregation_flops(mask, mask_is_logits)


@register_flop_formula(_ops.semantic_refine_backward)
def _(
    grad: Any,
    low: Any,
    offset: Any,
    mask: Any,
    aggregated: Any,
    mask_is_logits: bool,
    align_corners: bool,
    need_low: bool,
    need_offset: bool,
    need_mask: bool,
    *_args: Any,
    **_kwargs: Any,
) -> int:
    sums = need_low + 2 * (need_offset or need_mask)
    sampling = _sampling_flops(low, offset, 2 * _UPSAMPLED_TAPS * sums)
    return sampling + (need_offset + need_mask) * _aggregation_flops(mask, mask_is_logits)


for _name in ("aggregate_offsets", "offset_sample", "semantic_refine"):
    register_vmap(_name)
    register_vmap(f"{_name}_backward")

# Features are cast, coordinates never: a half type would round an offset of 40 pixels to a
# multiple of 1/32 or 1/4.
register_autocast("offset_sample", features=(0,))
register_autocast("semantic_refine", features=(0, 3))
