"""What only a CUDA device has: graphs, streams, a second device, atomics. The other files of this
folder run on it, too."""

from __future__ import annotations

from functools import partial

import pytest
import torch

import scrn_ops

from ..common.maps import BF16, DENSE_LAYOUTS, DTYPES, F32, values_and_gradients
from .cases import Size, refine_inputs, sample_inputs

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

DEVICE = "cuda"
SIZE = Size(2, 40, (24, 20), (48, 40))
RUNS = 20

refine = partial(scrn_ops.semantic_refine, mask_is_logits=True)
sample = partial(scrn_ops.offset_sample, align_corners=True)
aggregate = partial(scrn_ops.aggregate_offsets, mask_is_logits=True)


def problem(name, dtype=F32, layout="nchw", seed=0):
    """An op, and leaves for it."""
    inputs = refine_inputs(SIZE, dtype, DEVICE, layout=layout, seed=seed)
    if name == "refine":
        return refine, inputs
    if name == "aggregate":
        return aggregate, inputs[1:3]
    inputs = sample_inputs(
        SIZE, dtype, DEVICE, align_corners=True, layout=layout, spread=2.0 + seed
    )
    return sample, inputs


@pytest.fixture(params=["refine", "sample", "aggregate"])
def name(request):
    return request.param


@pytest.fixture(params=[True, False], ids=["deterministic", "atomic"])
def same(request):
    """Compares results, in a mode of torch, as closely as that mode promises."""
    torch.use_deterministic_algorithms(request.param, warn_only=True)

    def compare(got, expected):
        for a, b in zip(got, expected, strict=True):
            if request.param:
                assert torch.equal(a, b)
            else:
                half = a.dtype not in (F32, torch.float64)
                tolerance = 2e-2 if half else 1e-4
                torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)

    return compare


def results(op, inputs):
    return values_and_gradients(op, inputs)[0]


@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
@pytest.mark.parametrize("dtype", [F32, BF16], ids=str)
def test_graphs(captured, same, name, dtype, layout):
    """A replay computes with the values that the inputs have by then."""
    op, inputs = problem(name, dtype, layout)
    grad = torch.ones_like(op(*inputs))

    def step():
        output = op(*inputs)
        return [output, *torch.autograd.grad(output, inputs, grad)]

    graph, outputs = captured(step)
    for seed in (1, 2):
        with torch.no_grad():
            for held, fresh in zip(inputs, problem(name, dtype, layout, seed=seed)[1], strict=True):
                held.copy_(fresh)
        for output in outputs[:2]:  # the skip's gradient is grad itself
            output.detach().fill_(torch.nan)
        graph.replay()
        same([output.clone() for output in outputs], step())


def test_side_streams(on_side_stream, same, name):
    op, inputs = problem(name)
    same(on_side_stream(partial(results, op), inputs), results(op, inputs))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="no second CUDA device")
def test_a_second_device(same, name):
    """Which is not the current one."""
    op, inputs = problem(name)
    there = [t.detach().to("cuda:1").requires_grad_() for t in inputs]
    found = results(op, there)
    assert torch.cuda.current_device() == 0
    assert all(t.device == torch.device("cuda:1") for t in found)
    same([t.to("cuda:0") for t in found], results(op, inputs))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="no second CUDA device")
def test_tensors_of_two_devices_are_refused():
    low, offset, mask, skip = problem("refine")[1]
    with pytest.raises(ValueError, match="offset"):
        refine(low, offset.to("cuda:1"), mask, skip)


@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("spread", [0.0, 1.0, 40.0])
def test_the_same_bits_every_time(name, dtype, layout, spread):
    """In torch's deterministic mode, also where many pixels sample one point."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    op, inputs = problem(name, dtype, layout)
    with torch.no_grad():
        inputs[-1 if name == "sample" else 1 if name == "refine" else 0].mul_(spread)
    expected = results(op, inputs)
    for _ in range(RUNS - 1):
        for a, b in zip(results(op, inputs), expected, strict=True):
            assert torch.equal(a, b)


def test_more_images_than_a_grid_has_rows():
    """65535 is the most that the y and z extents of a grid can be."""
    images = 70_000
    low = torch.randn(images, 1, 1, 2, device=DEVICE).requires_grad_()
    offset = torch.zeros(images, 2, 1, 2, device=DEVICE).requires_grad_()
    mask = torch.zeros(images, 9, 1, 2, device=DEVICE).requires_grad_()
    output = scrn_ops.semantic_refine(low, offset, mask, mask_is_logits=True)
    torch.testing.assert_close(output, low)
    (gradient,) = torch.autograd.grad(output.sum(), low)
    torch.testing.assert_close(gradient, torch.ones_like(low))
