"""The attention's FLOPs against torch's counter, and its floor by hand."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import scrn_ops
from benchmarks import attention_cost


def test_flops_are_those_that_torch_counts():
    b, n, m, dk, dv = 2, 7, 9, 16, 24
    sizes = ((b, n, dk), (b, m, dk), (b, m), (b, m, dv))
    tensors = [torch.randn(size, requires_grad=True) for size in sizes]
    with FlopCounterMode(display=False) as counter:
        output = scrn_ops.whitened_attention(*tensors)
    shape = (b, n, m, dk, dv)
    assert counter.get_total_flops() == attention_cost.forward("flash", *shape, 2).flops
    with FlopCounterMode(display=False) as counter:
        torch.autograd.grad(output.sum(), tensors)
    assert counter.get_total_flops() == attention_cost.backward("eager", *shape, 4).flops


def test_floor():
    cost = attention_cost.forward("split_softmax", 1, 2048, 2048, 256, 1024, 2)
    assert cost.floor(2) == pytest.approx(2 * 2048 * 2048 * 1280 / 788e12, rel=1e-2)
    wide = attention_cost.forward("flash", 1, 2048, 2048, 256, 1024, 2)
    assert wide.flops > 1.5 * cost.flops
    eager = attention_cost.forward("eager", 1, 2048, 2048, 256, 256, 4)
    assert eager.bytes > 4 * 2048 * 2048 * 4
