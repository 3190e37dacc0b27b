"""Kernels in Python are called past torch's dispatcher, but never past what has to see them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.profiler import profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import scrn_ops
from scrn_ops import reference
from scrn_ops._core import direct
from scrn_ops.attention import by_products

from .maps import BF16, F16

FORWARD = torch.ops.scrn_ops.whitened_attention.default
BACKWARD = torch.ops.scrn_ops.whitened_attention_backward.default


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(0)
    shapes = ((1, 5, 4), (1, 6, 4), (1, 6), (1, 6, 3))
    return [torch.randn(shape, generator=generator) for shape in shapes]


@pytest.fixture
def taken(monkeypatch):
    """The operators whose kernels were called without the dispatcher."""
    names = []

    def spied(operator, kernel):
        def call(*args):
            names.append(operator)
            return kernel(*args)

        return call

    for operator, kernel in list(direct._kernels.items()):
        monkeypatch.setitem(direct._kernels, operator, spied(operator, kernel))
    return names


def attend(inputs):
    return scrn_ops.whitened_attention(*inputs)


class Seen(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.operators = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.operators.append(func)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_a_plain_call(inputs, taken, context):
    with context():
        made = [tensor.clone() for tensor in inputs]
        torch.testing.assert_close(attend(made), reference.whitened_attention(*inputs))
    assert taken == [FORWARD]


def test_a_plain_call_that_is_differentiated(inputs, taken):
    query, *others = inputs
    parameter = torch.nn.Parameter(query)
    attend([parameter, *others]).sum().backward()
    assert taken == [FORWARD, BACKWARD]


def test_a_mode_sees_the_operator(inputs, taken):
    leaves = [tensor.requires_grad_() for tensor in inputs]
    with Seen() as seen:
        attend(leaves).sum().backward()
    assert taken == []
    assert {FORWARD, BACKWARD} <= set(seen.operators)


def test_operations_are_counted(inputs, taken):
    with FlopCounterMode(display=False) as counter:
        attend(inputs)
    assert taken == []
    assert counter.get_flop_counts()["Global"].keys() == {torch.ops.scrn_ops.whitened_attention}


def test_the_profiler_sees_the_operator(inputs, taken):
    with profile() as profiled:
        attend(inputs)
    assert taken == []
    assert "scrn_ops::whitened_attention" in {event.name for event in profiled.events()}


def test_autocast_acts(inputs, taken):
    with torch.autocast("cpu", torch.bfloat16):
        assert attend(inputs).dtype == torch.bfloat16
    assert taken == []


def test_a_trace_has_the_operator(inputs, taken):
    traced = torch.jit.trace(lambda *args: attend(args), tuple(inputs), check_trace=False)
    assert taken == []
    assert "scrn_ops::whitened_attention" in str(traced.graph)


def test_a_subclass_is_asked(inputs, taken):
    with torch._subclasses.FakeTensorMode() as mode:
        fake = [mode.from_tensor(tensor) for tensor in inputs]
    assert attend(fake).shape == (1, 5, 3)
    assert taken == []


@pytest.mark.parametrize("odd", ["negative", "zero"])
def test_memory_that_is_not_the_tensors_numbers(inputs, taken, odd):
    """Negatives of memory, and zeros without any: torch makes tensors of them before a kernel."""
    query, key, unary, value = inputs
    if odd == "negative":
        made = torch.complex(torch.zeros_like(query), -query).conj().imag
        assert made.is_neg()
        actual = attend([made, key, unary, value])
    else:
        unary = torch.zeros_like(unary)
        actual = attend([query, key, torch._efficientzerotensor(unary.shape), value])
    torch.testing.assert_close(actual, reference.whitened_attention(query, key, unary, value))
    assert taken == []


def test_the_profiler_of_all_threads_sees_the_operator(inputs, taken):
    options = torch._C._profiler._ExperimentalConfig(profile_all_threads=True)
    with profile(experimental_config=options), ThreadPoolExecutor(1) as pool:
        pool.submit(attend, inputs).result()
    assert taken == []


@pytest.mark.parametrize("scale", [2**70, True + 1, 0.5])
def test_numbers_arrive_as_the_schema_has_them(inputs, scale, monkeypatch):
    seen = []

    def spied(*args):
        seen.append(args[4])
        return forward(*args)

    forward = by_products.forward
    monkeypatch.setattr(by_products, "forward", spied)
    scrn_ops.whitened_attention(*inputs, scale=scale)
    assert [(type(each), each) for each in seen] == [(float, scale)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("kept", [False, True])
def test_the_kernel_gives_what_the_operator_gives(dtype, columns, kept):
    generator = torch.Generator().manual_seed(1)
    shapes = ((2, 5, 4), (2, 6, 4), (2, 6, 3), (2, 5, 3))
    query, key, value, grad = (torch.randn(each, generator=generator).to(dtype) for each in shapes)
    if columns:
        query, key, value = (t.mT.contiguous().mT for t in (query, key, value))
    arguments = (query, key, value[:, :, 0].contiguous(), value, 0.5, kept, None)
    results = FORWARD(*arguments)
    assert_same(results, direct._kernels[FORWARD](*arguments))
    _, log_sum_exp, shared, probabilities = results
    saved = (log_sum_exp, log_sum_exp, shared, probabilities)
    for needs in ((True,) * 4, (False, False, False, True), (False, True, True, False)):
        arguments = (grad, query, key, value[:, :, 0].contiguous(), value, *saved, 0.5, *needs)
        assert_same(BACKWARD(*arguments), direct._kernels[BACKWARD](*arguments))


def assert_same(expected, actual):
    for one, other in zip(expected, actual, strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=0)
        assert other.stride() == one.stride()


@pytest.mark.parametrize("backend", ["fused", "eager", "reference"])
@pytest.mark.parametrize(("dtype", "autocast"), [(F16, BF16), (BF16, F16)])
def test_half_types_that_autocast_does_not_use(inputs, dtype, autocast, backend):
    tensors = [tensor.to(dtype) for tensor in inputs]
    with (
        torch.autocast("cpu", autocast),
        pytest.raises(TypeError, match=f"query: expected dtype float32 or value's {autocast}"),
    ):
        scrn_ops.whitened_attention(*tensors, backend=backend)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_plain_call_on_a_gpu(inputs, taken):
    leaves = [tensor.cuda().requires_grad_() for tensor in inputs]
    attend(leaves).sum().backward()
    assert taken == [FORWARD, BACKWARD]
