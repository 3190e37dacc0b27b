"""What only a CUDA device has: graphs, streams, a second device, sizes. ``kernels`` tests results,
opcheck and autocast there."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.autograd import gradcheck

import scrn_ops
from scrn_ops import reference
from scrn_ops.attention import by_products, table

from ..common.maps import BF16, F16, F32, F64
from .cases import Shape, inputs, values_and_gradients

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

DEVICE = "cuda"
# Keys are split among programs, tiles have tails.
SHAPE = Shape(2, 67, 1500, 64, 96)
RUNS = 20
LARGE = (1 << 21, 1040, 16)  # keys, channels, those of them that are compared


@pytest.fixture(params=[*table.PATHS, None])
def op(request):
    return partial(scrn_ops.whitened_attention, scale=0.3, path=request.param)


@pytest.fixture(params=[F16, BF16, F32], ids=str)
def tensors(request, op):
    """Those of a small call, in every type that the path takes."""
    if request.param == F32 and op.keywords["path"] is not None:
        pytest.skip("the Triton kernels take half types")
    return inputs(SHAPE, request.param, DEVICE)


def results(op, tensors):
    return values_and_gradients(op, tensors)[0]


def test_graphs(captured, op, tensors):
    """A replay computes with the values that the inputs have by then."""
    grad = torch.ones_like(op(*tensors))

    def step():
        output = op(*tensors)
        return [output, *torch.autograd.grad(output, tensors, grad)]

    graph, outputs = captured(step)
    for factor in (0.5, -1.5):
        with torch.no_grad():
            for held in tensors:
                held.mul_(factor)
        for output in outputs:
            output.detach().fill_(torch.nan)
        graph.replay()
        for got, expected in zip([t.clone() for t in outputs], step(), strict=True):
            assert torch.equal(got, expected)


def test_side_streams(on_side_stream, op, tensors):
    expected = results(op, tensors)
    for got, want in zip(on_side_stream(partial(results, op), tensors), expected, strict=True):
        assert torch.equal(got, want)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="no second CUDA device")
def test_a_second_device(op, tensors):
    """Which is not the current one."""
    there = [t.detach().to("cuda:1").requires_grad_() for t in tensors]
    found = results(op, there)
    assert torch.cuda.current_device() == 0
    for got, expected in zip(found, results(op, tensors), strict=True):
        assert got.device == torch.device("cuda:1")
        torch.testing.assert_close(got.to("cuda:0"), expected)


def test_the_same_bits_every_time(op, tensors):
    expected = results(op, tensors)
    for _ in range(RUNS - 1):
        for got, want in zip(results(op, tensors), expected, strict=True):
            assert torch.equal(got, want)


def test_gradcheck():
    """Of the products, which take float64."""
    op = partial(scrn_ops.whitened_attention, scale=1.5)
    assert gradcheck(op, inputs(Shape(2, 6, 5, 4, 3), F64, DEVICE))


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize(("dtype", "bound"), [(F32, 4e-6), (F64, 1e-13)], ids=str)
def test_products_agree_with_the_formula(dtype, bound, kept, monkeypatch):
    """Also of several parts, and with probabilities that are computed again."""
    monkeypatch.setattr(by_products, "CHUNK_SCORES_CUDA", 30_000)
    monkeypatch.setattr(by_products, "KEPT_BYTES", (256 << 20) if kept else -1)
    tensors = inputs(SHAPE, dtype, DEVICE)
    found, grad = values_and_gradients(scrn_ops.whitened_attention, tensors)
    wide = [t.detach().double().requires_grad_() for t in tensors]
    output = reference.whitened_attention(*wide)
    expected = [output, *torch.autograd.grad(output, wide, grad.double())]
    for got, want in zip(found, expected, strict=True):
        assert (got - want).norm() <= bound * want.norm()


@pytest.mark.slow
@pytest.mark.large
def test_more_than_2_31_elements(op, poisoned_memory):
    """The last channels of the large problem are those of the small one with them alone."""
    keys, channels, last = LARGE
    assert keys * channels > 2**31
    q, k, m, _ = inputs(Shape(1, 17, keys, 16, 1), F16, DEVICE)
    value = torch.empty(1, keys, channels, device=DEVICE, dtype=F16).normal_().requires_grad_()
    small = value.detach()[..., -last:].contiguous().requires_grad_()
    grad = torch.randn(1, 17, last, device=DEVICE, dtype=F16)
    wide = torch.zeros(1, 17, channels, device=DEVICE, dtype=F16)
    wide[..., -last:] = grad
    output, expected = op(q, k, m, value), op(q, k, m, small)
    torch.testing.assert_close(output[..., -last:], expected, rtol=1e-2, atol=1e-3)
    found = torch.autograd.grad(output, (q, k, m, value), wide)
    wanted = torch.autograd.grad(expected, (q, k, m, small), grad)
    for got, want in zip(found[:3], wanted[:3], strict=True):
        torch.testing.assert_close(got, want, rtol=2e-2, atol=1e-3)
    torch.testing.assert_close(found[3][..., -last:], wanted[3], rtol=2e-2, atol=1e-5)
    assert not found[3][..., :-last].any()
