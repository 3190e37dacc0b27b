"""Sampling points exactly on the borders of cells and of the map, far outside, and not finite."""

from __future__ import annotations

from functools import partial

import pytest
import torch

import scrn_ops
from scrn_ops import reference

from ..common.maps import DENSE_LAYOUTS, F32, F64, assert_close, generator, leaf, normal

NAN, INF = float("nan"), float("inf")
H, W = 6, 8


def wanted_points(size):
    """Coordinates along a dimension of that size."""
    return [-1.0, 0.0, 1.0, size - 2.0, size - 1.0, float(size), -0.5, size - 0.5, 2.25,
            -1.0 - 2**-20, size - 1 + 2**-20, -2.0, size + 1.0, -40.0, 40.0, 1e9, -1e9, 3e38, -3e38,
            NAN, INF, -INF]  # fmt: skip


def offsets_to_points(height, width):
    """[B, 2, H, W]: every pair of points, one per pixel and image."""
    pairs = torch.cartesian_prod(
        torch.tensor(wanted_points(width), dtype=F64),
        torch.tensor(wanted_points(height), dtype=F64),
    )
    images = -(-len(pairs) // (height * width))
    points = torch.full((images * height * width, 2), 0.25, dtype=F64)
    points[: len(pairs)] = pairs
    points = points.view(images, height, width, 2).permute(0, 3, 1, 2)
    positions = torch.stack(
        (
            torch.arange(width, dtype=F64).expand(height, width),
            torch.arange(height, dtype=F64)[:, None].expand(height, width),
        )
    )
    return points - positions


@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_offset_sample(kernels, dtype, layout):
    """At the input's own size every one of these coordinates is exact in float32."""
    offset_values = offsets_to_points(H, W)
    numbers = generator("special")
    input = leaf(normal((len(offset_values), 5, H, W), numbers), dtype, kernels, layout)
    offset = leaf(offset_values, dtype, kernels)
    check(scrn_ops.offset_sample, reference.offset_sample, [input, offset], ("input", "offset"))


@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
@pytest.mark.parametrize("low_size", [(3, 4), (6, 8), (4, 5), (1, 1)], ids=str)
@pytest.mark.parametrize("align_corners", [False, True], ids=["half_pixel", "align_corners"])
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_semantic_refine(kernels, dtype, align_corners, low_size, layout):
    """The mask takes the centre alone: the aggregated offset is the offset, exactly. Where a
    neighbour is not finite, 0 * inf makes it not finite, too."""
    offset_values = offsets_to_points(H, W)
    batch = len(offset_values)
    numbers = generator("special", low_size)
    low = leaf(normal((batch, 5, *low_size), numbers), dtype, kernels, layout)
    skip = leaf(normal((batch, 5, H, W), numbers), dtype, kernels, layout)
    # Far from their neighbours, so that some points next to infinite ones stay finite.
    keep = torch.zeros(H, W, dtype=torch.bool)
    keep[1::3, 1::3] = True
    finite = offset_values.isfinite().all(1, keepdim=True)
    offset_values = torch.where(finite | keep, offset_values, 0.5)
    centre = torch.zeros(batch, 9, H, W, dtype=F64)
    centre[:, 4] = 1
    inputs = [low, leaf(offset_values, dtype, kernels), leaf(centre, dtype, kernels), skip]
    check(
        partial(scrn_ops.semantic_refine, align_corners=align_corners),
        partial(reference.semantic_refine, align_corners=align_corners),
        inputs,
        ("low", "offset", "mask", "skip"),
        finite=without_neighbours(~finite),
        # A mask's gradient is a neighbour's offset times a rounding error.
        moderate=without_neighbours(~(offset_values.abs().amax(1, keepdim=True) < 1e3)),
    )


def without_neighbours(pixels):
    return torch.nn.functional.max_pool2d(pixels.double(), 3, 1, 1) == 0


def check(op, reference_op, inputs, names, finite=None, moderate=None):
    output = op(*inputs)
    grad = normal(output.shape, generator("gradient")).to(output)
    doubles = [t.detach().cpu().double().requires_grad_() for t in inputs]
    expected_output = reference_op(*doubles)
    if finite is not None:
        # Whether 0 * NaN is NaN is left open; either way the point is outside or itself.
        shown = finite.expand_as(expected_output)
        assert_close("output", output.cpu()[shown], expected_output.detach()[shown])
        grad = torch.where(finite.to(grad.device), grad, 0)
    else:
        assert_close("output", output, expected_output.detach())
    gradients = torch.autograd.grad(output, inputs, grad)
    expected = torch.autograd.grad(expected_output, doubles, grad.cpu().double())
    for name, got, want in zip(names, gradients, expected, strict=True):
        if finite is not None and name in ("offset", "mask"):
            shown = (moderate if name == "mask" else finite).expand_as(want)
            got, want = got.cpu()[shown], want[shown]
        assert_close(name, got, want)


@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
@pytest.mark.parametrize("dtype", [F32, torch.float16, torch.bfloat16, F64], ids=str)
@pytest.mark.parametrize("value", [NAN, INF, -INF], ids=str)
def test_not_finite_is_outside(kernels, value, dtype, layout):
    """Value 0, so the skip alone; gradient 0 towards the aggregated offset; nothing spreads."""
    low = leaf(torch.randn(2, 9, 4, 4), dtype, kernels, layout)
    skip = leaf(torch.randn(2, 9, 8, 8), dtype, kernels, layout)
    offset_values = torch.zeros(2, 2, 8, 8)
    offset_values[0, 0, 4, 4] = value
    offset = leaf(offset_values, F32, kernels)
    mask = leaf(torch.full((2, 9, 8, 8), 0.1), F32, kernels)
    output, aggregated = torch.ops.scrn_ops.semantic_refine(low, offset, mask, skip)
    outside = torch.zeros(2, 1, 8, 8, dtype=torch.bool, device=kernels)
    outside[0, :, 3:6, 3:6] = True
    assert torch.equal((~aggregated.isfinite()).any(1, keepdim=True), outside)
    assert torch.equal(output[outside.expand_as(output)], skip[outside.expand_as(skip)])
    assert output.isfinite().all()
    grad_low, grad_offset = torch.autograd.grad(output.float().square().sum(), (low, offset))
    assert grad_low.isfinite().all()
    assert grad_offset.isfinite().all()
    assert not grad_offset[0, :, 4, 4].any()  # every point that it moves is outside

    direct = leaf(offset_values, F32, kernels)
    sampled = scrn_ops.offset_sample(skip, direct)
    assert not sampled[0, :, 4, 4].any()
    assert torch.equal(sampled[1], skip[1])
    grad_skip, grad_direct = torch.autograd.grad(sampled.float().square().sum(), (skip, direct))
    assert grad_skip.isfinite().all()
    assert not grad_skip[0, :, 4, 4].any()
    assert not grad_direct[0, :, 4, 4].any()


@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
def test_zero_offset_is_bilinear_upsampling(kernels, layout):
    """Bit for bit where the weights are dyadic: training starts here."""
    low = leaf(torch.randn(2, 6, 5, 4), F32, kernels, layout)
    offset, mask = (torch.zeros(2, c, 10, 8, device=kernels) for c in (2, 9))
    upsampled = torch.nn.functional.interpolate(low, size=(10, 8), mode="bilinear")
    torch.testing.assert_close(
        scrn_ops.semantic_refine(low, offset, mask, mask_is_logits=True),
        upsampled,
        rtol=1e-6,
        atol=1e-6,
    )


def test_slope_at_an_integer_is_that_of_the_cell_to_its_right(kernels):
    """At s = floor(s) the derivative is x[s + 1] - x[s], at -1 it is x[0] - 0, at W it is 0."""
    input = torch.tensor([[[[2.0, 3.0, 5.0, 11.0]]]], dtype=F64, device=kernels)
    offset = torch.zeros(1, 2, 1, 4, dtype=F64, device=kernels)
    # Pixels 0..3 sample at -1, 1, 3, 4.
    offset[0, 0, 0] = torch.tensor([-1.0, 0.0, 1.0, 1.0])
    offset.requires_grad_()
    output = scrn_ops.offset_sample(input, offset)
    assert output.flatten().tolist() == [0.0, 3.0, 11.0, 0.0]
    (gradient,) = torch.autograd.grad(output.sum(), offset)
    assert gradient[0, 0, 0].tolist() == [2.0, 2.0, -11.0, 0.0]
