"""The same bits from any number of threads, from every call, and from torch's deterministic mode
on every device."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import scrn_ops

from ..common.maps import BF16, DENSE_LAYOUTS, F32
from .cases import Size, refine_inputs

# Large enough for several tiles, and with points that meet.
SIZE = Size(2, 24, (24, 20), (48, 40))


def results(inputs):
    output = scrn_ops.semantic_refine(*inputs, mask_is_logits=True)
    sampled = scrn_ops.offset_sample(inputs[0], inputs[1])
    grads = [torch.autograd.grad(o.float().square().sum(), inputs[:2]) for o in (output, sampled)]
    return [output, sampled, *grads[0], *grads[1]]


@pytest.mark.parametrize("layout", DENSE_LAYOUTS)
@pytest.mark.parametrize("dtype", [F32, BF16], ids=str)
@pytest.mark.parametrize("spread", [1.0, 30.0])
def test_calls_and_threads(kernels, dtype, layout, spread):
    inputs = refine_inputs(SIZE, dtype, kernels, layout=layout, spread=spread)
    torch.use_deterministic_algorithms(True, warn_only=True)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = results(inputs)
        for count in (2, 3, 8):
            torch.set_num_threads(count)
            for got, want in zip(results(inputs), expected, strict=True):
                assert torch.equal(got, want), f"{count} threads"
    finally:
        torch.set_num_threads(threads)


def test_the_flag_reaches_the_operator(device):
    """Read when the backward runs."""
    seen = []

    class Spy(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func is torch.ops.scrn_ops.semantic_refine_backward.default:
                seen.append(args[-1])
            return func(*args, **kwargs or {})

    inputs = refine_inputs(Size(1, 2, (3, 3), (6, 6)), F32, device)
    for flag in (True, False):
        output = scrn_ops.semantic_refine(*inputs)
        torch.use_deterministic_algorithms(flag)
        with Spy():
            torch.autograd.grad(output.sum(), inputs)
    assert seen == [True, False]


def test_calls_from_many_threads(device):
    """Python threads that call at once get what one alone gets."""
    from concurrent.futures import ThreadPoolExecutor

    cases = [refine_inputs(SIZE, F32, device, seed=seed) for seed in range(4)]
    expected = [results(inputs) for inputs in cases]
    with ThreadPoolExecutor(4) as pool:
        for got, want in zip(pool.map(results, cases * 3), expected * 3, strict=True):
            for a, b in zip(got, want, strict=True):
                assert torch.equal(a, b)
