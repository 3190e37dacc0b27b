"""Upsampled logits against interpolate in float64: values, derivatives, what is not finite."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch._dynamo.testing import CompileCounterWithBackend
from torch.export import Dim
from torch.library import opcheck
from torch.utils.flop_counter import FlopCounterMode

import scrn_ops

from ..common.maps import BF16, DENSE_LAYOUTS, DTYPES, F16, F32, F64, generator, leaf, normal
from .cases import SIZES, Size

pytestmark = pytest.mark.usefixtures("cpu_kernels")
# torch rounds positions in float64, too.
ROUNDING = {F64: 1e-14, F32: 4e-7, F16: 2.0**-11, BF16: 2.0**-8}


def check(size, dtype=F32, layout="nchw", align_corners=False):
    shape = (size.batch, size.classes, *size.low)
    logits = leaf(normal(shape, generator(size)), dtype, "cpu", layout).detach()
    result = scrn_ops.upsampled_logits(logits, size.high, align_corners=align_corners)
    assert result.dtype == dtype
    both = (torch.contiguous_format, torch.channels_last)
    formats = [f for f in both if logits.is_contiguous(memory_format=f)] or both[:1]
    assert any(result.is_contiguous(memory_format=f) for f in formats)
    exact = F.interpolate(logits.double(), size.high, mode="bilinear", align_corners=align_corners)
    assert (result.double() - exact).abs().max() <= ROUNDING[dtype] * logits.abs().max()


@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_float32(size, layout):
    check(size, layout=layout)


@pytest.mark.parametrize("layout", [*DENSE_LAYOUTS, "sliced"])
@pytest.mark.parametrize("dtype", [F64, F16, BF16], ids=str)
def test_other_types(dtype, layout):
    for size in (Size(2, 19, (6, 9), (24, 36)), Size(1, 5, (9, 44), (25, 7))):
        check(size, dtype, layout)


@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
def test_align_corners(layout):
    for size in (Size(2, 19, (6, 9), (24, 36)), Size(1, 5, (9, 44), (5, 7))):
        check(size, layout=layout, align_corners=True)


@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
def test_strips_and_bands(layout):
    """More than a task takes, of few classes and of many."""
    check(Size(1, 2, (3, 9000), (7, 36000)), layout=layout)
    check(Size(1, 3000, (2, 30), (5, 70)), layout=layout)
    check(Size(1, 3, (300, 5), (1100, 13)), layout=layout)


@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
def test_derivatives(layout):
    logits = leaf(torch.randn(2, 3, 4, 5, dtype=F64), F64, "cpu", layout)
    for size in ((7, 11), (3, 2)):
        call = partial(scrn_ops.upsampled_logits, size=size)
        assert torch.autograd.gradcheck(call, logits)
        assert torch.autograd.gradgradcheck(call, logits)
    half = leaf(torch.randn(1, 3, 4, 5), BF16, "cpu", layout)
    (gradient,) = torch.autograd.grad(scrn_ops.upsampled_logits(half, (8, 9)).sum(), half)
    assert gradient.dtype == BF16


def test_only_neighbours_with_a_share_count():
    logits = torch.zeros(1, 20, 3, 20)
    logits[:, 4] = -math.inf
    logits[:, 5, 1, 8] = math.nan
    logits[:, 6, 2, 19] = math.inf
    for format in (torch.contiguous_format, torch.channels_last):
        x = logits.contiguous(memory_format=format)
        assert torch.equal(scrn_ops.upsampled_logits(x, (3, 20)).nan_to_num(7), x.nan_to_num(7))
        result = scrn_ops.upsampled_logits(x, (12, 80))
        assert (result[:, 4] == -math.inf).all()
        touched = torch.zeros(12, 80, dtype=torch.bool)
        touched[2:10, 30:38] = True
        assert torch.equal(result[0, 5].isnan(), touched)
        touched.zero_()[6:, 74:] = True
        assert torch.equal(result[0, 6] == math.inf, touched)
        assert (result[:, 7:] == 0).all()


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_equal_classes_stay_equal_in_both_layouts(dtype):
    """To the bit, in whole registers and in the columns and classes that are left over."""
    logits = torch.randn(1, 1, 30, 41, dtype=dtype).expand(1, 19, 30, 41)
    planes = scrn_ops.upsampled_logits(logits.contiguous(), (111, 173))
    pixels = scrn_ops.upsampled_logits(
        logits.contiguous(memory_format=torch.channels_last), (111, 173)
    )
    assert torch.equal(planes, pixels)
    assert torch.equal(planes, planes[:, :1].expand_as(planes))


def test_nothing():
    logits = torch.zeros(0, 3, 4, 5, requires_grad=True)
    result = scrn_ops.upsampled_logits(logits, (6, 7))
    assert result.shape == (0, 3, 6, 7)
    (gradient,) = torch.autograd.grad(result.sum(), logits)
    assert gradient.shape == logits.shape


def test_threads_change_nothing():
    logits = torch.randn(1, 19, 60, 70).to(memory_format=torch.channels_last)
    results, before = [], torch.get_num_threads()
    for threads in (1, 3):
        torch.set_num_threads(threads)
        results.append(scrn_ops.upsampled_logits(logits, (240, 280)))
    torch.set_num_threads(before)
    assert torch.equal(*results)


@pytest.mark.parametrize("backend", ["eager", "reference"])
def test_other_backends(backend):
    logits = torch.randn(2, 3, 4, 5)
    for size in ((7, 11), (2, 2)):
        call = partial(scrn_ops.upsampled_logits, logits, size, align_corners=True)
        torch.testing.assert_close(call(backend=backend), call())


@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
def test_the_operator(layout):
    logits = leaf(torch.randn(2, 5, 3, 4), F32, "cpu", layout)
    opcheck(torch.ops.scrn_ops.upsampled_logits.default, (logits, 6, 9))
    with FlopCounterMode(display=False) as counter:
        scrn_ops.upsampled_logits(logits, (6, 9))
        F.interpolate(logits, (6, 9), mode="bilinear")
    assert counter.get_total_flops() == 2 * 5 * 6 * 9 * 7  # torch counts none for its own
    with pytest.raises(NotImplementedError, match="forward-mode"):
        torch.func.jvp(
            lambda x: scrn_ops.upsampled_logits(x, (6, 9)), (logits.detach(),), (logits.detach(),)
        )


@pytest.mark.parametrize("backend", [None, "eager", "reference"])
def test_meta_tensors(backend):
    for dtype in DTYPES:
        logits = torch.ones(2, 5, 3, 4, dtype=dtype, device="meta", requires_grad=True)
        result = scrn_ops.upsampled_logits(logits, (6, 9), backend=backend)
        assert (result.shape, result.dtype) == ((2, 5, 6, 9), dtype)
        (gradient,) = torch.autograd.grad(result.sum(), logits)
        assert (gradient.shape, gradient.device.type) == (logits.shape, "meta")


@pytest.mark.parametrize("differentiated", [False, True])
def test_compiled_programs(differentiated):
    def program(x):
        return 2 * scrn_ops.upsampled_logits(x, (4 * x.shape[2], x.shape[3]))

    torch.compiler.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(program, fullgraph=True, dynamic=True, backend=counter)
    for low in ((3, 4), (5, 4), (4, 7), (6, 9), (7, 5)):
        logits = torch.randn(2, 5, *low, requires_grad=differentiated)
        results = [call(logits) for call in (program, compiled)]
        torch.testing.assert_close(*results)
        if differentiated:
            gradients = (torch.autograd.grad(y.sum(), logits)[0] for y in results)
            torch.testing.assert_close(*gradients)
    assert counter.frame_count == 1  # for all sizes


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("backend", [None, "eager", "reference"])
def test_exported_programs_take_any_batch_and_size(backend, device):
    class Program(torch.nn.Module):
        def forward(self, x):
            return scrn_ops.upsampled_logits(x, (2 * x.shape[2], x.shape[3]), backend=backend)

    logits = torch.randn(3, 5, 6, 7, device=device)
    dims = {0: Dim("b"), 2: Dim("h"), 3: Dim("w")}
    exported = torch.export.export(Program(), (logits,), dynamic_shapes=(dims,)).module()
    other = torch.randn(2, 5, 9, 4, device=device)
    result, expected = exported(other), Program()(other)
    assert result.shape == expected.shape
    if device == "cpu":
        assert torch.equal(result, expected)


def test_samples_that_vmap_hands_out():
    logits = torch.randn(3, 2, 5, 3, 4)

    def call(x):
        return scrn_ops.upsampled_logits(x, (6, 9))

    assert torch.equal(torch.func.vmap(call)(logits), torch.stack([*map(call, logits)]))
    gradients = torch.func.vmap(torch.func.grad(lambda x: call(x).square().sum()))(logits)
    sample = logits[1].requires_grad_()
    (gradient,) = torch.autograd.grad(call(sample).square().sum(), sample)
    torch.testing.assert_close(gradients[1], gradient)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_traces_follow_the_size():
    def program(x):
        size = (4 * x.shape[2], 3 * x.shape[3])
        return scrn_ops.upsampled_logits(x, size), scrn_ops.upsampled_argmax(x, size)

    traced = torch.jit.trace(program, torch.randn(1, 5, 3, 4))
    logits = torch.randn(2, 5, 6, 5)
    (values, labels), (expected, expected_labels) = traced(logits), program(logits)
    torch.testing.assert_close(values, expected)
    assert torch.equal(labels, expected_labels)


def test_what_stands_for_an_int():
    logits, size = torch.randn(1, 2, 3, 4), (np.int64(6), torch.tensor(8))
    expected = scrn_ops.upsampled_logits(logits, (6, 8))
    assert torch.equal(scrn_ops.upsampled_logits(logits, size), expected)
