"""Autocast casts the features and nothing else."""

from __future__ import annotations

import pytest
import torch

import scrn_ops
from scrn_ops import autograd

from ..common.maps import BF16, DTYPES, F16, F32, F64
from .cases import Size, refine_inputs

SIZE = Size(2, 5, (3, 4), (6, 7))


@pytest.fixture(params=[F16, BF16], ids=str)
def low_precision(request):
    return request.param


@pytest.mark.parametrize("backend", ["fused", "reference"])
def test_features_are_cast_and_coordinates_are_not(device, low_precision, backend):
    low, offset, mask, skip = refine_inputs(SIZE, F32, device)
    cast_low, cast_skip = (t.detach().to(low_precision).requires_grad_() for t in (low, skip))
    expected = scrn_ops.semantic_refine(cast_low, offset, mask, cast_skip, backend=backend)
    grad = torch.randn_like(expected)
    with torch.autocast(device, dtype=low_precision):
        output = scrn_ops.semantic_refine(low, offset, mask, skip, backend=backend)
    assert output.dtype == low_precision
    assert torch.equal(output, expected)
    gradients = torch.autograd.grad(output, (low, offset, mask, skip), grad)
    wanted = torch.autograd.grad(expected, (cast_low, offset, mask, cast_skip), grad)
    for got, want in zip(gradients, wanted, strict=True):
        assert got.dtype == F32
        assert torch.equal(got, want.float())

    with torch.autocast(device, dtype=low_precision):
        output = scrn_ops.offset_sample(low, offset, backend=backend)
    assert torch.equal(output, scrn_ops.offset_sample(cast_low, offset, backend=backend))

    with torch.autocast(device, dtype=low_precision):
        output = scrn_ops.aggregate_offsets(offset, mask, backend=backend)
    assert output.dtype == F32
    assert torch.equal(output, scrn_ops.aggregate_offsets(offset, mask, backend=backend))


def test_the_eager_chain_gives_the_same_types(device, low_precision):
    """torch runs parts of it in float32."""
    low, offset, mask, skip = refine_inputs(SIZE, F32, device)
    with torch.autocast(device, dtype=low_precision):
        output = scrn_ops.semantic_refine(low, offset, mask, skip, backend="eager")
        expected = scrn_ops.semantic_refine(low, offset, mask, skip)
    torch.testing.assert_close(output, expected, rtol=2e-2, atol=2e-2)
    (gradient,) = torch.autograd.grad(output.float().sum(), offset)
    assert gradient.dtype == F32


def test_operators_have_the_same_rule(device, low_precision):
    low, offset, mask, skip = refine_inputs(SIZE, F32, device)
    with torch.autocast(device, dtype=low_precision):
        expected = scrn_ops.semantic_refine(low, offset, mask, skip)
        output, aggregated = torch.ops.scrn_ops.semantic_refine(low, offset, mask, skip)
        sampled = torch.ops.scrn_ops.offset_sample(low, offset)
    assert torch.equal(output, expected)
    assert aggregated.dtype == F32
    assert sampled.dtype == low_precision
    gradients = torch.autograd.grad(output.float().sum(), (low, offset, mask, skip))
    wanted = torch.autograd.grad(expected.float().sum(), (low, offset, mask, skip))
    for got, want in zip(gradients, wanted, strict=True):
        assert torch.equal(got, want)


def test_the_backward_may_run_under_autocast(device, low_precision):
    low, offset, mask, skip = refine_inputs(SIZE, F32, device)
    output = scrn_ops.semantic_refine(low, offset, mask, skip)
    expected = torch.autograd.grad(output.sum(), (low, offset), retain_graph=True)
    with torch.autocast(device, dtype=low_precision):
        gradients = torch.autograd.grad(output.sum(), (low, offset))
    for got, want in zip(gradients, expected, strict=True):
        assert torch.equal(got, want)


def test_the_function_classes_under_autocast(device, low_precision):
    """Here the cast happens below the function, which saves float32 features."""
    low, offset, mask, skip = refine_inputs(SIZE, F32, device)
    with torch.autocast(device, dtype=low_precision):
        output, _ = autograd.SemanticRefine.apply(low, offset, mask, skip, False, False)
        expected = scrn_ops.semantic_refine(low, offset, mask, skip)
        sampled = autograd.OffsetSample.apply(low, offset, True)
    assert torch.equal(output, expected)
    gradients = torch.autograd.grad(output.float().sum(), (low, offset, mask, skip))
    wanted = torch.autograd.grad(expected.float().sum(), (low, offset, mask, skip))
    for got, want in zip(gradients, wanted, strict=True):
        assert got.dtype == F32
        torch.testing.assert_close(got, want)
    (gradient,) = torch.autograd.grad(sampled.float().sum(), low)
    assert gradient.dtype == F32


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_float64_is_left_alone(device, low_precision, dtype):
    low, offset, mask, _ = refine_inputs(SIZE, dtype, device)
    with torch.autocast(device, dtype=low_precision):
        output = scrn_ops.semantic_refine(low, offset, mask)
    assert output.dtype == (F64 if dtype == F64 else low_precision)


def test_mixed_features_are_an_error_outside_only(device):
    low, offset, mask, skip = refine_inputs(SIZE, F32, device)
    with torch.autocast(device, dtype=BF16):
        output = scrn_ops.semantic_refine(low, offset.bfloat16(), mask, skip.half())
    assert output.dtype == BF16
    with pytest.raises(TypeError, match="skip: expected low's dtype"):
        scrn_ops.semantic_refine(low, offset, mask, skip.half())


def test_disabled_autocast_changes_nothing(device):
    low, offset, mask, _ = refine_inputs(SIZE, F32, device)
    with torch.autocast(device, dtype=BF16, enabled=False):
        assert scrn_ops.semantic_refine(low, offset, mask).dtype == F32
