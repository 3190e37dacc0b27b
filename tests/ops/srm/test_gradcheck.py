"""Derivatives in float64 against finite differences of nothing but the op itself."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import scrn_ops

from ..common.maps import DENSE_LAYOUTS, F64, leaf
from .cases import Size, refine_inputs, sample_inputs

SIZES = (
    Size(1, 2, (3, 3), (5, 4)),
    Size(2, 1, (2, 3), (4, 6)),
    Size(1, 3, (3, 2), (3, 2)),
    Size(1, 1, (1, 2), (1, 3)),
)
DOWN = Size(1, 2, (5, 4), (3, 3))


@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
@pytest.mark.parametrize("with_skip", [False, True], ids=["alone", "skip"])
@pytest.mark.parametrize("is_logits", [False, True], ids=["weights", "logits"])
@pytest.mark.parametrize("align_corners", [False, True], ids=["half_pixel", "align_corners"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_semantic_refine(kernels, size, align_corners, is_logits, with_skip, layout):
    inputs = refine_inputs(
        size, F64, kernels, layout=layout, coordinate_dtype=F64, is_logits=is_logits, spread=0.9
    )
    op = partial(scrn_ops.semantic_refine, mask_is_logits=is_logits, align_corners=align_corners)
    assert gradcheck(op, inputs if with_skip else inputs[:3])


@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
@pytest.mark.parametrize("align_corners", [False, True], ids=["half_pixel", "align_corners"])
@pytest.mark.parametrize("size", [*SIZES, DOWN], ids=str)
def test_offset_sample(kernels, size, align_corners, layout):
    inputs = sample_inputs(
        size, F64, kernels,
        align_corners=align_corners, layout=layout, coordinate_dtype=F64, spread=0.9,
    )  # fmt: skip
    assert gradcheck(partial(scrn_ops.offset_sample, align_corners=align_corners), inputs)


@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
@pytest.mark.parametrize("is_logits", [False, True], ids=["weights", "logits"])
def test_aggregate_offsets(kernels, is_logits, layout):
    values = torch.randn(2, 11, 3, 4, dtype=F64)
    inputs = [leaf(values[:, :2], F64, kernels, layout), leaf(values[:, 2:], F64, kernels, layout)]
    assert gradcheck(partial(scrn_ops.aggregate_offsets, mask_is_logits=is_logits), inputs)


@pytest.mark.parametrize("function", ["semantic_refine", "offset_sample", "aggregate_offsets"])
def test_the_reference_is_twice_differentiable(device, function):
    size = Size(1, 1, (2, 2), (3, 3))
    inputs = refine_inputs(size, F64, device, coordinate_dtype=F64, spread=0.7)
    arguments = {
        "semantic_refine": inputs,
        "offset_sample": sample_inputs(
            size, F64, device, align_corners=True, coordinate_dtype=F64, spread=0.7
        ),
        "aggregate_offsets": inputs[1:3],
    }[function]
    op = partial(getattr(scrn_ops, function), backend="reference")
    assert gradcheck(op, arguments, check_forward_ad=True)
    assert gradgradcheck(op, arguments, fast_mode=True)
