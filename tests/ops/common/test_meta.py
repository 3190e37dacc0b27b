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
    "depthwise_gelu": (LOW, (4, 1, 3, 3), (4,)),
    "large_kernel_depthwise": (LOW, (4, 1, 5, 5), (4,), (4, 1, 7, 7), (4,)),
    # Three of each: rows, their biases, columns, their biases.
    "multi_scale_depthwise": (
        *(LOW, (4, 1, 5, 5), (4,)),
        *((4, 1, 1, n) for n in (7, 11, 21)),
        *[(4,)] * 3,
        *((4, 1, n, 1) for n in (7, 11, 21)),
        *[(4,)] * 3,
    ),
    "offset_sample": (LOW, OFFSET),
    "semantic_refine": (LOW, OFFSET, MASK, SKIP),
    "whitened_attention": ((2, 7, 6), (2, 5, 6), (2, 5), (2, 5, 8)),
}
# They take labels, a size, or float32 alone: their family's tests have them on meta tensors.
OTHER_FUNCTIONS = {
    "conv3x3",
    "pack_conv3x3",
    "upsampled_argmax",
    "upsampled_cross_entropy",
    "upsampled_logits",
}
OTHER_MODULES = {"UpsampledCrossEntropy"}
# The arguments of every module, and the shapes of its maps.
MODULES = {
    "DisentangledNonLocal": ((4, 6, 8), (LOW,)),
    "SemanticRefinement": ((4, 4), (LOW, SKIP)),
}


def called(name, tensors, backend):
    if name == "multi_scale_depthwise":
        tensors = (*tensors[:3], *(tensors[i : i + 3] for i in range(3, 15, 3)))
    return getattr(scrn_ops, name)(*tensors, backend=backend)


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
    functions = {n for n, value in public.items() if inspect.isfunction(value)}
    modules = {n for n, value in public.items() if inspect.isclass(value)}
    assert functions == set(FUNCTIONS) | OTHER_FUNCTIONS
    assert modules == set(MODULES) | OTHER_MODULES


@pytest.mark.parametrize("dtype", [F32, F64, F16, BF16], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name, backend, dtype):
    def call(*tensors):
        return called(name, tensors, backend)

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
        assert called(name, tensors, backend).dtype == F32
