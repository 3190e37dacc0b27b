"""Kernels in Python are called past torch's dispatcher, but never past what has to see them."""

from __future__ import annotations

import pytest
import torch
from torch.profiler import profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import scrn_ops
from scrn_ops import reference
from scrn_ops._core import direct

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


def test_memory_that_is_not_the_tensors_numbers(inputs, taken):
    """Negatives of memory, and zeros without any: torch makes tensors of them before a kernel."""
    query, key, unary, value = inputs
    negative = torch.complex(torch.zeros_like(query), -query).conj().imag
    assert negative.is_neg()
    zeros = torch._efficientzerotensor(unary.shape)
    expected = reference.whitened_attention(query, key, torch.zeros_like(unary), value)
    torch.testing.assert_close(attend([negative, key, zeros, value]), expected)
    assert taken == []


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_plain_call_on_a_gpu(inputs, taken):
    leaves = [tensor.cuda().requires_grad_() for tensor in inputs]
    attend(leaves).sum().backward()
    assert taken == [FORWARD, BACKWARD]
