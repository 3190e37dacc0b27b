"""Meta tensors: every op and module, with every backend, says what it would return on the CPU."""

from __future__ import annotations

import inspect

import pytest
import torch

import scrn_ops

from .maps import BF16, F16, F32, F64

BACKENDS = ("fused", "eager", "reference")
LOW, OFFSET, MASK, SKIP = (2, 4, 3, 5), (2, 2, 6, 10), (2, 9, 6, 10), (2, 4, 6, 10)
# The shapes of every function's tensors.
FUNCTIONS = {
    "aggregate_offsets": (OFFSET, MASK),
    "offset_sample": (LOW, OFFSET),
    "semantic_refine": (LOW, OFFSET, MASK, SKIP),
    "whitened_attention": ((2, 7, 6), (2, 5, 6), (2, 5), (2, 5, 8)),
}
# The arguments of every module, and the shapes of its maps.
MODULES = {
    "DisentangledNonLocal": ((4, 6, 8), (LOW,)),
    "SemanticRefinement": ((4, 4), (LOW, SKIP)),
}


def description(results):
    return [(r.shape, r.dtype) for r in results]


def output_and_gradients(call, shapes, dtype, device, parameters=()):
    inputs = [torch.ones(s, dtype=dtype, device=device, requires_grad=True) for s in shapes]
    output = call(*inputs)
    results = (output, *torch.autograd.grad(output.sum(), (*inputs, *parameters)))
    assert all(result.device.type == device for result in results)
    return description(results)


def test_every_op_and_module_is_here():
    public = {name: getattr(scrn_ops, name) for name in scrn_ops.__all__}
    assert {n for n, value in public.items() if inspect.isfunction(value)} == set(FUNCTIONS)
    assert {n for n, value in public.items() if inspect.isclass(value)} == set(MODULES)


@pytest.mark.parametrize("dtype", [F32, F64, F16, BF16], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name, backend, dtype):
    def call(*tensors):
        return getattr(scrn_ops, name)(*tensors, backend=backend)

    expected = output_and_gradients(call, FUNCTIONS[name], dtype, "cpu")
    assert output_and_gradients(call, FUNCTIONS[name], dtype, "meta") == expected


@pytest.mark.parametrize("dtype", [F32, F64, BF16], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", MODULES)
def test_modules(name, backend, dtype):
    arguments, shapes = MODULES[name]
    module = getattr(scrn_ops, name)(*arguments, backend=backend).to(dtype)
    results = []
    for device in ("cpu", "meta"):
        module = module.to(device)
        results.append(
            output_and_gradients(module, shapes, dtype, device, tuple(module.parameters()))
        )
    assert results[1] == results[0]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_autocast_of_the_cpu_is_not_theirs(name, backend):
    tensors = [torch.ones(shape, device="meta") for shape in FUNCTIONS[name]]
    with torch.autocast("cpu", dtype=BF16):
        assert getattr(scrn_ops, name)(*tensors, backend=backend).dtype == F32
