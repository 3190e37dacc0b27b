"""The reference itself, against the equations written as loops, and the eager chain against it."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from scrn_ops import eager, reference

from ..common.maps import BF16, DENSE_LAYOUTS, F16, F32, F64
from .cases import (
    REFINE_SIZES,
    SAMPLE_SIZES,
    Size,
    refine_inputs,
    sample_inputs,
    sampling_positions,
)


def equation_3(offset, mask):
    _, _, height, width = offset.shape
    result = torch.zeros_like(offset)
    for y in range(height):
        for x in range(width):
            for k in range(9):
                qy, qx = y + k // 3 - 1, x + k % 3 - 1
                if 0 <= qy < height and 0 <= qx < width:
                    result[:, :, y, x] += mask[:, k, y, x, None] * offset[:, :, qy, qx]
    return result


def equation_4(input, points):
    """points [B, 2, H, W]: absolute coordinates. A tent over every pixel of the input."""
    h, w = input.shape[2:]
    rows = (1 - (points[:, 1, :, :, None] - torch.arange(h)).abs()).clamp(min=0)
    columns = (1 - (points[:, 0, :, :, None] - torch.arange(w)).abs()).clamp(min=0)
    return torch.einsum("bchw,byxh,byxw->bcyx", input, rows, columns)


@pytest.mark.parametrize("is_logits", [False, True])
def test_aggregation(is_logits):
    offset, mask = torch.randn(2, 2, 5, 4, dtype=F64), torch.randn(2, 9, 5, 4, dtype=F64)
    expected = equation_3(offset, mask.softmax(1) if is_logits else mask)
    for module in (reference, eager):
        result = module.aggregate_offsets(offset, mask, mask_is_logits=is_logits)
        torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", SAMPLE_SIZES, ids=str)
def test_sampling(size, align_corners):
    input, offset = sample_inputs(
        size, F64, "cpu", align_corners=align_corners, coordinate_dtype=F64
    )
    points = sampling_positions(offset, size.low, align_corners)
    expected = equation_4(input, points)
    for module in (reference, eager):
        result = module.offset_sample(input, offset, align_corners=align_corners)
        torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", REFINE_SIZES, ids=str)
def test_refinement(size, align_corners):
    low, offset, mask, skip = refine_inputs(size, F64, "cpu", coordinate_dtype=F64)
    aggregated = equation_3(offset, mask.softmax(1))
    upsampled = F.interpolate(low, size=size.high, mode="bilinear", align_corners=align_corners)
    points = sampling_positions(aggregated, size.high, align_corners)
    expected = equation_4(upsampled, points) + skip
    for module in (reference, eager):
        result = module.semantic_refine(
            low, offset, mask, skip, mask_is_logits=True, align_corners=align_corners
        )
        torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [4, 8, 23, 45, 64, 97, 256, 1025])
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_integral_coordinates_stay_in_their_cell(size, dtype):
    """At every pixel, for zero and for whole offsets: the slope is that of the cell floor(s).
    grid_sample gets up to a quarter of them wrong."""
    input = torch.randn(1, 1, 1, size, dtype=dtype)
    row = torch.cat((input[0, 0, 0], torch.zeros(1, dtype=dtype)))
    slopes = row[1:] - row[:-1]
    for shift in (0, 1, -2):
        offset = torch.zeros(1, 2, 1, size, dtype=dtype)
        offset[:, 0] = shift
        offset.requires_grad_()
        output = reference.offset_sample(input, offset)
        (gradient,) = torch.autograd.grad(output.sum(), offset)
        inside = slice(max(0, -shift), size - max(0, shift))
        moved = slice(max(0, shift), size - max(0, -shift))
        assert torch.equal(output[0, 0, 0, inside], input[0, 0, 0, moved])
        assert torch.equal(gradient[0, 0, 0, inside], slopes[moved])


@pytest.mark.parametrize(("low", "high"), [(4, 8), (8, 15), (23, 45), (3, 5), (5, 3), (9, 9)])
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_integral_coordinates_after_scaling(low, high, align_corners, dtype):
    """Where the ratio makes a coordinate integral in exact arithmetic, so is it here."""
    input = torch.randn(1, 1, 1, low, dtype=dtype)
    offset = torch.zeros(1, 2, 1, high, dtype=dtype, requires_grad=True)
    output = reference.offset_sample(input, offset, align_corners=align_corners)
    (gradient,) = torch.autograd.grad(output.sum(), offset)
    found = 0
    for x in range(high):
        numerator, denominator = (
            (x * (low - 1), high - 1) if align_corners else (2 * x * low + low - high, 2 * high)
        )
        if low == high or numerator % denominator:
            continue
        s, scale = numerator // denominator, (low - 1) / (high - 1) if align_corners else low / high
        after = input[0, 0, 0, s + 1] if s + 1 < low else 0
        assert output[0, 0, 0, x] == input[0, 0, 0, s]
        torch.testing.assert_close(gradient[0, 0, 0, x], (after - input[0, 0, 0, s]) * scale)
        found += 1
    assert found or not align_corners or low == high


@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
@pytest.mark.parametrize("module", [reference, eager], ids=["reference", "eager"])
def test_half_types_are_computed_in_float32(module, dtype):
    low, offset, mask, skip = refine_inputs(Size(2, 6, (5, 5), (10, 10)), dtype, "cpu")
    output = module.semantic_refine(low, offset, mask, skip)
    expected = module.semantic_refine(low.float(), offset, mask, skip.float())
    assert output.dtype == dtype
    step = 2.0**-11 if dtype == F16 else 2.0**-8
    # The eager chain rounds after every step.
    steps = 1 if module is reference else 4
    torch.testing.assert_close(output.float(), expected, rtol=steps * step, atol=steps * 4 * step)


@pytest.mark.parametrize("module", [reference, eager], ids=["reference", "eager"])
def test_empty_batch(module):
    maps = [torch.zeros(0, c, s, s) for c, s in ((4, 3), (2, 6), (9, 6), (4, 6))]
    assert module.semantic_refine(*maps).shape == (0, 4, 6, 6)
    assert module.offset_sample(*maps[:2]).shape == (0, 4, 6, 6)
    assert module.aggregate_offsets(*maps[1:3]).shape == (0, 2, 6, 6)


@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
def test_gradients_of_the_eager_chain(layout):
    size = Size(2, 6, (5, 7), (9, 13))
    inputs = refine_inputs(size, F64, "cpu", layout=layout, coordinate_dtype=F64)
    results = [m.semantic_refine(*inputs, mask_is_logits=True) for m in (eager, reference)]
    grad = torch.randn(results[0].shape, dtype=F64)
    for got, want in zip(*(torch.autograd.grad(r, inputs, grad) for r in results), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-8)


def test_points_that_are_not_finite():
    """In the reference, too, nothing spreads from them."""
    input = torch.randn(1, 2, 4, 4, dtype=F64, requires_grad=True)
    offset = torch.zeros(1, 2, 4, 4, dtype=F64)
    offset[0, 0, 1, 1], offset[0, 1, 2, 2], offset[0, 0, 3, 3] = math.nan, math.inf, -math.inf
    offset.requires_grad_()
    output = reference.offset_sample(input, offset)
    gradients = torch.autograd.grad(output.square().sum(), (input, offset))
    finite = offset.isfinite().all(1)
    assert not output[:, :, ~finite[0]].any()
    assert torch.equal(output[:, :, finite[0]], input[:, :, finite[0]])
    assert all(g.isfinite().all() for g in gradients)
    assert not gradients[1][:, :, ~finite[0]].any()
