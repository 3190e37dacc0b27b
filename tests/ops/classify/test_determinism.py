"""The same bits for any number of threads and on every run; memory."""

from __future__ import annotations

import pytest
import torch

import scrn_ops
from benchmarks.common.memory import saved

from ..common.maps import F32
from .cases import OPTIONS, Size, loss_inputs

SIZES = (Size(2, 19, (50, 33), (200, 132)), Size(1, 11, (70, 9), (131, 23)))


def results(logits, target, kwargs):
    loss = scrn_ops.upsampled_cross_entropy(logits, target, **kwargs)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    labels, confidence = scrn_ops.upsampled_argmax(logits, target.shape[1:], with_confidence=True)
    return loss, gradient, labels, confidence


@pytest.mark.parametrize("options", OPTIONS[2:], ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_runs_and_threads(kernels, size, options):
    logits, target, kwargs = loss_inputs(size, options, F32, kernels)
    first = results(logits, target, kwargs)
    threads = torch.get_num_threads()
    try:
        for run in range(20):
            torch.set_num_threads(1 + run % 4)
            for a, b in zip(first, results(logits, target, kwargs), strict=True):
                assert torch.equal(a, b)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_what_is_kept_for_the_backward(device, reduction):
    """The logits with the target, or their gradient alone."""
    logits = torch.randn(2, 19, 16, 16, device=device, requires_grad=True)
    target = torch.randint(0, 19, (2, 64, 64), device=device)
    kept = saved(lambda: scrn_ops.upsampled_cross_entropy(logits, target, reduction=reduction))
    own = logits.numel() * 4
    assert sum(kept.values()) <= own + (16 if reduction == "mean" else target.numel() * 8)
    with torch.no_grad():
        gradient = torch.ops.scrn_ops.upsampled_cross_entropy(logits, target)[2]
    assert gradient.numel() == 0


def test_no_full_size_memory(device):
    """Of what torch allocates, forward and backward: two gradients, the kept one and the result."""
    logits = torch.randn(1, 64, 16, 16, device=device, requires_grad=True)
    target = torch.randint(0, 64, (1, 256, 256), device=device)
    with torch.profiler.profile(profile_memory=True) as profile:
        scrn_ops.upsampled_cross_entropy(logits, target).backward()
    allocated = [event.cpu_memory_usage for event in profile.events() if event.cpu_memory_usage > 0]
    assert max(allocated, default=0) <= 2.2 * logits.numel() * 4
