"""Values and gradients of the fused kernels against the reference in float64."""

from __future__ import annotations

import pytest
import torch

from ..common.maps import BF16, DENSE_LAYOUTS, F16, F32, F64, LAYOUTS, assert_close
from .cases import GELU, LKA, MSCA, OTHER_UNITS, UNITS, expected, results

SHAPES = (
    (1, 1, 1, 1),
    (3, 3, 7, 5),
    (1, 17, 33, 65),
    (2, 16, 9, 130),
    (1, 64, 17, 4),
)
SHAPES_AND_TYPES = [
    *((shape, F32) for shape in SHAPES),
    *((shape, F64) for shape in SHAPES[:3]),
    *((shape, dtype) for shape in SHAPES[2:3] for dtype in (F16, BF16)),
]


def check(unit, tensors, grad_layout="nchw"):
    actual, grad = results(unit, tensors, grad_layout)
    wanted = expected(unit, tensors, grad)
    for i, (got, want, source) in enumerate(
        zip(actual, wanted, (tensors[0], *tensors), strict=True)
    ):
        assert got.dtype == source.dtype
        assert_close(f"result {i}", got, want)
    return actual


@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
@pytest.mark.parametrize(("shape", "dtype"), SHAPES_AND_TYPES, ids=str)
@pytest.mark.parametrize("unit", UNITS, ids=str)
def test_values_and_gradients(kernels, unit, shape, dtype, layout):
    weight_dtype = F32 if dtype in (F16, BF16) else dtype
    # Far from where the slope of GELU is 0: a single pixel there would leave rounding alone.
    bias = 3.0 if shape == (1, 1, 1, 1) else 1.0
    tensors = unit.inputs(
        shape, dtype, kernels, layout=layout, weight_dtype=weight_dtype, bias=bias
    )
    check(unit, tensors)


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("unit", OTHER_UNITS, ids=str)
def test_other_sizes(kernels, unit, dtype):
    check(unit, unit.inputs((2, 5, 21, 38), dtype, kernels, layout="nhwc"))


@pytest.mark.parametrize("unit", [MSCA, LKA], ids=str)
def test_biases_do_not_leak_into_the_image(kernels, unit):
    """A map that is zero outside the image only up to its bias shows at large ones."""
    check(unit, unit.inputs((1, 3, 14, 12), F64, kernels, bias=1e4))


@pytest.mark.parametrize(
    ("layout", "grad_layout"),
    [*((each, "nchw") for each in LAYOUTS), ("nchw", "expanded"), ("nhwc", "sliced")],
)
@pytest.mark.parametrize("unit", UNITS, ids=str)
def test_any_strides(unit, layout, grad_layout):
    check(unit, unit.inputs((2, 6, 8, 9), F32, layout=layout), grad_layout)


@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
@pytest.mark.parametrize("unit", UNITS, ids=str)
def test_weights_of_the_input_s_type(kernels, unit, dtype):
    check(unit, unit.inputs((1, 20, 6, 9), dtype, kernels, layout="nhwc"))


@pytest.mark.parametrize("unit", UNITS, ids=str)
def test_many_channels(unit):
    check(unit, unit.inputs((1, 320, 9, 11), F32, layout="nhwc"))


@pytest.mark.parametrize("unit", UNITS, ids=str)
def test_large_map(unit):
    """Sums over many pixels, in several tiles, keep their digits."""
    check(unit, unit.inputs((1, 3, 128, 256), F32))


@pytest.mark.parametrize("unit", UNITS, ids=str)
def test_nothing(kernels, unit):
    for shape in ((0, 3, 4, 5), (2, 0, 4, 5)):
        tensors = unit.inputs(shape, F32, kernels)
        actual, _ = results(unit, tensors)
        for got, source in zip(actual, (tensors[0], *tensors), strict=True):
            assert got.shape == source.shape
            assert not got.any()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("unit", UNITS, ids=str)
def test_what_is_not_finite_stays_where_it_is_seen(kernels, unit, value):
    """A pixel reaches as far as the kernels do, and no further."""
    tensors = unit.inputs((1, 5, 30, 33), F32, kernels, layout="nhwc")
    with torch.no_grad():
        clean = unit(*tensors)
        tensors[0][0, 2, 14, 16] = value
        got = unit(*tensors)
        wanted = unit(*tensors, backend="reference")
    assert torch.equal(got.isnan(), wanted.isnan())
    assert torch.equal(got.isinf(), wanted.isinf())
    assert not got.isfinite().all()
    seen = wanted.isfinite()
    torch.testing.assert_close(got[seen], wanted[seen])
    others = [c for c in range(5) if c != 2]
    assert torch.equal(got[:, others], clean[:, others])


@pytest.mark.parametrize("unit", UNITS, ids=str)
def test_only_what_is_wanted(kernels, unit):
    """The gradient of the input alone, or of the weights alone, is what both together give."""
    tensors = unit.inputs((1, 4, 12, 10), F32, kernels)
    both, grad = results(unit, tensors)
    image = [tensors[0], *(t.detach() for t in tensors[1:])]
    (got,) = torch.autograd.grad(unit(*image), image[0], grad)
    assert torch.equal(got, both[1])
    weights = [tensors[0].detach(), *tensors[1:]]
    for got, want in zip(
        torch.autograd.grad(unit(*weights), weights[1:], grad), both[2:], strict=True
    ):
        assert torch.equal(got, want)


def test_gelu_of_large_and_small_values(kernels):
    """Where its distribution's tail ends, and where it is the identity."""
    values = torch.linspace(-12, 12, 1999, dtype=F64).view(1, 1, 1, -1)
    weight = torch.zeros(1, 1, 3, 3)
    weight[0, 0, 1, 1] = 1
    for dtype in (F32, F64):
        leaves = [t.to(dtype).requires_grad_() for t in (values, weight, torch.zeros(1))]
        check(GELU, leaves)
