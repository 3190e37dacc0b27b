"""The reference against torch's convolutions, and what only it can do."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradgradcheck

from ..common.maps import F16, F32, F64
from .cases import GELU, LKA, MSCA, OTHER_UNITS, UNITS, Unit, results


def convolution(x, weight, bias, dilation=1):
    padding = [n // 2 * dilation for n in weight.shape[2:]]
    return F.conv2d(x, weight, bias, 1, padding, dilation, groups=x.shape[1])


def by_convolutions(unit, x, local, bias, *rest):
    first = convolution(x, local, bias)
    if unit.name == "depthwise_gelu":
        return F.gelu(first)
    if unit.name == "large_kernel_depthwise":
        return convolution(first, *rest, dilation=unit.sizes[0])
    strips = [rest[i : i + 4] for i in (0, 4, 8)]
    return first + sum(convolution(convolution(first, *s[:2]), *s[2:]) for s in strips)


@pytest.mark.parametrize("backend", ["reference", "eager"])
@pytest.mark.parametrize("unit", [*UNITS, *OTHER_UNITS], ids=str)
def test_torch_s_convolutions_give_the_same(unit, backend):
    tensors = unit.inputs((2, 3, 9, 12), F64, bias=100.0)
    actual, grad = results(lambda *t: unit(*t, backend=backend), tensors)
    output = by_convolutions(unit, *tensors)
    wanted = [output, *torch.autograd.grad(output, tensors, grad)]
    for got, want in zip(actual, wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-9)


@pytest.mark.parametrize("backend", ["reference", "eager", None])
@pytest.mark.parametrize("unit", UNITS, ids=str)
def test_without_biases(unit, backend):
    tensors = unit.inputs((1, 3, 6, 7), F64)
    none = [None if t.dim() == 1 else t for t in tensors]
    zeros = [torch.zeros_like(t) if t.dim() == 1 else t for t in tensors]
    torch.testing.assert_close(
        unit(*none, backend=backend), unit(*zeros, backend="reference"), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize(
    "unit", [Unit("multi_scale_depthwise", (3, 3, 3)), Unit(LKA.name, (1,)), GELU], ids=str
)
def test_second_derivatives(unit):
    tensors = unit.inputs((1, 1, 2, 3), F64)
    assert gradgradcheck(lambda *t: unit(*t, backend="reference"), tensors, fast_mode=True)


def test_half_types_are_computed_in_float32():
    tensors = MSCA.inputs((1, 2, 5, 6), F16, weight_dtype=F32)
    output = MSCA(*tensors, backend="reference")
    assert output.dtype == F16
    wide = MSCA(tensors[0].float(), *tensors[1:], backend="reference")
    assert torch.equal(output, wide.half())
