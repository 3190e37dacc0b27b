"""Every kernel against the reference evaluated in float64: values and gradients."""

from __future__ import annotations

import itertools
from functools import partial

import pytest
import torch

import scrn_ops
from scrn_ops import reference

from ..common.maps import (
    BF16,
    DENSE_LAYOUTS,
    DTYPES,
    F16,
    F32,
    F64,
    LAYOUTS,
    assert_close,
    assert_matches_reference,
    leaf,
    values_and_gradients,
)
from .cases import REFINE_SIZES, SAMPLE_SIZES, Size, refine_inputs, sample_inputs

REFINE_NAMES = ("low", "offset", "mask", "skip")


def check_refine(kernels, size, dtype, align_corners, **kwargs):
    is_logits = kwargs.get("is_logits", True)
    inputs = refine_inputs(size, dtype, kernels, **kwargs)
    options = {"mask_is_logits": is_logits, "align_corners": align_corners}
    assert_matches_reference(
        partial(scrn_ops.semantic_refine, **options),
        partial(reference.semantic_refine, **options),
        inputs,
        REFINE_NAMES,
        grad_layout=kwargs.get("layout", "nchw"),
    )


@pytest.mark.parametrize("align_corners", [False, True], ids=["half_pixel", "align_corners"])
@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", REFINE_SIZES, ids=str)
def test_semantic_refine(kernels, size, dtype, layout, align_corners):
    check_refine(kernels, size, dtype, align_corners, layout=layout)


@pytest.mark.parametrize("is_logits", [False, True], ids=["weights", "logits"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_semantic_refine_mask(kernels, dtype, is_logits):
    """Weights as they come, and coordinates in the type of the features."""
    check_refine(
        kernels,
        Size(2, 9, (7, 8), (13, 16)),
        dtype,
        False,
        is_logits=is_logits,
        coordinate_dtype=dtype,
    )


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_semantic_refine_strides(kernels, layout, dtype):
    """Other strides than dense ones, the incoming gradient's included."""
    check_refine(kernels, Size(2, 6, (5, 6), (9, 11)), dtype, False, layout=layout)


@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
@pytest.mark.parametrize("spread", [0.3, 20.0], ids=["subpixel", "far"])
def test_semantic_refine_offsets(kernels, spread, layout):
    """Fields that stay within their cells, and fields of up to 60 pixels that mostly leave the
    map or meet in the same cells. Beyond that the rounding of fp32 coordinates alone, 4e-6 of a
    pixel from 64 pixels on, takes the gradient of low past the bound of 1e-6."""
    check_refine(kernels, Size(1, 12, (32, 40), (64, 80)), F32, False, layout=layout, spread=spread)


@pytest.mark.parametrize("low", [(3, 64), (64, 3)], ids=["x", "y"])
def test_every_distance(kernels, low):
    """Every pixel as far away as the others of its image: a kernel may look up near cells in
    another way than far ones, and the first far one is the one to get wrong."""
    distances = torch.arange(-40.0, 40.0) + 0.25
    size = Size(len(distances), 2, low, (2 * low[0], 2 * low[1]))
    inputs = [t.detach() for t in refine_inputs(size, F32, kernels)]
    _, offset, mask, _ = inputs
    along, across = (0, 1) if low[1] > low[0] else (1, 0)
    offset[:, along], offset[:, across] = distances.view(-1, 1, 1).to(offset), 0.25
    mask.zero_()[:, 4] = 1
    assert_close(
        "output",
        scrn_ops.semantic_refine(*inputs),
        reference.semantic_refine(*(t.cpu().double() for t in inputs)),
    )


@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
def test_semantic_refine_without_skip(kernels, layout):
    inputs = refine_inputs(Size(2, 7, (6, 6), (12, 12)), F32, kernels, layout=layout)[:3]
    assert_matches_reference(
        scrn_ops.semantic_refine, reference.semantic_refine, inputs, REFINE_NAMES[:3]
    )


@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
@pytest.mark.parametrize("dtype", [F32, F16], ids=str)
def test_points_that_meet(kernels, dtype, layout):
    """All pixels sample one cell: the longest list that a backward can get."""
    size = Size(1, 10, (12, 12), (24, 24))
    low, _, _, skip = refine_inputs(size, dtype, kernels, layout=layout)
    x, y = torch.arange(24.0), torch.arange(24.0)[:, None]
    target = torch.stack(((11.37 - x).expand(24, 24), (5.61 - y).expand(24, 24)))[None]
    centre = torch.zeros(1, 9, 24, 24)
    centre[:, 4] = 1
    inputs = [low, leaf(target, F32, kernels), leaf(centre, F32, kernels), skip]
    assert_matches_reference(
        scrn_ops.semantic_refine, reference.semantic_refine, inputs, REFINE_NAMES
    )


@pytest.mark.parametrize("align_corners", [False, True], ids=["half_pixel", "align_corners"])
@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", SAMPLE_SIZES, ids=str)
def test_offset_sample(kernels, size, dtype, layout, align_corners):
    inputs = sample_inputs(size, dtype, kernels, align_corners=align_corners, layout=layout)
    assert_matches_reference(
        partial(scrn_ops.offset_sample, align_corners=align_corners),
        partial(reference.offset_sample, align_corners=align_corners),
        inputs,
        ("input", "offset"),
        grad_layout=layout,
    )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [F64, F16, BF16], ids=str)
def test_offset_sample_strides(kernels, layout, dtype):
    """Coordinates in the type of the features, too."""
    inputs = sample_inputs(
        Size(2, 6, (5, 6), (9, 11)),
        dtype,
        kernels,
        align_corners=False,
        layout=layout,
        coordinate_dtype=dtype,
    )
    assert_matches_reference(
        partial(scrn_ops.offset_sample, align_corners=False),
        partial(reference.offset_sample, align_corners=False),
        inputs,
        ("input", "offset"),
        grad_layout=layout,
    )


@pytest.mark.parametrize("is_logits", [False, True], ids=["weights", "logits"])
@pytest.mark.parametrize("size", [(2, 6, 7), (1, 1, 1), (1, 1, 40), (1, 37, 1), (3, 19, 33)])
@pytest.mark.parametrize("dtypes", itertools.product(DTYPES, DTYPES), ids=str)
def test_aggregate_offsets(kernels, dtypes, size, is_logits):
    batch, height, width = size
    values = torch.randn(batch, 11, height, width, dtype=F64) * 3
    inputs = [leaf(values[:, :2], dtypes[0], kernels), leaf(values[:, 2:], dtypes[1], kernels)]
    op = partial(scrn_ops.aggregate_offsets, mask_is_logits=is_logits)
    assert op(*inputs).dtype == (F64 if F64 in dtypes else F32)
    assert_matches_reference(
        op,
        partial(reference.aggregate_offsets, mask_is_logits=is_logits),
        inputs,
        ("offset", "mask"),
        output_like=None,
    )


@pytest.mark.parametrize("layouts", itertools.product(("nhwc", "sliced", "expanded"), repeat=2))
def test_aggregate_offsets_strides(kernels, layouts):
    values = torch.randn(2, 11, 9, 8, dtype=F64)
    inputs = [
        leaf(values[:, :2], F32, kernels, layouts[0]),
        leaf(values[:, 2:], F32, kernels, layouts[1]),
    ]
    assert_matches_reference(
        scrn_ops.aggregate_offsets,
        reference.aggregate_offsets,
        inputs,
        ("offset", "mask"),
        grad_layout=layouts[0],
        output_like=None,
    )


def test_large_logits(kernels):
    """The softmax subtracts the largest logit before it exponentiates."""
    values = torch.randn(1, 11, 8, 8, dtype=F64)
    values[:, 2:] *= 500
    inputs = [leaf(values[:, :2], F32, kernels), leaf(values[:, 2:], F32, kernels)]
    doubles = [t.detach().cpu().double() for t in inputs]
    assert_close(
        "output",
        scrn_ops.aggregate_offsets(*inputs, mask_is_logits=True),
        reference.aggregate_offsets(*doubles, mask_is_logits=True),
    )


@pytest.mark.parametrize("wanted", list(itertools.product([False, True], repeat=4))[1:], ids=str)
@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
def test_only_the_wanted_gradients(kernels, layout, wanted):
    """Any subset of them equals what all of them are together."""
    size = Size(2, 5, (4, 5), (8, 10))
    inputs = refine_inputs(size, F32, kernels, layout=layout)
    op = partial(scrn_ops.semantic_refine, mask_is_logits=True)
    everything, grad = values_and_gradients(op, inputs)
    for tensor, want in zip(inputs, wanted, strict=True):
        tensor.requires_grad_(want)
    chosen = [tensor for tensor, want in zip(inputs, wanted, strict=True) if want]
    gradients = torch.autograd.grad(op(*inputs), chosen, grad)
    for got, expected in zip(gradients, itertools.compress(everything[1:], wanted), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


def test_empty_batch(kernels):
    inputs = [
        torch.empty(0, c, *s, device=kernels, requires_grad=True)
        for c, s in ((4, (3, 3)), (2, (6, 6)), (9, (6, 6)), (4, (6, 6)))
    ]
    output = scrn_ops.semantic_refine(*inputs)
    assert output.shape == (0, 4, 6, 6)
    assert [g.shape for g in torch.autograd.grad(output.sum(), inputs)] == [i.shape for i in inputs]
    output = scrn_ops.offset_sample(*inputs[:2])
    assert output.shape == (0, 4, 6, 6)
    torch.autograd.grad(output.sum(), inputs[:2])
    output = scrn_ops.aggregate_offsets(*inputs[1:3])
    assert output.shape == (0, 2, 6, 6)
    torch.autograd.grad(output.sum(), inputs[1:3])


def test_no_channels(kernels):
    """Nothing to sample: the offsets get a gradient of zero, not one left unwritten."""
    low = torch.empty(2, 0, 3, 3, device=kernels)
    offset, mask = (torch.randn(2, c, 6, 6, device=kernels, requires_grad=True) for c in (2, 9))
    output, aggregated = torch.ops.scrn_ops.semantic_refine(low, offset, mask)
    assert output.shape == (2, 0, 6, 6)
    torch.testing.assert_close(aggregated, scrn_ops.aggregate_offsets(offset, mask).detach())
    for gradient in torch.autograd.grad(output.sum(), (offset, mask)):
        assert not gradient.any()
    for gradient in torch.autograd.grad(scrn_ops.offset_sample(low, offset).sum(), (offset,)):
        assert not gradient.any()
