"""The operator as torch sees it: schema, fake kernel, autograd, FLOPs, torch.compile, vmap."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.library import opcheck
from torch.utils.flop_counter import FlopCounterMode

import scrn_ops

from ..common.maps import BF16, F16, F32, LAYOUTS
from .test_accuracy import inputs

operator = torch.ops.scrn_ops.conv3x3.default

# Exported programs store it: a change breaks them.
SCHEMA = (
    "scrn_ops::conv3x3(Tensor input, Tensor weight, Tensor? bias, Tensor packed, "
    "float? minimum=None, float? maximum=None) -> Tensor"
)


def test_the_schema_is_frozen():
    assert str(operator._schema) == SCHEMA


def arguments(layout="nchw", shape=(2, 5, 6, 7), features=9):
    tensors = inputs(shape, features, layout)
    return (*tensors, scrn_ops.pack_conv3x3(tensors[1]))


@pytest.mark.parametrize("bounds", [(), (0.0,), (-1.0, 1.0), (None, 2.0)], ids=str)
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_opcheck(layout, bounds):
    opcheck(operator, (*arguments(layout), *bounds))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_fakes_tell_shapes_strides_and_dtypes(layout):
    for shape in ((2, 5, 6, 7), (1, 1, 1, 1), (0, 3, 4, 5), (2, 4, 1, 5)):
        for features in (1, 9):
            args = [t.detach() for t in arguments(layout, shape, features)]
            real = operator(*args)
            with FakeTensorMode() as mode:
                fake = operator(*map(mode.from_tensor, args))
            assert (fake.shape, fake.stride(), fake.dtype) == (
                real.shape,
                real.stride(),
                real.dtype,
            )


def test_meta_tensors():
    for backend in (None, "eager", "reference"):
        x, weight, bias = (t.detach().to("meta") for t in inputs((2, 5, 6, 7), 9))
        got = scrn_ops.conv3x3(x, weight, bias, minimum=0, backend=backend)
        assert (got.shape, got.dtype, got.device.type) == ((2, 9, 6, 7), F32, "meta")
    assert scrn_ops.pack_conv3x3(weight).shape == (36, 1, 5, 16)


def test_flops():
    """As torch counts a convolution."""
    tensors = inputs((2, 6, 8, 9), 11)
    packed = scrn_ops.pack_conv3x3(tensors[1])
    counts = []
    for backend in ("fused", "eager"):
        with FlopCounterMode(display=False) as both:
            scrn_ops.conv3x3(*tensors, packed=packed, backend=backend).sum().backward()
        counts.append(both.get_total_flops())
    assert counts[0] == counts[1]


@pytest.mark.parametrize("dynamic", [False, True])
def test_compile(dynamic):
    tensors = inputs((2, 6, 8, 9), 11)
    packed = scrn_ops.pack_conv3x3(tensors[1])

    def call(x, weight, bias):
        return scrn_ops.conv3x3(2 * x, weight, bias, packed=packed, minimum=0).square().sum()

    compiled = torch.compile(call, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    got, want = compiled(*tensors), call(*tensors)
    torch.testing.assert_close(got, want)
    for one, other in zip(
        torch.autograd.grad(got, tensors), torch.autograd.grad(want, tensors), strict=True
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("features", [17, 20])
def test_compile_with_the_packing_in_the_graph(features):
    """And with bounds that are not in it."""
    tensors = [t.detach() for t in inputs((1, 6, 8, 9), features)]
    compiled = torch.compile(scrn_ops.conv3x3, fullgraph=True, backend="aot_eager")
    for bound in (0.0, 0.5, 0.7):
        got = compiled(*tensors, minimum=-bound, maximum=bound)
        torch.testing.assert_close(got, scrn_ops.conv3x3(*tensors, minimum=-bound, maximum=bound))


def test_vmap_over_images():
    x, weight, bias = (t.detach() for t in inputs((6, 5, 8, 9), 7))
    want = scrn_ops.conv3x3(x, weight, bias).unflatten(0, (3, 2))
    got = torch.vmap(lambda part: scrn_ops.conv3x3(part, weight, bias))(x.unflatten(0, (3, 2)))
    assert torch.equal(got, want)
    got = torch.func.grad(lambda part: scrn_ops.conv3x3(part, weight, bias).sum())(x)
    wanted = torch.autograd.grad(
        scrn_ops.conv3x3(x.requires_grad_(), weight, bias, backend="eager").sum(), x
    )[0]
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
def test_autocast_leaves_it_alone(dtype):
    tensors = inputs((1, 5, 8, 9), 7)
    want = scrn_ops.conv3x3(*tensors)
    with torch.autocast("cpu", dtype=dtype):
        got = scrn_ops.conv3x3(*tensors)
        of_half = scrn_ops.conv3x3(tensors[0].to(dtype), *tensors[1:])
    assert torch.equal(got, want)
    assert torch.equal(of_half, scrn_ops.conv3x3(tensors[0].to(dtype).float(), *tensors[1:]))


def test_packed_weights_have_no_gradient():
    _, weight, _ = inputs((1, 5, 8, 9), 7)
    assert not scrn_ops.pack_conv3x3(weight).requires_grad
