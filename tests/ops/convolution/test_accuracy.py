"""Values and gradients of the fused kernel against the reference in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import scrn_ops

from ..common.maps import BF16, F32, F64, LAYOUTS, assert_close, generator, leaf, normal

SHAPES = (  # of the map, and the results
    ((1, 1, 1, 1), 1),
    ((3, 3, 7, 5), 19),
    ((1, 17, 33, 65), 40),
    ((2, 16, 9, 130), 8),
    ((1, 64, 17, 4), 64),
)
BOUNDS = ({}, {"minimum": 0}, {"minimum": -0.5, "maximum": 0.5}, {"maximum": 1.1})


def inputs(shape, features, layout="nchw", device="cpu"):
    """Map, weight and bias: leaves."""
    numbers = generator(tuple(shape), features)
    weight = normal((features, shape[1], 3, 3), numbers) / (9 * max(shape[1], 1)) ** 0.5
    made = [leaf(normal(shape, numbers), F32, device, layout)]
    return made + [
        t.to(F32).to(device).requires_grad_() for t in (weight, normal((features,), numbers))
    ]


def results(call, tensors, grad):
    output = call(*tensors)
    return [output.detach(), *torch.autograd.grad(output, tensors, grad.to(output.dtype))]


def check(tensors, packed=None, **bounds):
    grad = normal((tensors[0].shape[0], len(tensors[1]), *tensors[0].shape[2:]), generator("grad"))
    actual = results(
        lambda *t: scrn_ops.conv3x3(*t, packed=packed, **bounds),
        tensors,
        grad.to(tensors[0].device),
    )
    doubles = [t.detach().cpu().double().requires_grad_() for t in tensors]
    wanted = results(lambda *t: scrn_ops.conv3x3(*t, backend="reference", **bounds), doubles, grad)
    assert actual[0].is_contiguous(memory_format=torch.channels_last)
    for name, got, want in zip(("output", "input", "weight", "bias"), actual, wanted, strict=True):
        assert got.dtype == F32
        assert_close(name, got, want)


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize(("shape", "features"), SHAPES, ids=str)
def test_values_and_gradients(cpu_kernels, shape, features, layout, bounds):
    check(inputs(shape, features, layout), **bounds)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_strides(layout):
    tensors = inputs((2, 6, 8, 9), 7, layout)
    check(tensors)
    packed = scrn_ops.pack_conv3x3(tensors[1])
    wide = torch.empty(*packed.shape[:-1], 2 * packed.shape[-1])[..., ::2].copy_(packed)
    with torch.no_grad():
        want = scrn_ops.conv3x3(*tensors)
        strided = tensors[1].transpose(2, 3).contiguous().transpose(2, 3)
        biases = torch.stack([tensors[2], tensors[2] + 1], 1)[:, 0]
        assert torch.equal(scrn_ops.conv3x3(tensors[0], strided, biases, packed=wide), want)


def test_without_a_bias(cpu_kernels):
    x, weight, _ = (t.detach() for t in inputs((1, 5, 9, 10), 33))
    got = scrn_ops.conv3x3(x, weight, packed=scrn_ops.pack_conv3x3(weight))
    assert_close("output", got, F.conv2d(x.double(), weight.double(), padding=1))


@pytest.mark.parametrize("channels", [16, 128, 512])
def test_errors_are_twice_those_of_a_plain_sum(cpu_kernels, channels):
    x, weight, _ = (t.detach() for t in inputs((1, channels, 13, 15), 24))
    got = scrn_ops.conv3x3(x, weight)
    padded, plain = F.pad(x, (1, 1, 1, 1)), torch.zeros_like(got)
    for c in range(channels):
        for i in range(9):
            y, z = divmod(i, 3)
            plain += weight[:, c, y, z, None, None] * padded[:, c, None, y : y + 13, z : z + 15]
    exact = F.conv2d(x.double(), weight.double(), padding=1)
    assert (got - exact).norm() < 2.5 * (plain - exact).norm()


def test_nothing(cpu_kernels):
    """Neither images nor channels nor results."""
    for shape, features in (((0, 3, 4, 5), 2), ((2, 0, 4, 5), 2), ((2, 3, 4, 5), 0)):
        tensors = inputs(shape, features)
        got = scrn_ops.conv3x3(*tensors)
        assert got.shape == (shape[0], features, *shape[2:])
        assert torch.equal(got, tensors[2][:, None, None].expand(got.shape))
        gradients = torch.autograd.grad(got.sum(), tensors)
        assert [g.shape for g in gradients] == [t.shape for t in tensors]


def test_threads_give_the_same_bits(cpu_kernels):
    tensors = [t.detach() for t in inputs((2, 33, 60, 70), 40)]
    before = torch.get_num_threads()
    want = scrn_ops.conv3x3(*tensors)
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            assert torch.equal(scrn_ops.conv3x3(*tensors), want)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("backend", ["eager", "reference"])
@pytest.mark.parametrize("dtype", [F32, F64, BF16], ids=str)
def test_the_other_backends(backend, dtype):
    tensors = [t.detach().to(dtype) for t in inputs((2, 5, 6, 7), 9)]
    got = scrn_ops.conv3x3(*tensors, minimum=-0.5, maximum=1, backend=backend)
    exact = F.conv2d(*(t.double() for t in tensors), padding=1).clamp(-0.5, 1)
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), exact, rtol=0, atol=3e-2 if dtype == BF16 else 1e-5)


def test_a_second_derivative():
    tensors = inputs((1, 3, 5, 6), 4)
    grads = []
    for backend in (None, "reference"):
        output = scrn_ops.conv3x3(*tensors, minimum=0, backend=backend)
        (first,) = torch.autograd.grad(output.square().sum(), tensors[0], create_graph=True)
        grads.append(torch.autograd.grad(first.square().sum(), tensors[:2]))
    for got, want in zip(*grads, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


def test_what_is_not_finite():
    """Its tiles are not; a bound keeps NaN, which has no slope there."""
    x, weight, bias = inputs((1, 4, 12, 12), 3)
    with torch.no_grad():
        x[0, 1, 5, 5] = torch.nan
        got = scrn_ops.conv3x3(x, weight, bias, minimum=0, maximum=6)
    assert got[0, :, 4:7, 4:7].isnan().all()
    assert got[0, :, 8:].isfinite().all()
    output = scrn_ops.conv3x3(x, weight, bias, minimum=0)
    (grad,) = torch.autograd.grad(output, bias, torch.ones_like(output))
    assert torch.equal(grad, (output > 0).sum((0, 2, 3)).float())
