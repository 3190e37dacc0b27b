"""Derivatives: finite differences, torch.func, torch.compile, and what is refused."""

from __future__ import annotations

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from torch.autograd import gradcheck

from scrn_ops.depthwise import autograd

from ..common.maps import DENSE_LAYOUTS, F32, F64
from .cases import GELU, LKA, Unit, results

SMALL = (Unit("multi_scale_depthwise", (3, 5, 7)), LKA, GELU)


@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
@pytest.mark.parametrize("unit", SMALL, ids=str)
def test_gradcheck(kernels, unit, layout):
    for shape in ((2, 2, 3, 4), (1, 1, 1, 2), (1, 3, 6, 1)):
        assert gradcheck(unit, unit.inputs(shape, F64, kernels, layout=layout), fast_mode=True)


@pytest.mark.parametrize("unit", SMALL, ids=str)
def test_every_element_of_the_jacobian(unit):
    assert gradcheck(unit, unit.inputs((1, 2, 3, 4), F64))


@pytest.mark.parametrize("unit", SMALL, ids=str)
def test_vmap(device, unit):
    """Over images, over weights, over both, and from any dimension."""
    tensors = [t.detach() for t in unit.inputs((2, 3, 5, 4), F64, device)]
    scaled = [torch.stack([t, 2 * t, -t]) for t in tensors]
    images = torch.vmap(lambda x: unit(x, *tensors[1:]))(scaled[0])
    weights = torch.vmap(lambda *w: unit(tensors[0], *w))(*scaled[1:])
    both = torch.vmap(unit)(*scaled)
    last = torch.vmap(unit, in_dims=-1)(*(t.movedim(0, -1) for t in scaled))
    for i, factor in enumerate((1, 2, -1)):
        torch.testing.assert_close(images[i], unit(factor * tensors[0], *tensors[1:]))
        own = [factor * t for t in tensors]
        torch.testing.assert_close(weights[i], unit(tensors[0], *own[1:]))
        torch.testing.assert_close(both[i], unit(*own))
        torch.testing.assert_close(last[i], both[i])
    nothing = torch.vmap(unit)(*(t[:0] for t in scaled))
    assert nothing.shape == (0, *tensors[0].shape)


@pytest.mark.parametrize("unit", SMALL, ids=str)
def test_gradients_by_torch_func(device, unit):
    """grad, and the gradient of each image by vmap, whose weights are shared."""
    tensors = [t.detach() for t in unit.inputs((2, 3, 5, 4), F64, device)]
    everything = tuple(range(len(tensors)))

    def loss(*t):
        return unit(*t).square().sum()

    leaves = [t.clone().requires_grad_() for t in tensors]
    expected = torch.autograd.grad(loss(*leaves), leaves)
    for got, want in zip(torch.func.grad(loss, everything)(*tensors), expected, strict=True):
        torch.testing.assert_close(got, want)

    def of_image(image, *weights):
        return loss(image[None], *weights)

    each = torch.vmap(torch.func.grad(of_image, everything), in_dims=(0, *[None] * len(leaves[1:])))
    gradients = each(*tensors)
    torch.testing.assert_close(gradients[0], expected[0])
    for got, want in zip(gradients[1:], expected[1:], strict=True):
        torch.testing.assert_close(got.sum(0), want)


@pytest.mark.parametrize("unit", SMALL, ids=str)
def test_forward_mode_is_refused(device, unit):
    tensors = [t.detach() for t in unit.inputs((1, 2, 3, 4), F32, device)]
    match = r'forward-mode.*backend="reference"'
    with pytest.raises(NotImplementedError, match=match):
        torch.func.jvp(
            lambda x: unit(x, *tensors[1:]), (tensors[0],), (torch.ones_like(tensors[0]),)
        )
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match=match):
        unit(forward_ad.make_dual(tensors[0], tensors[0]), *tensors[1:])


@pytest.mark.parametrize("unit", SMALL, ids=str)
def test_second_derivatives_are_refused(device, unit):
    tensors = unit.inputs((1, 2, 3, 4), F32, device)
    first = torch.autograd.grad(unit(*tensors).square().sum(), tensors[:2], create_graph=True)
    with pytest.raises(NotImplementedError, match=r'again.*backend="reference"'):
        torch.autograd.grad(sum(g.sum() for g in first), tensors[:1])


@pytest.mark.parametrize("unit", SMALL, ids=str)
def test_compiled(device, unit):
    tensors = unit.inputs((2, 3, 5, 6), F32, device)
    compiled = torch.compile(unit.__call__, fullgraph=True, backend="aot_eager", dynamic=True)
    want, _ = results(unit, tensors)
    got, _ = results(compiled, tensors)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)


def test_the_function_classes(device):
    """They take what the operators take."""
    for unit, function in zip(
        (SMALL[0], LKA, GELU),
        (autograd.MultiScaleDepthwise, autograd.LargeKernelDepthwise, autograd.DepthwiseGelu),
        strict=True,
    ):
        tensors = unit.inputs((1, 2, 3, 4), F32, device)
        output = function.apply(*unit.operator_arguments(tensors))
        assert torch.equal(output, unit(*tensors))
        assert "".join(word.capitalize() for word in unit.name.split("_")) == function.__name__
