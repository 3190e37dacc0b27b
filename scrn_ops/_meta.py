"""What tracing and counting need to know of the operators: fake kernels and FLOP formulas.

The fake kernels check what the real ones check: an operator called with bad arguments should
fail when it is traced, not when the program runs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import _checks
from ._flops import register_flop_formula

_ops = torch.ops.scrn_ops


def memory_format(map: Tensor) -> torch.memory_format:
    """The layout of the outputs that follow ``map``: torch's ``suggest_memory_format``."""
    sizes, strides = map.shape, map.stride()
    if strides[1] == 0:
        return torch.contiguous_format
    smallest = 0
    for d in (1, 3, 2, 0):
        if sizes[d] == 0 or strides[d] < smallest or (d == 0 and smallest == strides[1]):
            return torch.contiguous_format
        smallest = strides[d] * sizes[d]
    return torch.channels_last


def _empty(like: Tensor, shape: tuple[int, ...], dtype: torch.dtype, layout: Any = None) -> Tensor:
    return torch.empty(
        shape,
        dtype=dtype,
        device=like.device,
        memory_format=torch.contiguous_format if layout is None else layout,
    )


def _shape(map: Tensor) -> tuple[int, ...]:
    return tuple(map.shape)


def _output_shape(input: Tensor, offset: Tensor) -> tuple[int, ...]:
    return (*input.shape[:2], *offset.shape[2:])


def _coordinate_dtype(features: Tensor) -> torch.dtype:
    return torch.float64 if features.dtype == torch.float64 else torch.float32


def _gradient(of: Tensor, wanted: bool, layout: Any = None) -> Tensor:
    return _empty(of, _shape(of), of.dtype, layout) if wanted else of.new_empty(0)


@torch.library.register_fake("scrn_ops::aggregate_offsets")
def _(offset: Tensor, mask: Tensor, mask_is_logits: bool = False) -> Tensor:
    _checks.check_aggregate_offsets(offset, mask)
    double = torch.float64 in (offset.dtype, mask.dtype)
    return _empty(offset, _shape(offset), torch.float64 if double else torch.float32)


@torch.library.register_fake("scrn_ops::aggregate_offsets_backward")
def _(
    grad: Tensor,
    offset: Tensor,
    mask: Tensor,
    mask_is_logits: bool,
    need_offset: bool,
    need_mask: bool,
) -> tuple[Tensor, Tensor]:
    _checks.check_aggregate_offsets(offset, mask)
    dtype = torch.float64 if torch.float64 in (offset.dtype, mask.dtype) else torch.float32
    _checks.check_gradient("grad", grad, _shape(offset), dtype, offset.device)
    return _gradient(offset, need_offset), _gradient(mask, need_mask)


@torch.library.register_fake("scrn_ops::offset_sample")
def _(input: Tensor, offset: Tensor, align_corners: bool = True) -> Tensor:
    _checks.check_offset_sample(input, offset)
    return _empty(input, _output_shape(input, offset), input.dtype, memory_format(input))


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
    _checks.check_offset_sample(input, offset)
    shape = _output_shape(input, offset)
    _checks.check_gradient("grad", grad, shape, input.dtype, input.device)
    return _gradient(input, need_input, memory_format(input)), _gradient(offset, need_offset)


@torch.library.register_fake("scrn_ops::semantic_refine")
def _(
    low: Tensor,
    offset: Tensor,
    mask: Tensor,
    skip: Tensor | None = None,
    mask_is_logits: bool = False,
    align_corners: bool = False,
) -> tuple[Tensor, Tensor]:
    _checks.check_semantic_refine(low, offset, mask, skip)
    output = _empty(low, _output_shape(low, offset), low.dtype, memory_format(low))
    return output, _empty(low, _shape(offset), _coordinate_dtype(low))


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
    _checks.check_semantic_refine(low, offset, mask, None)
    shape = _output_shape(low, offset)
    _checks.check_gradient("grad", grad, shape, low.dtype, low.device)
    coordinates = _coordinate_dtype(low)
    _checks.check_gradient("aggregated", aggregated, _shape(offset), coordinates, low.device)
    grad_low = _gradient(low, need_low, memory_format(low))
    return grad_low, _gradient(offset, need_offset), _gradient(mask, need_mask)


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
